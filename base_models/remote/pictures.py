"""Pictures elsewhere as the images of a run: found by name, fetched when it is their turn.

Nothing is fetched whole beforehand: memory and disk do not depend on how many pictures there are. A
picture is fetched once and kept in the cache until it is decoded, or longer where there is room.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath

from tagstack.base_models.addresses import OBJECT_STORES, plain_name, scheme_of
from tagstack.base_models.pictures.formats import readable
from tagstack.base_models.pictures.given import Picture
from tagstack.base_models.pictures.images import FileContent, ImageError
from tagstack.base_models.remote.cache import FileCache, pictures_folder
from tagstack.base_models.remote.files import RemoteError, RemoteFile, RemoteFiles
from tagstack.base_models.scoring.sources import ImageFailure, is_of_system
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tagstack.configs.remote import RemoteSettings
from tagstack.configs.shown import shown

_LIST_BYTES = 1 << 26  # a list of names: some million
_LIST_ENDING = ".txt"
# Of places that do not say when a file changes: fetched again in every run.
_RUN = secrets.token_hex(8)


@dataclass(frozen=True)
class RemotePictures:
    """Pictures below one address; a `PictureSource` that other processes can have.

    Parameters
    ----------
    files : RemoteFiles
    known : mapping of name to RemoteFile
        The pictures, sorted by name.
    failures : tuple of ImageFailure
        Names that are no plain paths.
    passed_over : int
        Files with other endings.
    """

    files: RemoteFiles
    known: Mapping[str, RemoteFile]
    failures: tuple[ImageFailure, ...] = ()
    passed_over: int = 0
    run: str = field(default=_RUN, repr=False)

    @property
    def names(self) -> Sequence[str]:
        """The pictures' names, sorted."""
        return tuple(self.known)

    @property
    def origin(self) -> str:
        """The address."""
        return self.files.address

    def passed_over_text(self) -> str:
        """Return what was passed over in words, or nothing."""
        return f"{self.passed_over} files with other endings" if self.passed_over else ""

    def chosen(self, names: Sequence[str]) -> "RemotePictures":
        """Return the same with some of the pictures alone."""
        return replace(self, known={name: self.known[name] for name in names}, failures=())

    def share(self, number: int, of: int) -> "RemotePictures":
        """Return one share of the pictures, as `ImageSources.share` does."""
        return replace(self.chosen(self.names[number - 1 :: of]), failures=self.failures)

    def identify(self, name: str, settings: ScoreSettings) -> FileContent:
        """Return a picture's SHA-256 and size; it is fetched for that."""
        size = self.known[name].size
        if size is not None and size > settings.max_file_bytes:
            msg = f"{size} bytes are more than score.max_file_bytes = {settings.max_file_bytes}"
            raise ImageError(msg)
        data = self._data(name, settings.max_file_bytes) if size != 0 else b""
        if not data:
            raise ImageError("the file is empty (0 bytes)")
        return FileContent(hashlib.sha256(data).hexdigest(), len(data))

    def picture(self, name: str, content: FileContent) -> Picture:
        """Return the bytes of a picture that `identify` has seen."""
        data = self._data(name, content.size_bytes)
        if hashlib.sha256(data).hexdigest() != content.sha256:
            self._cache.forget(self._key(name))
            raise ImageError("the file changed while it was being read; score it again")
        return data

    def _data(self, name: str, max_bytes: int) -> bytes:
        try:
            return self._cache.get(
                self._key(name), lambda: self.files.read(name, max_bytes=max_bytes)
            )
        except RemoteError as error:
            raise ImageError(str(error)) from error

    def _key(self, name: str) -> str:
        return f"{self.origin}\0{name}\0{self.known[name].version or self.run}"

    @cached_property
    def _cache(self) -> FileCache:
        return FileCache(pictures_folder(), self.files.settings.cache_mib << 20)


def find_remote(
    addresses: Sequence[str], settings: RemoteSettings, *, extensions: Sequence[str]
) -> RemotePictures:
    """Return the pictures at an address.

    Parameters
    ----------
    addresses : sequence of str
        One folder or file of an object store; one picture of the web, or a text that ends in
        ``.txt``, a name a line below its own folder.
    settings : RemoteSettings
    extensions : sequence of str
        Of pictures in folders, with the dot, in lower case.

    Raises
    ------
    TagstackError
        If there are several addresses, no picture, or the place cannot be read.
    """
    if len(addresses) != 1:
        msg = (
            f"{len(addresses)} addresses are given: {', '.join(map(shown, addresses))}. Expected "
            f"one, since names are paths below it. Give the folder above them, or score each into "
            f"a store of its own and merge those."
        )
        raise TagstackError(msg)
    (address,) = addresses
    if scheme_of(address) in OBJECT_STORES:
        found = _in_object_store(address, settings, tuple(readable(extensions)))
    else:
        found = _on_the_web(address, settings)
    if not found.known:
        more = f" ({found.passed_over_text()})" if found.passed_over else ""
        msg = (
            f"No images at {shown(address)}{more}. Expected files that end in one of "
            f"{' '.join(extensions)}. Look at the address, or set score.extensions."
        )
        raise TagstackError(msg)
    return found


def _in_object_store(
    address: str, settings: RemoteSettings, endings: tuple[str, ...]
) -> RemotePictures:
    files = RemoteFiles(address, settings)
    if (file := files.itself()) is not None:
        above = address.rpartition("/")[0]
        return RemotePictures(RemoteFiles(above, settings), {file.name: file})
    return _sorted_out(files, files.listed(), endings)


def _on_the_web(address: str, settings: RemoteSettings) -> RemotePictures:
    above, _, name = address.rpartition("/")
    files = RemoteFiles(above, settings)
    if not name.lower().endswith(_LIST_ENDING):
        return RemotePictures(files, {name: RemoteFile(name, None, "")})
    try:
        text = files.read(name, max_bytes=_LIST_BYTES).decode("utf-8")
    except (RemoteError, UnicodeDecodeError) as error:
        msg = (
            f"Cannot read the list {shown(address)}: {error}. Expected a text in UTF-8, a name "
            f"a line below {shown(above)}."
        )
        raise TagstackError(msg) from error
    lines = sorted({line.strip() for line in text.splitlines() if line.strip()})
    return _sorted_out(files, [RemoteFile(line, None, "") for line in lines], ("",))


def _sorted_out(
    files: RemoteFiles, listed: Sequence[RemoteFile], endings: tuple[str, ...]
) -> RemotePictures:
    """Return those files that are pictures and have names that may become paths."""
    known: dict[str, RemoteFile] = {}
    failures: list[ImageFailure] = []
    passed = 0
    for file in listed:
        if not file.name.lower().endswith(endings) or _of_system(file.name):
            passed += 1
        elif plain_name(file.name):
            known[file.name] = file
        else:
            failures.append(ImageFailure(file.name, "its name is no plain path; rename it"))
    return RemotePictures(files, known, tuple(failures), passed)


def _of_system(name: str) -> bool:
    return any(is_of_system(part) for part in PurePosixPath(name).parts if part != "..")
