"""Text from outside as it may be shown: nothing in it moves a cursor, recolours or reorders."""

import re

# Control characters, lone surrogates (bytes of names that are not UTF-8), and the marks that
# turn the order of what follows; see Unicode TR36, section 3.2.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LINE = re.compile("[\t\n]")


def shown(text: str, *, lines: bool = False) -> str:
    r"""Return text with everything that is no plain character as an escape.

    Parameters
    ----------
    text : str
    lines : bool
        Let line breaks and tabs stand.

    Examples
    --------
    >>> shown("a\x1b[2Jb\n")
    'a\\x1b[2Jb\\n'
    """
    safe = _UNSAFE.sub(_escaped, text)
    return safe if lines else _LINE.sub(_escaped, safe)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "backslashreplace").decode("ascii")
