"""A score store in an object store: mirrored here, worked on here, its new parts put back.

Parts are only ever added and are named after their content, so two copies are made alike by adding
to each what it lacks; the index, which names them, goes last. A killed run leaves its parts in the
mirror, and the next one goes on with them. What was deleted elsewhere is deleted here, too.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tagstack.base_models.addresses import OBJECT_STORES, address_of, scheme_of
from tagstack.base_models.atomic import write_text, written_whole
from tagstack.base_models.locks import waited_for
from tagstack.base_models.remote.files import RemoteFile, RemoteFiles
from tagstack.base_models.scores.member_info import read_store_index, write_store_index
from tagstack.base_models.user_cache import cache_root
from tagstack.configs.errors import TagstackError
from tagstack.configs.remote import RemoteSettings
from tagstack.configs.shown import shown

INDEX = "store.json"
_SEEN = "elsewhere.json"
_PART = r"part-\d{8}(-[0-9a-f]{32})?\.parquet"
_MEMBER = r"members/[^/\\:]{1,255}"
# What a store holds, in the order in which it is put there: what names others goes after them.
_LAYOUT = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_MEMBER}/member\.json",
        rf"{_MEMBER}/features/{_PART}",
        rf"{_MEMBER}/{_PART}",
        rf"hashes/{_PART}",
        rf"images/{_PART}",
        r"store\.json",
    )
)


def mirror_of(address: str) -> Path:
    """Return the folder that mirrors a store elsewhere."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", address.rpartition("/")[2])[:40]
    digest = hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_root() / "remote" / "stores" / f"{name}-{digest}"


@contextmanager
def writable_here(place: Path, settings: RemoteSettings) -> Iterator[Path]:
    """Yield a store's folder on this machine: itself, or the mirror of one elsewhere.

    What is new in a mirror is put elsewhere at the end, after an interruption as well.

    Parameters
    ----------
    place : Path
        A folder, or an address such as ``s3://BUCKET/scores``.
    settings : RemoteSettings

    Raises
    ------
    TagstackError
        If the address is of the web, or the place cannot be read or written.
    """
    address = address_of(place)
    if address is None:
        yield place
        return
    folder = mirror(address, settings)
    try:
        yield folder
    finally:
        put_back(folder, address, settings)


def mirror(address: str, settings: RemoteSettings) -> Path:
    """Bring the mirror of a store up to date, and return its folder."""
    if scheme_of(address) not in OBJECT_STORES:
        msg = (
            f"{shown(address)} cannot hold a score store: the web is for pictures. Expected a "
            f"folder, or s3://BUCKET/FOLDER or gs://BUCKET/FOLDER."
        )
        raise TagstackError(msg)
    folder, files = mirror_of(address), RemoteFiles(address, settings)
    folder.mkdir(parents=True, exist_ok=True)
    with waited_for(folder / "mirror.lock"):
        there = _of_a_store(files.listed())
        for name in _seen(folder) - {file.name for file in there}:
            (folder / name).unlink(missing_ok=True)
        for file in there:
            if file.name == INDEX:
                _join_index(folder, files.read(INDEX, max_bytes=file.size or 0))
            elif not (folder / file.name).exists() or file.name.endswith(".json"):
                _keep(folder / file.name, files.read(file.name, max_bytes=file.size or 0))
        _note_seen(folder, there)
    return folder


def put_back(folder: Path, address: str, settings: RemoteSettings) -> None:
    """Put what a mirror has and the store elsewhere lacks there; the index last."""
    files = RemoteFiles(address, settings)
    with waited_for(folder / "mirror.lock"):
        there = {file.name for file in _of_a_store(files.listed())}
        own = _of_a_store(
            RemoteFile(path.relative_to(folder).as_posix(), None, "")
            for path in folder.rglob("*")
            if path.is_file()
        )
        for file in own:
            if file.name not in there or file.name == INDEX:
                files.write(file.name, (folder / file.name).read_bytes())
        _note_seen(folder, own)


def _of_a_store(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Return the files that a store has, in the order of the layout; others are left alone."""
    found = []
    for file in files:
        step = next((i for i, own in enumerate(_LAYOUT) if own.fullmatch(file.name)), None)
        if step is not None and ".." not in file.name.split("/"):
            found.append((step, file.name, file))
    return [file for _, _, file in sorted(found, key=lambda item: item[:2])]


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_bytes(data)


def _join_index(folder: Path, data: bytes) -> None:
    """Take over the index from elsewhere; members that only the mirror has stay in it."""
    own = read_store_index(folder) if (folder / INDEX).exists() else {}
    _keep(folder / INDEX, data)
    theirs = read_store_index(folder)
    if own.keys() - theirs.keys():
        write_store_index(folder, {**own, **theirs})


def _seen(folder: Path) -> set[str]:
    """Return what was there the last time; nothing where the note of it is damaged."""
    try:
        noted = json.loads((folder / _SEEN).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return set()
    names = [str(name) for name in noted] if isinstance(noted, list) else []
    return {file.name for file in _of_a_store(RemoteFile(name, None, "") for name in names)}


def _note_seen(folder: Path, files: Sequence[RemoteFile]) -> None:
    write_text(folder / _SEEN, json.dumps([file.name for file in files]))
