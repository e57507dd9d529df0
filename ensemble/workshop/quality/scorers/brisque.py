"""BRISQUE: how distorted a picture looks, 0 (not at all) to about 100, by the published model.

36 features of locally normalised grey values on two scales, and a support vector regression that
was fitted on photographs: for drawings it is a technical measure alone. ``brisque.npz`` holds the
numbers of the package brisque 0.2.0 in another form (``brisque.txt`` has its notice).

The score is that package's to the last digits, also on flat areas, where it takes care: there the
normalised values are what rounding left, some 1e-14 to either side of zero, and the fit counts
how many lie on each. One bit more or less in a grey value moves the score of a drawing by up to
about 2. So every sum here runs in the order in which it does there, on any machine.

References
----------
Mittal, Moorthy & Bovik (2012), "No-reference image quality assessment in the spatial domain".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import root
from scipy.signal import convolve2d
from scipy.special import gamma

from tagstack.ensemble.workshop.quality.scorers.scorer import Pixels, Scorer

Floats = NDArray[np.float64]

_GREY = (0.2125, 0.7154, 0.0721)  # of scikit-image
_RADIUS, _SIGMA = 3, 7 / 6
_CUBIC = (-0.09375, 0.59375, 0.59375, -0.09375)  # a = -0.75, halfway between two pixels
_LEAST_SIDE = 16  # pixels; of less there are no statistics
_STRIP_PIXELS = 500_000  # worked on at a time


def brisque(pixels: Pixels) -> float:
    """Return a picture's score, lower being better; NaN where nothing varies, and for tiny ones."""
    if min(pixels.shape[:2]) < _LEAST_SIDE:
        return float("nan")
    found = features(pixels)
    if not np.isfinite(found).all():
        return float("nan")
    model = _model()
    scaled = 2 * (found - model["low"]) / (model["high"] - model["low"]) - 1
    distance = ((model["vectors"] - scaled) ** 2).sum(axis=1)
    return float(np.exp(-model["gamma"] * distance) @ model["coefficients"] - model["rho"])


def features(pixels: Pixels) -> Floats:
    """Return the 36 features, 18 of each scale; NaN where one is not defined. Shape (36,)."""
    grey = _grey(pixels)
    return np.array([*_of_scale(grey), *_of_scale(_halved(grey))])


def _grey(pixels: Pixels) -> Floats:
    """Return grey values in [0, 1], rounded as by fused multiplication and addition.

    A product of doubles is exact enough in extended precision, so that one rounding is left for
    each addition, wherever this runs.
    """
    grey = np.empty(pixels.shape[:2])
    step = max(1, _STRIP_PIXELS // pixels.shape[1])
    red, green, blue = map(np.longdouble, _GREY)
    for start in range(0, len(grey), step):
        strip = (pixels[start : start + step] * (1 / 255)).astype(np.longdouble)
        part = (strip[..., 1] * green).astype(np.float64)
        part = (strip[..., 0] * red + part).astype(np.float64)
        grey[start : start + step] = strip[..., 2] * blue + part
    return grey


def _of_scale(grey: Floats) -> list[float]:
    sums = [_Sums() for _ in range(5)]
    for own, below in _normalised(grey):
        sums[0].add(own)
        sums[1].add(own[:, :-1] * own[:, 1:])
        both = np.vstack([own, below])
        sums[2].add(both[:-1] * both[1:])
        sums[3].add(both[:-1, :-1] * both[1:, 1:])
        sums[4].add(both[1:, :-1] * both[:-1, 1:])
    shape, _, left, right = sums[0].fitted()
    return [shape, (left + right) / 2, *(value for pair in sums[1:] for value in pair.fitted())]


def _normalised(grey: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Yield grey values less their local mean over their local deviation, and the row below."""
    y, x = np.indices((2 * _RADIUS + 1,) * 2) - _RADIUS
    kernel = 1 / (2 * np.pi * _SIGMA**2) * np.exp(-(x**2 + y**2) / (2 * _SIGMA**2))
    kernel /= np.sum(kernel)
    height, width = grey.shape
    step = max(1, _STRIP_PIXELS // width)
    for start in range(0, height, step):
        stop = min(height, start + step)
        first, last = max(0, start - _RADIUS), min(height, stop + 1 + _RADIUS)
        part = grey[first:last]
        mean = convolve2d(part, kernel, "same")
        deviation = np.sqrt(np.abs(mean**2 - convolve2d(part**2, kernel, "same")))
        values = (part - mean) / (deviation + 1 / 255)
        yield values[start - first : stop - first], values[stop - first : stop - first + 1]


@dataclass
class _Sums:
    """Sums over values that come in parts, and the asymmetric generalised Gaussian of them."""

    n: int = 0
    n_left: int = 0
    left: float = 0.0
    right: float = 0.0
    absolute: float = 0.0

    def add(self, values: Floats) -> None:
        """Take more values in."""
        negative = values[values < 0]
        self.n += values.size
        self.n_left += negative.size
        self.left += float((negative**2).sum())
        self.right += float((values[values >= 0] ** 2).sum())
        self.absolute += float(np.abs(values).sum())

    def fitted(self) -> tuple[float, float, float, float]:
        """Return shape, mean and both variances; NaN where a side is empty."""
        if not (self.n_left and self.right):
            return (float("nan"),) * 4
        below, above = self.left / self.n_left, self.right / (self.n - self.n_left)
        ratio = np.sqrt(below) / np.sqrt(above)
        wanted = (self.absolute / self.n) ** 2 / ((self.left + self.right) / self.n)
        wanted *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
        with np.errstate(all="ignore"):
            a = _shape(float(wanted))
            scale = np.sqrt(gamma(1 / a) / gamma(3 / a)) * gamma(2 / a) / gamma(1 / a)
        return a, float((np.sqrt(above) - np.sqrt(below)) * scale), below, above


def _shape(wanted: float) -> float:
    """Return the shape whose ratio of moments is the wanted one.

    Searched from 0.2 on, as in the package: where that ends elsewhere, so must this.
    """

    def excess(z: Floats) -> Floats:
        return np.asarray(gamma(2 / z) ** 2 / (gamma(1 / z) * gamma(3 / z)) - wanted)

    return float(root(excess, [0.2]).x[0])


def _halved(grey: Floats) -> Floats:
    """Return the picture at half its size, as OpenCV's bicubic resize by one half gives it."""
    for axis in (1, 0):
        n = grey.shape[axis]
        first = 2 * np.arange(round(n / 2)) - 1
        total = np.zeros(())
        for i, weight in enumerate(_CUBIC):  # from the left, each product rounded
            total = total + np.take(grey, (first + i).clip(0, n - 1), axis=axis) * weight
        grey = total
    return grey


@cache
def _model() -> dict[str, Floats]:
    file = resources.files(__package__).joinpath("brisque.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


BRISQUE = Scorer(
    name="brisque",
    title="BRISQUE",
    meaning="distortion as of photographs, 0 to about 100 (Mittal)",
    function=brisque,
    lower_is_better=True,
)
