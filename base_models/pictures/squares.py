"""Pictures on canvases of one colour, and those resized, without making the canvas."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from tagstack.base_models.contract import Colour
from tagstack.base_models.pictures.resampling_weights import Side
from tagstack.base_models.pictures.thin_canvas import nearest, resized_columns, resized_rows

_STRIP_PIXELS = 4_000_000
# Beyond so many times a picture's side, its canvas is no longer gone through pixel by pixel.
_THIN = 4


@dataclass(frozen=True, eq=False)
class Canvas:
    """A picture on a canvas of one colour.

    Parameters
    ----------
    image : PIL image in mode RGB
    size : (int, int)
        Width and height of the canvas.
    at : (int, int)
        Where on it the picture's left upper corner lies.
    colour : (int, int, int)
    box : (float, float, float, float), optional
        Left, top, right and bottom of what is resized of it; None is everything.
    """

    image: Image.Image
    size: tuple[int, int]
    at: tuple[int, int]
    colour: Colour
    box: tuple[float, float, float, float] | None = None

    def resized(self, size: tuple[int, int], resample: Resampling) -> NDArray[np.uint8]:
        """Return the canvas, or the box of it, resized as by Pillow, rows before columns.

        Values are rounded in between, so some pixels depend on the order. Left to itself, Pillow
        begins with the columns of what shrinks in height by much more than in width from version
        13 on, and before did not, as when the published taggers were trained.

        Returns
        -------
        array of shape (height, width, 3), uint8
        """
        if any(side.length > _THIN * side.own for side in self.sides):
            return self._resized_thin(size, resample)
        left, top, right, bottom = self.box or (0, 0, *self.size)
        rows = self._rows(left, right, size[0], resample)
        return np.asarray(rows.resize(size, resample, box=(0, top, size[0], bottom)))

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both sides, and where on them the picture lies."""
        left, top, right, bottom = self.box or (0, 0, *self.size)
        return (
            Side(self.size[0], left, right, self.at[0], self.image.width),
            Side(self.size[1], top, bottom, self.at[1], self.image.height),
        )

    def _resized_thin(self, size: tuple[int, int], resample: Resampling) -> NDArray[np.uint8]:
        across, down = self.sides
        colour = np.array(self.colour, np.uint8)
        if resample == Resampling.NEAREST:
            return nearest(self.image, (across, down), size, colour)
        place: NDArray[np.int64] | slice = slice(None)
        if across.length > _THIN * across.own:
            rows, place = resized_rows(self.image, across, size[0], resample, colour)
        else:
            rows = np.asarray(self._own_rows(across, size[0], resample))
        beside = self._beside(across, size[0], resample)
        beside = beside if isinstance(place, slice) else beside[_first(place)]
        if down.length > _THIN * down.own:
            pixels = resized_columns(rows, down, size[1], resample, beside)
            return np.asarray(pixels[:, place])
        canvas = np.empty((down.length, rows.shape[1], 3), np.uint8)
        canvas[:] = beside
        canvas[down.at : down.at + down.own] = rows
        box = (0, down.start, rows.shape[1], down.stop)
        small = Image.fromarray(canvas).resize((rows.shape[1], size[1]), resample, box=box)
        return np.asarray(np.asarray(small)[:, place])

    def _beside(self, across: Side, width: int, resample: Resampling) -> NDArray[np.uint8]:
        """Return what a row without the picture becomes, shape (width, 3)."""
        empty = Image.new("RGB", (across.length, 1), self.colour)
        return np.array(np.asarray(_wide(empty, across.start, across.stop, width, resample))[0])

    def _own_rows(self, across: Side, width: int, resample: Resampling) -> Image.Image:
        """Return the picture's rows alone, resized to a width."""
        size, at = (self.size[0], self.image.height), (self.at[0], 0)
        alone = Canvas(self.image, size, at, self.colour)
        return alone._rows(across.start, across.stop, width, resample)

    def _rows(self, left: float, right: float, width: int, resample: Resampling) -> Image.Image:
        """Return the canvas with its rows resized to a width."""
        if self.size == self.image.size:
            return _wide(self.image, left, right, width, resample)
        # Without holding the canvas in memory: a picture 30,000 pixels wide and 10 high would make
        # a square of 2.7 GB. Rows are independent of each other.
        (across, down), (x, y) = self.size, self.at
        rows = Image.new("RGB", (width, down), self.colour)
        step = max(1, _STRIP_PIXELS // across)
        for low in range(0, self.image.height, step):
            high = min(low + step, self.image.height)
            strip = Image.new("RGB", (across, high - low), self.colour)
            strip.paste(self.image.crop((0, low, self.image.width, high)), (x, 0))
            rows.paste(_wide(strip, left, right, width, resample), (0, y + low))
        return rows


@dataclass(frozen=True, eq=False)
class Reached:
    """The part of a square that a picture in its middle reaches, and where it goes when resized.

    Parameters
    ----------
    canvas : Canvas
        The part, with a box.
    size : (int, int)
        Width and height that it is resized to.
    at : (int, int)
        Where its left upper corner then lies on the resized square.
    """

    canvas: Canvas
    size: tuple[int, int]
    at: tuple[int, int]


def alone(image: Image.Image) -> Canvas:
    """Return a picture that is its own canvas."""
    return Canvas(image, image.size, (0, 0), (0, 0, 0))


def on_square(image: Image.Image, side: int, colour: Colour) -> Canvas:
    """Return a picture centred on a square."""
    at = ((side - image.width) // 2, (side - image.height) // 2)
    return Canvas(image, (side, side), at, colour)


def reached_on_square(image: Image.Image, size: tuple[int, int], colour: Colour) -> Reached:
    """Return what is left to resize of a picture's square where its borders stay as they are.

    Parameters
    ----------
    image : PIL image in mode RGB
    size : (int, int)
        Width and height that the square is resized to.
    colour : (int, int, int)
    """
    side = max(image.size)
    across, down = (_reached(own, side, out) for own, out in zip(image.size, size, strict=True))
    box = (
        across.start - across.low,
        down.start - down.low,
        across.stop - across.low,
        down.stop - down.low,
    )
    part = (across.high - across.low, down.high - down.low)
    place = (across.first - across.low, down.first - down.low)
    canvas = Canvas(image, part, place, colour, box)
    return Reached(canvas, (across.count, down.count), (across.at, down.at))


def _wide(
    image: Image.Image, left: float, right: float, width: int, resample: Resampling
) -> Image.Image:
    """Return an image with its rows, from ``left`` to ``right``, resized to a width."""
    return image.resize((width, image.height), resample, box=(left, 0, right, image.height))


def _first(place: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return where each number first stands, in the order of the numbers."""
    return np.unique(place, return_index=True)[1]


@dataclass(frozen=True)
class _Span:
    """Where a picture that is centred on a square's side reaches, in one direction.

    ``at`` and ``count`` are output pixels; ``start`` and ``stop`` are where those lie on the
    square, ``low`` and ``high`` the whole pixels around them, ``first`` the picture's first one.
    """

    at: int
    count: int
    start: float
    stop: float
    low: int
    high: int
    first: int


def _reached(own: int, side: int, out: int) -> _Span:
    """Return the span of a picture; no filter reaches further than three output pixels."""
    scale, first = side / out, (side - own) // 2
    at = max(0, math.floor(first / scale) - 3)
    end = min(out, math.ceil((first + own) / scale) + 3)
    start, stop = at * scale, min(end * scale, side)
    return _Span(at, end - at, start, stop, math.floor(start), math.ceil(stop), first)
