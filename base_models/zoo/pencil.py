"""A pencil that draws in a doll's own coordinates, where the head is a circle of radius 1."""

from collections.abc import Sequence
from math import cos, pi, radians, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tagstack.base_models.zoo.palette import INK, RGB, Tone, jittered

Points = Sequence[tuple[float, float]]

_TURN = np.linspace(0, 2 * pi, 19)[:-1]
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


class Pencil:
    """Draws filled and outlined shapes, moved, scaled and turned to where the doll stands.

    Parameters
    ----------
    image : PIL.Image.Image
        RGB picture to draw on.
    centre : tuple of float
        Pixel position of the doll's origin, the middle of its head.
    unit : float
        Pixels of one head radius.
    tilt : float
        Rotation in degrees, clockwise.
    tone : callable
        Maps every colour, e.g. to grey.
    eye_tone : callable
        The same for the eyes, which stay coloured in a picture with a spot of colour.
    rng : numpy.random.Generator
        Source of the jitter of colours and, in a sketch, of lines.
    sketch : bool
        Whether shapes are only outlined, twice and unsteadily.
    body : float
        Height of everything below the chin, relative to a normal doll.
    """

    def __init__(
        self,
        image: Image.Image,
        *,
        centre: tuple[float, float],
        unit: float,
        tilt: float,
        tone: Tone,
        eye_tone: Tone,
        rng: np.random.Generator,
        sketch: bool,
        body: float = 1.0,
    ) -> None:
        self._draw = ImageDraw.Draw(image)
        angle = radians(tilt)
        self._turn = unit * np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
        self._centre = np.array(centre)
        self._tone = tone
        self._eye_tone = eye_tone
        self._rng = rng
        self._sketch = sketch
        self._body = body
        self._width = max(2, round(unit * 0.075))
        self._mixed: dict[RGB, RGB] = {}
        self.unit = unit

    def colour(self, colour: RGB) -> RGB:
        """Return this doll's version of a colour: jittered once, the same at every use."""
        if colour not in self._mixed:
            self._mixed[colour] = jittered(colour, self._rng)
        return self._mixed[colour]

    def polygon(
        self, points: Points | NDArray[np.float64], fill: RGB, *, line: bool = True
    ) -> None:
        """Fill a polygon and, if ``line``, go round its edge in ink."""
        placed = self._placed(points)
        if not self._sketch:
            self._draw.polygon(placed, fill=self._tone(fill))
        if line or self._sketch:
            self._edge(placed)

    def iris(self, x: float, y: float, rx: float, ry: float, fill: RGB) -> None:
        """Fill an ellipse in the tone of the eyes, even in a sketch."""
        placed = self._placed(_CIRCLE * (rx, ry) + (x, y))
        self._draw.polygon(placed, fill=self._eye_tone(fill))

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: RGB, *, line: bool = True
    ) -> None:
        """Fill an ellipse around (x, y) with half axes ``rx`` and ``ry``."""
        self.polygon(_CIRCLE * (rx, ry) + (x, y), fill, line=line)

    def stroke(self, points: Points, colour: RGB = INK, width: float = 0.08) -> None:
        """Draw a line ``width`` head radii wide."""
        pixels = max(1, round(width * self.unit))
        self._draw.line(self._placed(points), fill=self._tone(colour), width=pixels, joint="curve")

    def limb(self, points: Points, colour: RGB, width: float) -> None:
        """Draw an outlined band with round ends: an arm, a leg, a tail, a braid."""
        if not self._sketch:
            self._band(points, INK, width + 0.14)
            self._band(points, colour, width)
            return
        self._edge(self._placed([(x - width / 2, y) for x, y in points]), closed=False)
        self._edge(self._placed([(x + width / 2, y) for x, y in points]), closed=False)

    def _band(self, points: Points, colour: RGB, width: float) -> None:
        pixels = max(1, round(width * self.unit))
        placed = self._placed(points)
        fill = self._tone(colour)
        self._draw.line(placed, fill=fill, width=pixels, joint="curve")
        half = pixels / 2
        for x, y in (placed[:2], placed[-2:]):
            self._draw.ellipse((x - half, y - half, x + half, y + half), fill=fill)

    def _placed(self, points: Points | NDArray[np.float64]) -> list[float]:
        place = np.array(points, dtype=np.float64)
        if self._body != 1.0:
            low = place[:, 1] > 1
            place[low, 1] = 1 + (place[low, 1] - 1) * self._body
        placed = place @ self._turn + self._centre
        flat: list[float] = placed.ravel().tolist()
        return flat

    def _edge(self, placed: list[float], *, closed: bool = True) -> None:
        ring = placed + placed[:2] if closed else placed
        ink = self._tone(INK)
        if not self._sketch:
            self._draw.line(ring, fill=ink, width=self._width)
            return
        for _ in range(2):
            shaken = np.add(ring, self._rng.normal(0, self.unit * 0.035, len(ring)))
            self._draw.line(shaken.tolist(), fill=ink, width=max(1, self._width // 2))
