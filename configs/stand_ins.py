"""What lies where a file should be after a download that was none: a pointer or a web page.

A clone without Git LFS has a text of three lines in place of each large file, and a link that asks
for a login gives a page. Readers of every kind of file would take these for damaged ones.
"""

import re

_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGE = re.compile(rb"(?i)\A(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)\b")
HEAD_BYTES = 200
"""As many bytes as `stand_in` looks at."""


def stand_in(head: bytes) -> str:
    """Return what a file is instead of itself, and what to do; empty for any other content.

    Examples
    --------
    >>> stand_in(b"version https://git-lfs.github.com/spec/v1")
    'a pointer of Git LFS, not the file itself: run `git lfs pull` where it was cloned'
    >>> stand_in(b"1girl, solo")
    ''
    """
    if head.startswith(_POINTER):
        return "a pointer of Git LFS, not the file itself: run `git lfs pull` where it was cloned"
    if _PAGE.match(head[:HEAD_BYTES]):
        return "a web page, not the file itself: fetch it again, by the address of the file"
    return ""
