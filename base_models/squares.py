"""A picture centred on a square of one colour, and that square resized, without making it."""

import math
from dataclasses import dataclass

from PIL import Image
from PIL.Image import Resampling

from tagstack.base_models.contract import Colour

_STRIP_PIXELS = 4_000_000


def resized_square(
    image: Image.Image, size: tuple[int, int], side: int, pad: Colour, resample: Resampling
) -> Image.Image:
    """Centre the image on a square and resize that, without holding the square in memory.

    A picture 30,000 pixels wide and 10 high would make a square of 2.7 GB. Pillow resizes rows
    first and columns second, rounding to 8 bits in between, so doing the rows in strips gives
    the same bytes.
    """
    width = size[0]
    left, top = (side - image.width) // 2, (side - image.height) // 2
    rows = Image.new("RGB", (width, side), pad)
    strip_height = max(1, _STRIP_PIXELS // side)
    for y in range(0, image.height, strip_height):
        part = image.crop((0, y, image.width, min(y + strip_height, image.height)))
        strip = Image.new("RGB", (side, part.height), pad)
        strip.paste(part, (left, 0))
        rows.paste(strip.resize((width, part.height), resample), (0, top + y))
    return rows.resize(size, resample)


def resized_inside_square(
    image: Image.Image, size: tuple[int, int], pad: Colour, resample: Resampling
) -> Image.Image:
    """Do as `resized_square`, but resize only where the picture reaches."""
    side = max(image.size)
    across = _reached(image.width, side, size[0])
    down = _reached(image.height, side, size[1])
    part = Image.new("RGB", (across.high - across.low, down.high - down.low), pad)
    part.paste(image, (across.first - across.low, down.first - down.low))
    box = (
        across.start - across.low,
        down.start - down.low,
        across.stop - across.low,
        down.stop - down.low,
    )
    reached = (across.count, down.count)
    canvas = Image.new("RGB", size, pad)
    canvas.paste(part.resize(reached, resample, box=box), (across.at, down.at))
    return canvas


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
