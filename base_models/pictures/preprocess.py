"""From a decoded picture to the uint8 pixels a tagger sees, and from those to its input tensor.

The first half (`Framing`) is what taggers of one family share: it is computed once an image for
each distinct value. Both halves are pure: an image's pixels depend on that image alone.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.contract import Colour, Input
from tagstack.base_models.pictures.resampling import PILLOW, Resampler
from tagstack.base_models.pictures.squares import alone, on_square, reached_on_square

# Part of every member's fingerprint: raise it whenever a change here, in images.py, squares.py or
# framed_pixels.py can alter a pixel, so that scores from before and after are never mixed.
PREPROCESSING_VERSION = 4
# The same for what alters pixels of scaled decoding alone.
SCALED_VERSION = 2

_STRIP_PIXELS = 2_000_000
_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, kw_only=True)
class Framing:
    """The part of a contract that decides the uint8 pixels; equal framings share their work."""

    height: int
    width: int
    geometry: str
    pad: Colour
    matte: Colour
    resample: str
    rounding: str
    canvas: tuple[int, str] | None
    scaled_decoding: bool
    masked: bool = False

    @property
    def planes(self) -> int:
        """What a pixel has: red, green, blue, and 255 where it is padding if that is asked for."""
        return 4 if self.masked else 3


WHOLE = Framing(
    height=0,
    width=0,
    geometry="whole",
    pad=(255, 255, 255),
    matte=(255, 255, 255),
    resample="nearest",
    rounding="down",
    canvas=None,
    scaled_decoding=False,
)
"""All pixels of a picture as they are, on white; no contract asks for it."""


def framing_from_input(contract: Input, *, scaled_decoding: bool = False) -> Framing:
    """Return the framing that a contract's input asks for.

    Parameters
    ----------
    contract : Input
    scaled_decoding : bool
        Whether a large JPEG may be decoded at a part of its size.
    """
    height, width = contract.height_width
    return Framing(
        height=height,
        width=width,
        geometry=contract.geometry,
        pad=contract.pad,
        matte=contract.matte,
        resample=contract.resample,
        rounding=contract.rounding,
        canvas=None
        if contract.canvas is None
        else (contract.canvas.size, contract.canvas.resample),
        scaled_decoding=scaled_decoding,
        masked=contract.padding_mask is not None,
    )


def framed(
    image: Image.Image,
    framing: Framing,
    *,
    is_reduced: bool = False,
    resampler: Resampler = PILLOW,
) -> NDArray[np.uint8]:
    """Return the pixels of a decoded picture in the framing, RGB.

    Parameters
    ----------
    image : PIL image in mode RGB or RGBA
        As `images.decode` returns it.
    framing : Framing
    is_reduced : bool
        Whether it was decoded at a part of its size: its pixels are approximate anyway, so a
        square's empty borders are not resized along with it, which changes a few by one level.
    resampler : Resampler
        What resizes; it changes no pixel.

    Returns
    -------
    array of shape (height, width, 3), uint8
        With a fourth plane, the padding, if the framing is masked.
    """
    flat = _on_canvas(_on_matte(image, framing.matte), framing, resampler)
    smooth = framing.resample in ("bilinear", "bicubic", "lanczos")  # no steps to fall on
    if is_reduced and smooth and framing.geometry in _SQUARES and framing.canvas is None:
        return _reached_square(flat, framing, resampler)
    return _GEOMETRY[framing.geometry](flat, framing, resampler)


def input_tensor(pixels: NDArray[np.uint8], contract: Input) -> NDArray[np.float32]:
    """Return the model's input for framed pixels.

    Parameters
    ----------
    pixels : array of shape (n_images, height, width, 3), uint8, RGB
        With a fourth plane if the contract has a padding mask.
    contract : Input

    Returns
    -------
    array of shape (n_images, height, width, 3) or (n_images, 3, height, width), float32
        In the contract's layout, colour order and range, contiguous; a fourth channel is 1 where
        there is padding and 0 elsewhere.
    """
    values = _scaled(pixels[..., :3].astype(np.float32), contract)
    if contract.colour == "BGR":
        values = values[..., ::-1]
    if contract.padding_mask is not None:
        values = np.concatenate([values, pixels[..., 3:] > 0], axis=-1, dtype=np.float32)
    if contract.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values)


def _scaled(values: NDArray[np.float32], contract: Input) -> NDArray[np.float32]:
    if contract.mean is not None and contract.std is not None:
        mean, std = (np.array(part, np.float32) for part in (contract.mean, contract.std))
        return (values / np.float32(255) - mean) / std
    if contract.range == "0-1":
        return values / np.float32(255)
    if contract.range == "-1-1":
        return values / np.float32(127.5) - np.float32(1)
    return values


def _on_matte(image: Image.Image, matte: Colour) -> Image.Image:
    if image.mode != "RGBA":
        return image
    # Some rows at a time: twice the picture in memory instead of three times.
    flat = Image.new("RGB", image.size)
    step = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, step):
        strip = image.crop((0, top, image.width, min(top + step, image.height)))
        canvas = Image.new("RGBA", strip.size, (*matte, 255))
        canvas.alpha_composite(strip)
        flat.paste(canvas.convert("RGB"), (0, top))
    return flat


def _on_canvas(image: Image.Image, framing: Framing, resampler: Resampler) -> Image.Image:
    if framing.canvas is None:
        return image
    side, resample = framing.canvas
    first = replace(framing, height=side, width=side, resample=resample)
    return Image.fromarray(_fit_pad(image, first, resampler))


def _pad_square(image: Image.Image, framing: Framing, resampler: Resampler) -> NDArray[np.uint8]:
    return _square(image, framing, max(image.size), resampler)


def _pad_square_up(image: Image.Image, framing: Framing, resampler: Resampler) -> NDArray[np.uint8]:
    side = max(*image.size, framing.height, framing.width)
    return _square(image, framing, side, resampler)


def _square(
    image: Image.Image, framing: Framing, side: int, resampler: Resampler
) -> NDArray[np.uint8]:
    canvas, size = on_square(image, side, framing.pad), (framing.width, framing.height)
    return resampler.resized(canvas, size, _RESAMPLE[framing.resample])


def _reached_square(
    image: Image.Image, framing: Framing, resampler: Resampler
) -> NDArray[np.uint8]:
    reached = reached_on_square(image, (framing.width, framing.height), framing.pad)
    small = resampler.resized(reached.canvas, reached.size, _RESAMPLE[framing.resample])
    return _laid(small, reached.at, framing)


def _squash(image: Image.Image, framing: Framing, resampler: Resampler) -> NDArray[np.uint8]:
    size = (framing.width, framing.height)
    return resampler.resized(alone(image), size, _RESAMPLE[framing.resample])


def _fit_pad(image: Image.Image, framing: Framing, resampler: Resampler) -> NDArray[np.uint8]:
    small, left, top = _fitted(image, framing, resampler)
    pixels = _laid(small, (left, top), framing)
    if not framing.masked:
        return pixels
    padding = np.full((framing.height, framing.width, 1), 255, np.uint8)
    padding[top : top + small.shape[0], left : left + small.shape[1]] = 0
    return np.concatenate([pixels, padding], axis=2)


def _whole(image: Image.Image, framing: Framing, resampler: Resampler) -> NDArray[np.uint8]:
    return np.asarray(image)


def _laid(small: NDArray[np.uint8], at: tuple[int, int], framing: Framing) -> NDArray[np.uint8]:
    """Return a small picture on an empty one of the framing's size."""
    pixels = np.array(Image.new("RGB", (framing.width, framing.height), framing.pad))
    pixels[at[1] : at[1] + small.shape[0], at[0] : at[0] + small.shape[1]] = small
    return pixels


def _fit_edge(image: Image.Image, framing: Framing, resampler: Resampler) -> NDArray[np.uint8]:
    small, left, top = _fitted(image, framing, resampler)
    right = framing.width - small.shape[1] - left
    bottom = framing.height - small.shape[0] - top
    pixels = small.astype(np.uint16)
    near = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="edge")
    # Between two pixels lies their mean; where the remainder is even, both are the same.
    far = np.pad(pixels, ((bottom, top), (right, left), (0, 0)), mode="edge")
    return ((near + far + 1) // 2).astype(np.uint8)


def _fitted(
    image: Image.Image, framing: Framing, resampler: Resampler
) -> tuple[NDArray[np.uint8], int, int]:
    width, height = fitted_size(image.size, framing)
    small = resampler.resized(alone(image), (width, height), _RESAMPLE[framing.resample])
    return small, (framing.width - width) // 2, (framing.height - height) // 2


def fitted_size(size: tuple[int, int], framing: Framing) -> tuple[int, int]:
    """Return the width and height of an image of that width and height inside the framing.

    The longer side fills it exactly. In fractions, because in floats every tenth size comes out a
    pixel short.
    """
    scale = min(Fraction(framing.width, size[0]), Fraction(framing.height, size[1]))
    down = framing.rounding == "down"
    width, height = (int(side * scale) if down else round(side * scale) for side in size)
    return max(1, width), max(1, height)


_GEOMETRY = {
    "pad_square": _pad_square,
    "pad_square_up": _pad_square_up,
    "squash": _squash,
    "fit_pad": _fit_pad,
    "fit_edge": _fit_edge,
    "whole": _whole,
}
# Those whose square is that of the longer side whenever the picture is large enough to be reduced.
_SQUARES = ("pad_square", "pad_square_up")
