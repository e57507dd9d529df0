"""Text files from outside: read within bounds, decoded by what they begin with, parsed in one line.

Every TOML, JSON and table that a person or another program wrote passes here, so that what can be
wrong with one is said once and alike: no regular file, too large, of another encoding, nested too
deep, a number without end.
"""

import codecs
import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from tagstack.configs.errors import TagstackError
from tagstack.configs.stand_ins import stand_in

MAX_TEXT_BYTES = 2**30
"""A label file of a million pictures takes a quarter of this."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with the mark of UTF-16: asked for first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_bytes(path: Path, *, what: str = "file", limit: int = MAX_TEXT_BYTES) -> bytes:
    """Return the bytes of a regular file, no more than ``limit``.

    A pipe or a device is refused without waiting for it, and a sparse file before it is read.

    Raises
    ------
    TagstackError
        If it cannot be read, is no regular file or is larger.
    """
    try:
        # Opening a pipe would wait for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as stream:
            facts = os.fstat(stream.fileno())
            if not stat.S_ISREG(facts.st_mode):
                msg = f"Cannot read the {what} {path}: it is no regular file. Give a plain file."
                raise TagstackError(msg)
            content = b"" if facts.st_size > limit else stream.read(limit + 1)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or error
        msg = f"Cannot read the {what} {path}: {reason}. Expected a readable file."
        raise TagstackError(msg) from error
    if facts.st_size > limit or len(content) > limit:
        msg = f"Cannot read the {what} {path}: it is larger than {limit:,} bytes. Split it."
        raise TagstackError(msg)
    return content


def read_text(
    path: Path, *, what: str = "file", errors: str = "strict", limit: int = MAX_TEXT_BYTES
) -> str:
    r"""Return a text file's content without its byte order mark.

    The mark decides between UTF-8, UTF-16 and UTF-32; without one, zero bytes at every other place
    mean UTF-16 and all else UTF-8. Line ends stay as they are.

    Parameters
    ----------
    path : Path
    what : str
        What messages call the file.
    errors : str
        ``"surrogateescape"`` keeps bytes that are no UTF-8, as file names have them.
    limit : int
        Largest size in bytes.

    Raises
    ------
    TagstackError
        If it cannot be read, is too large, in another encoding, or what a failed download left.
    """
    content = read_bytes(path, what=what, limit=limit)
    if other := stand_in(content):
        raise TagstackError(f"Cannot read the {what} {path}: it is {other}.")
    mark, encoding = next(
        ((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "")
    )
    encoding = encoding or _unmarked(content)
    try:
        return content[len(mark) :].decode(encoding, errors if encoding == "utf-8" else "strict")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        msg = (
            f"Cannot read the {what} {path}: line {line} is not {encoding.upper()} "
            f"(byte {content[error.start]:#04x}). Save the file as UTF-8."
        )
        raise TagstackError(msg) from error


def parse_json(text: str, where: str, *, advice: str = "Restore or correct the file.") -> Any:
    """Return the content of JSON text; ``where`` names it in messages.

    Raises
    ------
    TagstackError
        If it is no JSON, nested too deep, or holds a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TagstackError(f"{where}: not valid JSON: {_reason(error)}. {advice}") from error


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Return the content of TOML text; ``where`` names it in messages.

    Raises
    ------
    TagstackError
        If it is no TOML, nested too deep, or holds a number of thousands of digits.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        msg = f"Cannot read {where}: {_reason(error)}. Expected a readable TOML file in UTF-8."
        raise TagstackError(msg) from error


def read_json(path: Path, *, what: str = "file", limit: int = MAX_TEXT_BYTES) -> Any:
    """Return a JSON file's content; see `read_text` and `parse_json` for what is refused."""
    return parse_json(read_text(path, what=what, limit=limit), str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's content; see `read_text` and `parse_toml` for what is refused."""
    return parse_toml(read_text(path, limit=2**26), str(path))


def _unmarked(content: bytes) -> str:
    """Return the encoding of text without a mark: ASCII in UTF-16 has a zero in every pair."""
    head = content[:2000]
    pairs = len(head) // 2
    if pairs and head[1::2].count(0) > 0.9 * pairs:
        return "utf-16-le"
    if pairs and head[::2].count(0) > 0.9 * pairs:
        return "utf-16-be"
    return "utf-8"


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return str(error).partition(";")[0].rstrip(".")  # of a long number: without Python's advice
