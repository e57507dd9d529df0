"""The user's own pictures in other guises, as what scores pictures reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.pictures.given import Picture
from tagstack.base_models.pictures.guises import in_guise, prepared
from tagstack.base_models.pictures.images import (
    FileContent,
    ImageError,
    decode,
    file_content,
    open_image,
    read_content,
)
from tagstack.base_models.pictures.places import picture_below
from tagstack.base_models.scoring.sources import ImageFailure
from tagstack.configs.level1 import ScoreSettings


@dataclass(frozen=True, kw_only=True)
class Original:
    """A picture that guises are made of, and the one that lends it a style."""

    path: Path
    content: FileContent
    other: Path
    other_content: FileContent


class GuisedPictures:
    """Pictures in several guises, each made when it is read; none is ever kept.

    Parameters
    ----------
    originals : mapping of name to Original
    guises : sequence of str
        `PLAIN` first.
    settings : ScoreSettings
        Limits of decoding.
    """

    def __init__(
        self, originals: Mapping[str, Original], guises: Sequence[str], settings: ScoreSettings
    ) -> None:
        self._originals, self._settings = originals, settings
        self.names = tuple(name_of(guise, name) for name in originals for guise in guises)
        self.failures: tuple[ImageFailure, ...] = ()
        self.origin = ""

    def identify(self, name: str, settings: ScoreSettings) -> FileContent:
        """Return what identifies a picture in a guise: the files that it is made of."""
        guise, own = self._read(name)
        text = f"{guise} {own.content.sha256} {own.other_content.sha256}"
        return FileContent(sha256(text.encode()).hexdigest(), own.content.size_bytes)

    def picture(self, name: str, content: FileContent) -> Picture:
        """Return the pixels of a picture in a guise."""
        guise, own = self._read(name)
        image = self._prepared(own.path, own.content)
        other = self._prepared(own.other, own.other_content) if guise == "style" else image
        return in_guise(guise, image, int(own.content.sha256[:12], 16), other)

    def _read(self, name: str) -> tuple[str, Original]:
        guise, _, image = name.partition("/")
        return guise, self._originals[image]

    def _prepared(self, path: Path, content: FileContent) -> Image.Image:
        data = read_content(path, content)
        limits = {"max_pixels": self._settings.max_pixels, "max_side": self._settings.max_side}
        return prepared(decode(open_image(data, **limits)))


def name_of(guise: str, image: str) -> str:
    """Return what a picture in a guise is called."""
    return f"{guise}/{image}"


def drawn(
    contents: Sequence[str], groups: NDArray[np.integer], seen: NDArray[np.bool_], most: int
) -> NDArray[np.int64]:
    """Return which images are probed, ascending: one of each group first, then a second, ...

    Their contents decide, not their order or names. Images that a fit has seen come last.

    Parameters
    ----------
    contents : sequence of str
        SHA-256 of each image's file, in hexadecimal.
    groups : array of shape (n_images,), integer
    seen : array of shape (n_images,), bool
    most : int
    """
    lot = np.array([sha256(f"probe {own}".encode()).hexdigest()[:16] for own in contents])
    order = np.lexsort((lot, groups, seen))
    place = np.empty(len(order), np.int64)
    key = np.stack([seen[order], groups[order]])
    begins = np.r_[True, (key[:, 1:] != key[:, :-1]).any(axis=0)][: len(order)]
    first = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    place[order] = np.arange(len(order)) - first
    return np.sort(np.lexsort((lot, place, seen))[:most])


def originals_of(
    folder: Path, images: Sequence[str], contents: Sequence[str], settings: ScoreSettings
) -> tuple[dict[str, Original], tuple[ImageFailure, ...]]:
    """Return the pictures that are there and as they were when they were scored; and the others.

    Each is lent a style by another of them, chosen by its content.

    Parameters
    ----------
    folder : Path
        Below which the images lie under their names.
    images : sequence of str
    contents : sequence of str
        SHA-256 of each, in hexadecimal.
    settings : ScoreSettings
    """
    there: dict[str, FileContent] = {}
    failures = []
    for name, expected in zip(images, contents, strict=True):
        try:
            path = picture_below(folder, name)
            found = file_content(path, max_bytes=settings.max_file_bytes)
        except ImageError as error:
            failures.append(ImageFailure(name, str(error)))
            continue
        if found.sha256 == expected:
            there[name] = found
        else:
            failures.append(ImageFailure(name, "the file is another one than was scored"))
    names = sorted(there, key=lambda name: there[name].sha256)
    found_all = {}
    for i, name in enumerate(names):
        step = 1 + int(there[name].sha256[:8], 16) % max(len(names) - 1, 1)
        other = names[(i + step) % len(names)]
        found_all[name] = Original(
            path=folder / name,
            content=there[name],
            other=folder / other,
            other_content=there[other],
        )
    return found_all, tuple(failures)
