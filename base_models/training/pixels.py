"""Framed pictures for training, on disk: the pixels that the tagger will see when it is used.

They are decoded and framed by what scoring uses, once, into one file that is mapped into memory, so
that memory does not grow with the pictures.
"""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.decoding_process import DecodingProcesses
from tagstack.base_models.pictures.framed_pixels import framed_picture
from tagstack.base_models.pictures.images import DecodingBudget, FileContent, ImageError
from tagstack.base_models.pictures.picture_hash import THUMBNAIL_BYTES, PictureHash, PictureHashes
from tagstack.base_models.pictures.preprocess import Framing
from tagstack.base_models.pictures.resampling import chosen_resampler
from tagstack.base_models.scoring.intake import ahead
from tagstack.base_models.scoring.sources import ImageSources
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

PIXELS_FILE = "pixels.npy"
_SPARE_BYTES = 1 << 30  # of the disk, left to others

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class FramedImages:
    """Pictures that could be read.

    Parameters
    ----------
    names : tuple of str
    contents : tuple of str
        SHA-256 of each file's bytes.
    pixels : array of shape (n_images, height, width, 3), uint8
        Mapped from a file.
    hashes : PictureHashes
    failures : tuple of (str, str)
        Name and reason of each picture that could not be read.
    """

    names: tuple[str, ...]
    contents: tuple[str, ...]
    pixels: NDArray[np.uint8]
    hashes: PictureHashes
    failures: tuple[tuple[str, str], ...]


def framed_images(
    sources: ImageSources,
    names: Sequence[str],
    framing: Framing,
    settings: ScoreSettings,
    folder: Path,
    *,
    threads: int,
    told: Told,
) -> FramedImages:
    """Return pictures in a framing, their pixels in a file of ``folder``.

    Raises
    ------
    TagstackError
        If none can be read, or the disk has no room.
    """
    shape = (len(names), framing.height, framing.width, 3)
    _check_room(folder, int(np.prod(shape)))
    pixels = np.lib.format.open_memmap(folder / PIXELS_FILE, mode="w+", dtype=np.uint8, shape=shape)
    work = _Framing(sources, framing, settings)
    kept: list[tuple[str, str]] = []
    hashes: list[PictureHash] = []
    failures = []
    try:
        with ThreadPoolExecutor(threads) as pool:
            found = ahead(pool, work.framed, names, 2 * settings.batch_images)
            for number, (name, result) in enumerate(zip(names, found, strict=True), 1):
                if isinstance(result, str):
                    failures.append((name, result))
                else:
                    content, hash_, own = result
                    pixels[len(kept)] = own
                    kept.append((name, content))
                    hashes.append(hash_)
                told("reading pictures", number, len(names))
    finally:
        work.close()
    if not kept:
        raise TagstackError(f"No picture can be read: {failures[0][0]}: {failures[0][1]}.")
    pixels.flush()
    return FramedImages(
        names=tuple(name for name, _ in kept),
        contents=tuple(content for _, content in kept),
        pixels=pixels[: len(kept)],
        hashes=_joined(hashes),
        failures=tuple(failures),
    )


class _Framing:
    """Reads, identifies and frames one picture at a time, in whichever thread asks."""

    def __init__(self, sources: ImageSources, framing: Framing, settings: ScoreSettings) -> None:
        self._sources, self._framing, self._settings = sources, framing, settings
        self._budget = DecodingBudget(settings.decode_mib << 20)
        self._resampler = chosen_resampler(settings.resampling)
        self._processes = DecodingProcesses(
            settings.decode_seconds, settings.max_pixels, settings.max_side
        )

    def framed(self, name: str) -> str | tuple[str, PictureHash, NDArray[np.uint8]]:
        """Return a picture's SHA-256, hash and pixels; or why there are none."""
        try:
            content: FileContent = self._sources.identify(name, self._settings)
            picture = framed_picture(
                self._sources.picture(name, content),
                [self._framing],
                max_pixels=self._settings.max_pixels,
                max_side=self._settings.max_side,
                budget=self._budget,
                resampler=self._resampler,
                max_bytes=self._settings.decode_mib << 20,
                processes=self._processes,
            )
        except ImageError as error:
            return str(error)
        assert picture.hash is not None
        return content.sha256, picture.hash, picture.pixels[self._framing]

    def close(self) -> None:
        """End what decodes."""
        self._processes.close()


def _joined(hashes: Sequence[PictureHash]) -> PictureHashes:
    thumbnails = b"".join(own.thumbnail for own in hashes)
    return PictureHashes(
        known=np.ones(len(hashes), bool),
        bits=np.array([own.bits for own in hashes], np.uint64),
        thumbnails=np.frombuffer(thumbnails, np.uint8).reshape(-1, THUMBNAIL_BYTES),
    )


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        msg = (
            f"Framed pictures take {needed >> 20:,} MiB, but {folder} has {free >> 20:,} MiB free "
            f"(of which {_SPARE_BYTES >> 20:,} stay free). Train on fewer pictures, at a smaller "
            "train.size, or on another disk."
        )
        raise TagstackError(msg)
