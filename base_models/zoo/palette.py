"""The colours of the drawn pictures, by the word that a tag would use for them."""

from collections.abc import Callable

import numpy as np
from PIL import Image

RGB = tuple[int, int, int]

INK: RGB = (58, 44, 54)
PAPER: RGB = (255, 255, 255)

HAIR: dict[str, RGB] = {
    "black": (62, 58, 72),
    "brown": (134, 88, 60),
    "blonde": (244, 212, 122),
    "white": (240, 240, 246),
    "grey": (166, 168, 178),
    "blue": (96, 132, 220),
    "aqua": (126, 212, 214),
    "pink": (248, 166, 194),
    "red": (206, 70, 66),
    "green": (112, 180, 112),
    "purple": (158, 116, 200),
}
EYES: dict[str, RGB] = {
    "blue": (62, 120, 224),
    "red": (214, 48, 54),
    "green": (58, 164, 84),
    "brown": (128, 78, 44),
    "purple": (146, 78, 200),
    "yellow": (236, 190, 40),
}
CLOTH: dict[str, RGB] = {
    "white": (246, 246, 248),
    "black": (66, 62, 74),
    "red": (206, 62, 66),
    "blue": (84, 118, 196),
    "navy": (58, 70, 120),
    "green": (104, 158, 108),
    "yellow": (240, 202, 96),
    "pink": (246, 172, 188),
    "grey": (156, 158, 168),
    "brown": (148, 106, 76),
    "purple": (150, 112, 184),
}
SKIN: tuple[RGB, ...] = ((255, 230, 214), (250, 216, 192), (232, 186, 150), (186, 132, 98))
BACKDROP: dict[str, RGB] = {
    "white": (255, 255, 255),
    "grey": (190, 192, 198),
    "blue": (150, 192, 236),
    "yellow": (248, 228, 160),
    "pink": (250, 200, 214),
    "green": (184, 222, 178),
    "lavender": (212, 198, 236),
}

Tone = Callable[[RGB], RGB]


def coloured(colour: RGB) -> RGB:
    """Return the colour itself: the tone of a picture in full colour."""
    return colour


def greyscale(colour: RGB) -> RGB:
    """Return the grey of the same luma (ITU-R BT.601)."""
    luma = round(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2])
    return (luma, luma, luma)


def tinted(tint: RGB) -> Tone:
    """Return a tone that runs from a dark shade of ``tint`` to white."""

    def tone(colour: RGB) -> RGB:
        share = greyscale(colour)[0] / 255
        return mixed((tint[0] // 4, tint[1] // 4, tint[2] // 4), _lit(tint, share), share)

    return tone


def mixed(start: RGB, end: RGB, share: float) -> RGB:
    """Return the colour at ``share`` in [0, 1] of the way from ``start`` to ``end``."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(start, end, strict=True))
    return (red, green, blue)


def shaded(colour: RGB, amount: float = 0.14) -> RGB:
    """Return the colour moved towards a cool dark by ``amount`` in [0, 1]."""
    return mixed(colour, (40, 24, 60), amount)


def jittered(colour: RGB, rng: np.random.Generator, spread: float = 9.0) -> RGB:
    """Return the colour with normal noise of standard deviation ``spread`` on each channel."""
    red, green, blue = np.clip(np.add(colour, rng.normal(0, spread, 3)), 0, 255).astype(int)
    return (int(red), int(green), int(blue))


def graded(image: Image.Image, top: RGB, bottom: RGB, tone: Tone, *, reach: float = 1.0) -> None:
    """Fill a picture from ``top`` to ``bottom``, which is reached at ``reach`` of its height."""
    share = np.clip(np.linspace(0, 1 / reach, image.height), 0, 1)[:, None]
    column = np.array(tone(top)) * (1 - share) + np.array(tone(bottom)) * share
    pixels = column.astype(np.uint8)[:, None, :]
    image.paste(Image.fromarray(pixels).resize(image.size, Image.Resampling.NEAREST))


def _lit(tint: RGB, share: float) -> RGB:
    return mixed(tint, PAPER, share)
