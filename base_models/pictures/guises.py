"""Pictures in other guises: what they show stays, and colour, texture or place does not.

Whether a tag outlives a guise says what a tagger looks at: colours, edges, textures, or where
things are. A guise is a pure function of the picture, of a number that its content gives, and, for
``style``, of another picture. To add one, write a function and name it in `GUISES`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

Pixels = NDArray[np.float32]

PLAIN = "plain"  # the picture itself, as large as its guises are
LONGEST = 1024  # pixels of the longer side: no tagger sees more, and guises cost time
_PATCHES = 4  # along each side
_BLUR = 0.02  # radius as a share of the longer side: letters and hatching go, shapes stay
_DARKEST = 99.0  # percentile of edges that is drawn black


@dataclass(frozen=True, kw_only=True)
class Guise:
    """One way to show a picture.

    Parameters
    ----------
    takes : str
        In words, what is taken from the picture.
    made : callable
        Of a picture in RGB, a number drawn from its content, and another picture in RGB.
    """

    takes: str
    made: Callable[[Image.Image, int, Image.Image], Image.Image]


def _grey(image: Image.Image, number: int, other: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _edges(image: Image.Image, number: int, other: Image.Image) -> Image.Image:
    """Return lines where brightness changes, dark on white (Sobel's operator)."""
    grey = np.pad(np.asarray(image.convert("L"), np.float32), 1, mode="edge")
    down = grey[:, :-2] + 2 * grey[:, 1:-1] + grey[:, 2:]
    across = grey[:-2] + 2 * grey[1:-1] + grey[2:]
    steep = np.hypot(down[2:] - down[:-2], across[:, 2:] - across[:, :-2])
    black = float(np.percentile(steep, _DARKEST))
    shade = 255 - 255 * np.minimum(steep / max(black, 1.0), 1.0)
    return Image.fromarray(np.rint(shade).astype(np.uint8)).convert("RGB")


def _patches(image: Image.Image, number: int, other: Image.Image) -> Image.Image:
    """Return the picture cut into 4 x 4 pieces in another order; a rest at the edges stays."""
    width, height = image.width // _PATCHES, image.height // _PATCHES
    result = image.copy()
    if not width or not height:
        return result
    order = np.random.default_rng(number).permutation(_PATCHES**2).tolist()
    for at, source in enumerate(order):
        row, column = divmod(source, _PATCHES)
        left, top = column * width, row * height
        piece = image.crop((left, top, left + width, top + height))
        result.paste(piece, (at % _PATCHES * width, at // _PATCHES * height))
    return result


def _blur(image: Image.Image, number: int, other: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(_BLUR * max(image.size)))


def _palette(image: Image.Image, number: int, other: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    return Image.merge("RGB", (blue, red, green))


def _style(image: Image.Image, number: int, other: Image.Image) -> Image.Image:
    """Return the picture with mean and spread of another's brightness and colours.

    References
    ----------
    Reinhard, Ashikhmin, Gooch & Shirley (2001), "Color transfer between images"; here in YCbCr.
    """
    own, theirs = (_channels(one) for one in (image, other))
    mean, spread = own.mean((0, 1)), own.std((0, 1))
    scale = theirs.std((0, 1)) / np.maximum(spread, 1.0)
    moved = (own - mean) * scale + theirs.mean((0, 1))
    pixels = np.rint(np.clip(moved, 0, 255)).astype(np.uint8)
    return Image.fromarray(pixels, "YCbCr").convert("RGB")


def _channels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("YCbCr"), np.float32)


def _mirrored(image: Image.Image, number: int, other: Image.Image) -> Image.Image:
    return ImageOps.mirror(image)


GUISES = {
    "grey": Guise(takes="colour", made=_grey),
    "edges": Guise(takes="colour, texture and shading: lines are left", made=_edges),
    "patches": Guise(takes="shape and place: 4 x 4 pieces in another order", made=_patches),
    "blur": Guise(takes="texture and fine lines", made=_blur),
    "palette": Guise(
        takes="which colour is which: red, green and blue change places", made=_palette
    ),
    "style": Guise(takes="its own tones: it has another picture's", made=_style),
    "mirrored": Guise(takes="left and right", made=_mirrored),
}


def prepared(image: Image.Image) -> Image.Image:
    """Return a decoded picture as guises start from it: on white, no larger than `LONGEST`.

    Parameters
    ----------
    image : Image
        In mode RGB or RGBA.
    """
    if image.mode == "RGBA":
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    image = image.convert("RGB")
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return image


def in_guise(name: str, image: Image.Image, number: int, other: Image.Image) -> Image.Image:
    """Return a prepared picture in a guise, of the same size; `PLAIN` returns it as it is.

    Parameters
    ----------
    name : str
        `PLAIN` or one of `GUISES`.
    image, other : Image
        In mode RGB.
    number : int
        Not negative.
    """
    return image if name == PLAIN else GUISES[name].made(image, number, other)
