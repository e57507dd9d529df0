"""What a picture looks like, in 200 bytes: enough to find it again resized or recompressed.

Two parts, because neither is enough alone. 64 bits of the coarse brightness pattern (the signs of
its lowest frequencies) are quick to search, but are much the same for all shoes on a white ground.
An 8 x 8 thumbnail in colour then tells those apart. What counts as near is decided where pictures
are compared (meta/labels/near_duplicates.py), so it can change without hashing anew.

References
----------
Zauner (2010), "Implementation and benchmarking of perceptual image hash functions": the DCT hash,
here with the bits that the ImageHash library gives.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

THUMBNAIL_SIDE = 8
THUMBNAIL_BYTES = 3 * THUMBNAIL_SIDE**2
_FREQUENCIES = 8  # across and down, the lowest ones
_SIDE = 32  # as in ImageHash: four samples for each frequency
_REDUCED = 2 * _SIDE  # pixels that are left at least where larger ones are averaged in blocks
_SAMPLED = 512  # pixels of the shorter side that are looked at, at least
_WHITE = (255, 255, 255, 255)


@dataclass(frozen=True, slots=True)
class PictureHash:
    """The hash of one picture.

    Parameters
    ----------
    bits : int
        64 bits; similar pictures differ in few of them.
    thumbnail : bytes
        192 of them: 8 x 8 pixels in RGB, row by row.
    """

    bits: int
    thumbnail: bytes


@dataclass(frozen=True, kw_only=True)
class PictureHashes:
    """The hashes of several pictures.

    Parameters
    ----------
    known : array of shape (n_images,), bool
        Whether there is a hash at all; the rows without are zero.
    bits : array of shape (n_images,), uint64
    thumbnails : array of shape (n_images, 192), uint8
    """

    known: NDArray[np.bool_]
    bits: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]

    def take(self, images: NDArray[np.intp]) -> "PictureHashes":
        """Return the hashes of the images at these indices, in that order."""
        return PictureHashes(
            known=self.known[images], bits=self.bits[images], thumbnails=self.thumbnails[images]
        )

    def joined(self, other: "PictureHashes") -> "PictureHashes":
        """Return these hashes and then those of ``other``."""
        return PictureHashes(
            known=np.concatenate([self.known, other.known]),
            bits=np.concatenate([self.bits, other.bits]),
            thumbnails=np.concatenate([self.thumbnails, other.thumbnails]),
        )


def picture_hash(image: Image.Image) -> PictureHash:
    """Return the hash of a decoded picture; transparency counts as white.

    Parameters
    ----------
    image : PIL image in mode RGB or RGBA
        As `images.decode` returns it; at least one pixel.
    """
    small = _small(image)
    grey = np.asarray(small.convert("L"), np.float64)
    lowest = dctn(grey)[:_FREQUENCIES, :_FREQUENCIES]
    signs = lowest > np.median(lowest)
    thumbnail = small.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return PictureHash(
        bits=int.from_bytes(np.packbits(signs).tobytes(), "big"), thumbnail=thumbnail.tobytes()
    )


def _small(image: Image.Image) -> Image.Image:
    # Of a large picture every few pixels are enough: 256 and more are averaged for each of 32 x 32.
    step = min(image.size) // _SAMPLED
    if step > 1:
        sampled = (image.width // step, image.height // step)
        image = image.resize(sampled, Image.Resampling.NEAREST)
    if image.mode != "RGBA":
        return _averaged(image, *(max(1, side // _REDUCED) for side in image.size))
    ground = Image.new("RGBA", (_SIDE, _SIDE), _WHITE)
    ground.alpha_composite(_averaged(image.convert("RGBa"), 1, 1).convert("RGBA"))
    return ground.convert("RGB")


def _averaged(image: Image.Image, across: int, down: int) -> Image.Image:
    """Return an image of `_SIDE` pixels, reduced by whole factors first.

    Rows before columns, because Pillow's own order depends on its version and with it some levels.
    """
    box = (0, 0, image.width / across, image.height / down)
    whole = image.reduce((across, down))
    rows = whole.resize(
        (_SIDE, whole.height), Image.Resampling.BOX, box=(0, 0, box[2], whole.height)
    )
    return rows.resize((_SIDE, _SIDE), Image.Resampling.BOX, box=(0, 0, _SIDE, box[3]))
