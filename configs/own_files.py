"""Files that may come from a stranger: named by themselves, regular, of bounded size.

A contract, a manifest, a store or a network names other files. Every such name passes through
here before anything is opened, copied or linked: it must be a file of the folder that names it.
Reading is careful, too: a pipe is refused instead of waited for, a device is never opened.
"""

import os
import re
import stat
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from tagstack.configs.errors import TagstackError
from tagstack.configs.stand_ins import HEAD_BYTES, stand_in

MIB = 1 << 20
# The largest that were ever met, many times over: 100,000 tags take 5 MB, a contract 4 kB.
DESCRIPTION_BYTES = 16 * MIB
TAG_FILE_BYTES = 64 * MIB
METRICS_BYTES = 512 * MIB  # histograms of a hundred thousand tags
# Protocol buffers end at 2 GiB; weights beyond lie in files of their own.
MODEL_BYTES = 2048 * MIB
WEIGHT_BYTES = 65_536 * MIB

_MOST_CHARACTERS = 1000
_MOST_BYTES = 255  # of one part, on every common file system
# What Windows takes for a device whatever the folder and the suffix.
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_NONBLOCK = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def plain_name(name: str) -> str:
    """Return a name that a file gives for another one below its own folder.

    Plain means parts with ``/`` between them: not absolute, no drive, no ``..``, no device, no
    character that a terminal or a file system would take for something else.

    Raises
    ------
    ValueError
        Says what is wrong with it.
    """
    if not name or len(name) > _MOST_CHARACTERS:
        msg = f"a file name of {len(name)} characters; expected 1 to {_MOST_CHARACTERS}"
        raise ValueError(msg)
    odd = next((c for c in name if c in '\\:*?"<>|' or not c.isprintable()), None)
    if odd is not None:
        msg = f"the file name {name!r} holds {odd!r}; expected plain names with / between them"
        raise ValueError(msg)
    for part in name.split("/"):
        if part in ("", ".", "..") or _DEVICE.match(part):
            msg = f"the file name {name!r} leads out of its folder; expected a file inside it"
            raise ValueError(msg)
        if len(part.encode("utf-8", "surrogateescape")) > _MOST_BYTES:
            msg = f"the file name {name[:40]!r}... has a part of over {_MOST_BYTES} bytes"
            raise ValueError(msg)
    return name


PlainName = Annotated[str, AfterValidator(plain_name)]


def own_path(folder: Path, name: str, *, said_by: object = None) -> Path:
    """Return where a file lies that another one names, which stays inside the folder.

    Parameters
    ----------
    folder : Path
    name : str
    said_by : object, optional
        What names it, for messages; the folder by default.

    Raises
    ------
    TagstackError
        If the name is not plain.
    """
    try:
        return folder / plain_name(name)
    except ValueError as error:
        msg = f"{said_by or folder}: {error}. Do not use it, or correct the name."
        raise TagstackError(msg) from error


def own_file(
    folder: Path,
    name: str,
    *,
    max_bytes: int,
    said_by: object = None,
    links_into: tuple[Path, ...] = (),
) -> Path:
    """Return a file that another one names, which is a folder's own regular file.

    Links may lead to files of the folder itself, or to the blobs beside it where it is a snapshot
    of a Hugging Face cache (``snapshots/COMMIT/model.onnx -> ../../blobs/SHA256``).

    Parameters
    ----------
    folder : Path
    name : str
    max_bytes : int
        A larger file is refused.
    said_by : object, optional
        What names it, for messages; the folder by default.
    links_into : tuple of Path
        Further folders that links may lead into.

    Raises
    ------
    TagstackError
        If the name is not plain, or what it names is missing, no regular file, too large or a
        link that leads elsewhere.
    """
    path = own_path(folder, name, said_by=said_by)
    try:
        real = path.resolve(strict=True)
        facts = real.stat()
    except (OSError, RuntimeError) as error:  # a loop of links was a RuntimeError before 3.13
        reason = getattr(error, "strerror", None) or error
        msg = f"{path} is missing or cannot be reached: {reason}. Put the file there."
        raise TagstackError(msg) from error
    _check_regular(path, facts, max_bytes)
    allowed = (folder.resolve(), *_blobs(folder), *(place.resolve() for place in links_into))
    if not any(real.is_relative_to(place) for place in allowed):
        msg = (
            f"{path} is a link to {real}, outside of {folder}. Put the file itself there, or name "
            f"the folder that holds it."
        )
        raise TagstackError(msg)
    _check_itself(path)
    return path


def _check_itself(path: Path) -> None:
    """Raise if a download left a pointer or a page in place of the file."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | _NONBLOCK), "rb") as stream:
            other = stand_in(stream.read(HEAD_BYTES))
    except OSError:  # whoever reads it says so
        return
    if other:
        raise TagstackError(f"{path} is {other}.")


def read_regular(path: Path, *, max_bytes: int, follow: bool = True) -> bytes:
    """Return the bytes of a regular file.

    Parameters
    ----------
    path : Path
    max_bytes : int
    follow : bool
        Whether a link is followed; without, it is refused.

    Raises
    ------
    TagstackError
        If it is a link where none may be, no regular file, or larger than ``max_bytes``.
    OSError
        If the system refuses to read it.
    """
    _check_regular(path, path.stat() if follow else path.lstat(), max_bytes)
    # Between the look and the opening another file may have taken its place.
    flags = os.O_RDONLY | _NONBLOCK | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(os.open(path, flags), "rb") as stream:
        _check_regular(path, os.fstat(stream.fileno()), max_bytes)
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise _too_large(path, len(data), max_bytes)
    return data


def _check_regular(path: Path, facts: os.stat_result, max_bytes: int) -> None:
    if stat.S_ISLNK(facts.st_mode):
        raise TagstackError(f"{path} is a link; expected a file of its own. Put the file there.")
    if not stat.S_ISREG(facts.st_mode):
        kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "a pipe, socket or device"
        raise TagstackError(f"{path} is {kind}; expected a regular file. Remove it.")
    if facts.st_size > max_bytes:
        raise _too_large(path, facts.st_size, max_bytes)


def _too_large(path: Path, size: int, max_bytes: int) -> TagstackError:
    return TagstackError(
        f"{path} has {size} bytes or more; expected at most {max_bytes}. This is not the file that "
        f"belongs there."
    )


def _blobs(folder: Path) -> tuple[Path, ...]:
    real = folder.resolve()
    parents = [parent for parent in real.parents if parent.name == "snapshots"]
    return tuple(parent.parent / "blobs" for parent in parents[:1])
