"""Which images a run is about: files as given, folders searched through, pictures in memory.

A file's name is its path below the root, in POSIX form. The root is the one folder that was
given, or what all given paths have in common. Names that are no valid UTF-8 keep their bytes
(``surrogateescape``); nothing is renamed or normalised.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from tagstack.base_models.addresses import addresses_of
from tagstack.base_models.pictures.formats import readable
from tagstack.base_models.pictures.given import Given, Picture, content_of, picture_of
from tagstack.base_models.pictures.images import FileContent, file_content, read_content
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

SYSTEM = "hidden or of a system"
# What Synology, macOS, Windows and file managers leave among pictures.
_SYSTEM_NAMES = frozenset(
    ("@eadir", "#recycle", "__macosx", "$recycle.bin", "system volume information", "thumbs.db",
     "desktop.ini", "thumbnails", "lost+found")
)  # fmt: skip
_NAMED = 6  # how many endings a message names


@dataclass(frozen=True)
class ImageFailure:
    """An image or folder that could not be read, and why."""

    name: str
    reason: str


class PictureSource(Protocol):
    """The images of a run, wherever they are."""

    @property
    def names(self) -> Sequence[str]:
        """Name of each image, unique."""

    @property
    def failures(self) -> Sequence[ImageFailure]:
        """What could not even be listed."""

    @property
    def origin(self) -> str:
        """Folder that the names are relative to; empty where there is none."""

    def identify(self, name: str, settings: ScoreSettings) -> FileContent:
        """Return what identifies an image's content; an `ImageError` if it cannot be read."""

    def picture(self, name: str, content: FileContent) -> Picture:
        """Return what `identify` has seen, to be decoded; an `ImageError` if it has changed."""


@dataclass(frozen=True)
class ImageSources:
    """The files of a run.

    Parameters
    ----------
    root : Path
        Absolute folder that the names are relative to.
    names : tuple of str
        Name of each image, unique and sorted.
    failures : tuple of ImageFailure
        Folders that could not be listed.
    passed_over : mapping of str to int
        How many files in the folders are not taken, by ending; those of systems and programs
        (hidden ones, thumbnails) under `SYSTEM`.
    apart : tuple of str
        Images that are there and that this run does not read: files still being written, or known
        to fail. They only count where files are named.
    """

    root: Path
    names: tuple[str, ...]
    failures: tuple[ImageFailure, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    apart: tuple[str, ...] = ()

    @property
    def n_found(self) -> int:
        """Every file that was seen: to be scored, failed, or passed over."""
        return len(self.names) + len(self.failures) + sum(self.passed_over.values())

    @property
    def origin(self) -> str:
        """The root."""
        return str(self.root)

    def path(self, name: str) -> Path:
        """Return the file of a name."""
        return self.root / name

    def identify(self, name: str, settings: ScoreSettings) -> FileContent:
        """Return a file's SHA-256 and size."""
        return file_content(self.path(name), max_bytes=settings.max_file_bytes)

    def picture(self, name: str, content: FileContent) -> Picture:
        """Return the bytes of a file that `identify` has seen."""
        return read_content(self.path(name), content)

    def chosen(self, names: Sequence[str]) -> "ImageSources":
        """Return the same with some of the images alone, as other processes need it."""
        return ImageSources(self.root, tuple(names))

    def share(self, number: int, of: int) -> "ImageSources":
        """Return one share of the images, fixed by the sorted names alone.

        Machines that each take another share of the same folder score every image once.

        Parameters
        ----------
        number, of : int
            Which share, from 1, of how many.
        """
        return replace(self, names=self.names[number - 1 :: of])

    def passed_over_text(self) -> str:
        """Return what was passed over in words, such as ``7 files: 4 .txt, 3 .mp4``; or nothing."""
        total = sum(self.passed_over.values())
        if not total:
            return ""
        ordered = sorted(self.passed_over.items(), key=lambda item: (-item[1], item[0]))
        shown = [f"{n} {ending}" for ending, n in ordered[:_NAMED]]
        rest = sum(n for _, n in ordered[_NAMED:])
        more = [f"{rest} others"] if rest else []
        return f"{total} file{'s' * (total > 1)}: {', '.join(shown + more)}"


class SharedSource(PictureSource, Protocol):
    """Images that other processes and machines can read as well."""

    def chosen(self, names: Sequence[str]) -> "SharedSource":
        """Return the same with some of the images alone."""

    def share(self, number: int, of: int) -> "SharedSource":
        """Return one share of the images, fixed by the sorted names alone."""

    def passed_over_text(self) -> str:
        """Return what was passed over in words, or nothing."""


class GivenPictures:
    """Pictures that a program gives by name: files, their bytes, or pixels.

    Parameters
    ----------
    pictures : mapping of name to Given
        They must not change while they are scored.
    """

    def __init__(self, pictures: Mapping[str, Given]) -> None:
        self._pictures = pictures
        self.names = tuple(pictures)
        self.failures: tuple[ImageFailure, ...] = ()
        self.origin = ""

    def identify(self, name: str, settings: ScoreSettings) -> FileContent:
        """Return what identifies a picture's content."""
        return content_of(self._pictures[name], settings)

    def picture(self, name: str, content: FileContent) -> Picture:
        """Return the bytes or the pixels of a picture that `identify` has seen."""
        return picture_of(self._pictures[name], content)


def find_images(
    paths: Sequence[Path], *, extensions: Sequence[str], none_allowed: bool = False
) -> ImageSources:
    """Return the images that files and folders hold, sorted by name.

    A file given by itself is taken whatever its extension is. Folders are searched through;
    links to folders are followed, each folder once, so a loop of links ends. Hidden files and the
    folders of systems and programs (``@eaDir``, ``__MACOSX``, thumbnails) are passed over.

    Parameters
    ----------
    paths : sequence of Path
        Files or folders.
    extensions : sequence of str
        Extensions of images inside folders, with the dot, in lower case.
    none_allowed : bool
        Whether folders without an image are no error.

    Raises
    ------
    TagstackError
        If a path does not exist, or there is no image at all and that is not allowed.
    """
    if addresses := addresses_of(paths):
        msg = (
            f"{_shown(addresses[0])} is an address; only `score` reads pictures from elsewhere. "
            f"Expected files or folders. Score them, and say --scores where it is taken."
        )
        raise TagstackError(msg)
    given = [Path(os.path.abspath(path)) for path in paths]
    extensions = readable(extensions)
    for path in given:
        if not os.path.lexists(path):
            msg = f"No such file or folder: {_shown(path)}. Expected image files or folders."
            raise TagstackError(msg)
    if not given:
        raise TagstackError("No images given; expected image files or folders.")
    if sys.getfilesystemencoding() != "utf-8" and os.name == "posix":
        msg = (
            f"Python reads file names as {sys.getfilesystemencoding()} here, so that the same name "
            f"would be another text elsewhere. Set PYTHONUTF8=1."
        )
        raise TagstackError(msg)
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in given]))
    failures: list[ImageFailure] = []
    passed: Counter[str] = Counter()
    # Texts from here on: of a hundred thousand files, a path each costs as much as all the rest.
    found: set[str] = set()
    for path in given:
        taken = _searched(path, tuple(extensions), failures, passed) if path.is_dir() else [path]
        found.update(map(os.fspath, taken))
    if not found and not none_allowed:
        seen = ImageSources(root, (), (), passed).passed_over_text()
        msg = (
            f"No images in {', '.join(map(_shown, given))}: no file ends in one of "
            f"{' '.join(extensions)}{f' (passed over {seen})' if seen else ''}. Give the files by "
            f"name, or set score.extensions."
        )
        raise TagstackError(msg)
    above = len(root.as_posix().rstrip("/")) + 1
    names = sorted(path.replace(os.sep, "/")[above:] for path in found)
    unlisted = [ImageFailure(_below(Path(item.name), root), item.reason) for item in failures]
    return ImageSources(root, tuple(names), tuple(unlisted), dict(passed))


def _searched(
    folder: Path, extensions: tuple[str, ...], failures: list[ImageFailure], passed: Counter[str]
) -> Iterator[str]:
    """Yield the images below a folder; real folders come first, so they give their names."""
    seen: set[tuple[int, int]] = set()
    real, linked = [os.fspath(folder)], list[str]()
    while real or linked:
        current = real.pop() if real else linked.pop(0)
        try:
            facts = os.stat(current)
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            reason = f"folder cannot be listed: {error.strerror}"
            failures.append(ImageFailure(current, reason))
            continue
        for entry in entries:
            if is_of_system(entry.name):
                if not entry.is_dir(follow_symlinks=False):
                    passed[SYSTEM] += 1
            elif entry.is_dir(follow_symlinks=False):
                real.append(entry.path)
            elif _links_to_folder(entry):
                linked.append(entry.path)
            elif entry.name.lower().endswith(extensions):
                yield entry.path
            else:
                passed[Path(entry.name).suffix.lower() or "without an ending"] += 1


def is_of_system(name: str) -> bool:
    """Return whether a file or folder of this name belongs to a system or program, or is hidden."""
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def _links_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself; reading it names the reason
        return False


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _shown(path: Path | str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
