"""One picture, decoded once and framed for every tagger that wants it.

With ``score.scaled_decoding`` a JPEG that is much larger than a tagger needs is decoded at a half,
a quarter or an eighth of its size, which its format allows in a fraction of the time. How small
is decided for each framing from the picture's and the framing's sizes alone, never from which
other taggers run, so that a tagger's pixels do not depend on its company.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.pictures.decoding_process import DecodingProcesses, is_cheap
from tagstack.base_models.pictures.given import Picture
from tagstack.base_models.pictures.images import (
    DecodingBudget,
    ImageError,
    check_pixels,
    decode,
    open_image,
    reduced,
)
from tagstack.base_models.pictures.memory import decoding_bytes
from tagstack.base_models.pictures.picture_hash import PictureHash, picture_hash
from tagstack.base_models.pictures.preprocess import Framing, fitted_size, framed
from tagstack.base_models.pictures.resampling import PILLOW, Resampler

# A reduced picture keeps at least twice the pixels that it is resized to, in both directions: the
# resize then averages over what reduction and full decoding do differently.
_SPARE = 2
_REDUCTIONS = (8, 4, 2)


@dataclass(frozen=True)
class FramedPicture:
    """A picture in every framing that was asked for.

    Parameters
    ----------
    pixels : mapping of Framing to array of shape (height, width, 3), uint8
    hash : PictureHash or None
        None where it was not asked for.
    seconds : mapping of str to float
        What ``decode`` and ``frame`` took.
    """

    pixels: Mapping[Framing, NDArray[np.uint8]]
    hash: PictureHash | None
    seconds: Mapping[str, float]


def framed_picture(
    picture: Picture,
    framings: Iterable[Framing],
    *,
    max_pixels: int,
    max_side: int | None = None,
    budget: DecodingBudget,
    resampler: Resampler = PILLOW,
    hashed: bool = True,
    max_bytes: int | None = None,
    processes: DecodingProcesses | None = None,
) -> FramedPicture:
    """Return the pixels of a picture in every framing; its hash alone for no framing.

    Parameters
    ----------
    picture : Picture
        A file's content, or pixels.
    framings : iterable of Framing
    max_pixels : int
        A larger picture is refused.
    max_side : int, optional
        A longer or wider one, too.
    budget : DecodingBudget
        Shared by all threads that decode.
    resampler : Resampler
        What resizes; it changes no pixel.
    hashed : bool
        Whether the hash is wanted.
    max_bytes : int, optional
        Memory; a picture that takes more while it is decoded is refused.
    processes : DecodingProcesses, optional
        Where a file is decoded that may take long; here by default.

    Raises
    ------
    ImageError
        If the file is no image, too large or damaged.
    """
    header = _opened(picture, max_pixels, max_side)
    groups = defaultdict[int, list[Framing]](list)
    for framing in framings:
        scaled = framing.scaled_decoding and _is_jpeg(picture, header)
        groups[reduction(header.size, framing) if scaled else 1].append(framing)
    pixels: dict[Framing, NDArray[np.uint8]] = {}
    seconds = {"decode": 0.0, "frame": 0.0}
    hashes: list[PictureHash] = []
    cheap = not isinstance(picture, bytes) or is_cheap(picture, header)
    apart = None if cheap else processes
    needed = decoding_bytes(header)
    if max_bytes is not None and needed > max_bytes:
        msg = (
            f"decoding takes about {needed >> 20} MiB, more than score.decode_mib = "
            f"{max_bytes >> 20}"
        )
        raise ImageError(msg)
    with budget.taking(needed):
        # The largest decoding gives the hash; that of a reduced one differs in a few bits at most.
        for factor, wanted in sorted(groups.items()) or [(1, [])]:
            began = time.monotonic()
            if isinstance(picture, bytes) and apart is not None:
                image = apart.decoded(picture, factor)
            else:
                alone = len(groups) < 2
                opened = header if alone else _opened(picture, max_pixels, max_side)
                image = decode(reduced(opened, factor))
            decoded = time.monotonic()
            for framing in wanted:
                pixels[framing] = framed(image, framing, is_reduced=factor > 1, resampler=resampler)
            if hashed and not hashes:
                hashes.append(picture_hash(image))
            seconds["decode"] += decoded - began
            seconds["frame"] += time.monotonic() - decoded
    return FramedPicture(pixels, hashes[0] if hashes else None, seconds)


def _opened(picture: Picture, max_pixels: int, max_side: int | None) -> Image.Image:
    if isinstance(picture, bytes):
        return open_image(picture, max_pixels=max_pixels, max_side=max_side)
    check_pixels(picture, max_pixels, max_side)
    return picture


def _is_jpeg(picture: Picture, header: Image.Image) -> bool:
    """Return whether a picture can be decoded smaller: pixels are decoded already."""
    return isinstance(picture, bytes) and header.format == "JPEG"


def reduction(size: tuple[int, int], framing: Framing) -> int:
    """Return by how much a picture may be decoded smaller: 1, 2, 4 or 8.

    Parameters
    ----------
    size : (int, int)
        Width and height in pixels, upright or not: a rotation by EXIF comes later.
    framing : Framing
    """
    return min(_reduction(size, framing), _reduction((size[1], size[0]), framing))


def _reduction(size: tuple[int, int], framing: Framing) -> int:
    needed = _first_size(size, framing)
    for factor in _REDUCTIONS:
        # A side that does not divide evenly would shift the picture by a part of a pixel.
        even = all(side % factor == 0 for side in size)
        pairs = zip(size, needed, strict=True)
        if even and all(side >= _SPARE * factor * need for side, need in pairs):
            return factor
    return 1


def _first_size(size: tuple[int, int], framing: Framing) -> tuple[float, float]:
    """Return the width and height that the first resize gives the picture's own pixels."""
    if framing.canvas is not None:
        scale = framing.canvas[0] / max(size)
        return size[0] * scale, size[1] * scale
    if framing.geometry == "squash":
        return framing.width, framing.height
    if framing.geometry in ("fit_pad", "fit_edge"):
        return fitted_size(size, framing)
    side = max(*size, framing.width, framing.height) if "up" in framing.geometry else max(size)
    return size[0] * framing.width / side, size[1] * framing.height / side
