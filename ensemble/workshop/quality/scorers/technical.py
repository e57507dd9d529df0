"""Scores of how a picture is made, by formulas without a model: blur, noise, light, colour, blocks.

They are cheap and say nothing about taste. A drawing on white is clipped and hardly exposed in the
middle by these measures, and may be excellent: look at what yours get before you tag by them.
All but `RESOLUTION` are of the pixels as they are; a picture that was enlarged is blurred.

References
----------
Crete, Dolmiere, Ladret & Nicolas (2007), "The blur effect: perception and estimation with a new
no-reference perceptual blur metric". Immerkaer (1996), "Fast noise variance estimation". Hasler &
Suesstrunk (2003), "Measuring colourfulness in natural images".
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from tagstack.ensemble.workshop.quality.scorers.scorer import Pixels, Scorer

Floats = NDArray[np.float64]

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_STRIP_PIXELS = 2_000_000  # worked on at a time: memory beside the picture is bounded
_REACH = 9  # taps of the low pass that blur is measured by
_DARK, _BRIGHT = 5, 250
_BLOCK = 8  # pixels: a side of JPEG's blocks


def _grey(pixels: Pixels) -> Floats:
    return np.asarray(pixels @ _LUMA, np.float64)


def _n_pixels(pixels: Pixels) -> int:
    return int(pixels.shape[0] * pixels.shape[1])


def _strips(pixels: Pixels, overlap: int = 0) -> Iterator[tuple[Floats, slice]]:
    """Yield grey rows with up to ``overlap`` more on both sides, and where the own rows lie."""
    height, width = pixels.shape[:2]
    step = max(1, _STRIP_PIXELS // width)
    for start in range(0, height, step):
        stop = min(height, start + step)
        first, last = max(0, start - overlap), min(height, stop + overlap)
        yield _grey(pixels[first:last]), slice(start - first, stop - first)


def blur(pixels: Pixels) -> float:
    """Return how little a low pass changes between neighbours, in [0, 1]; NaN without an edge."""
    sharp, kept = np.zeros(2), np.zeros(2)
    for grey, own in _strips(pixels, _REACH):
        for axis in (0, 1):
            smooth = uniform_filter1d(grey, _REACH, axis=axis, mode="nearest")
            steps, left = (_steps(values, axis, own) for values in (grey, smooth))
            sharp[axis] += steps.sum()
            kept[axis] += np.maximum(steps - left, 0).sum()
    some = sharp > 0
    return float((1 - kept[some] / sharp[some]).max()) if some.any() else float("nan")


def _steps(values: Floats, axis: int, own: slice) -> Floats:
    """Return differences between neighbours along an axis, of the own rows."""
    if axis == 1:
        return np.abs(np.diff(values[own], axis=1))
    # A step belongs to the strip of its lower row: the first row of a picture has none above.
    return np.abs(np.diff(values[max(0, own.start - 1) : own.stop], axis=0))


def noise(pixels: Pixels) -> float:
    """Return the standard deviation of noise, in levels of 0 to 255; NaN under 3 pixels a side."""
    height, width = pixels.shape[:2]
    if min(height, width) < 3:
        return float("nan")
    total = 0.0
    for grey, own in _strips(pixels, 1):
        inner = grey[max(0, own.start - 1) : own.stop + 1]
        across = inner[:, :-2] - 2 * inner[:, 1:-1] + inner[:, 2:]
        total += np.abs(across[:-2] - 2 * across[1:-1] + across[2:]).sum()
    return float(np.sqrt(np.pi / 2) * total / (6 * (height - 2) * (width - 2)))


def exposure(pixels: Pixels) -> float:
    """Return how far the mean brightness is from the middle: 0 none, 1 all black or all white."""
    total = sum(float(grey.sum()) for grey, _ in _strips(pixels))
    return abs(total / _n_pixels(pixels) / 255 - 0.5) * 2


def clipping(pixels: Pixels) -> float:
    """Return the share of pixels that are nearly black or nearly white, in [0, 1]."""
    n = sum(int(((g <= _DARK) | (g >= _BRIGHT)).sum()) for g, _ in _strips(pixels))
    return n / _n_pixels(pixels)


def contrast(pixels: Pixels) -> float:
    """Return the standard deviation of brightness over the largest there is, in [0, 1]."""
    return float(np.sqrt(_moments(grey for grey, _ in _strips(pixels))[1]) / 127.5)


def colourfulness(pixels: Pixels) -> float:
    """Return how colourful a picture is: 0 grey, about 15 slightly, 60 quite, 100 extremely."""
    rows = max(1, _STRIP_PIXELS // pixels.shape[1])
    parts = [pixels[i : i + rows].astype(np.int32) for i in range(0, pixels.shape[0], rows)]
    red_green = _moments(p[..., 0] - p[..., 1] for p in parts)
    yellow_blue = _moments((p[..., 0] + p[..., 1]) / 2 - p[..., 2] for p in parts)
    spread = np.sqrt(red_green[1] + yellow_blue[1])
    return float(spread + 0.3 * np.hypot(red_green[0], yellow_blue[0]))


def _moments(parts: "Iterator[Floats] | Iterator[NDArray[np.int32]]") -> tuple[float, float]:
    """Return mean and variance of values that come in parts."""
    n, total, squares = 0, 0.0, 0.0
    for part in parts:
        n += part.size
        total += float(part.sum())
        squares += float((part.astype(np.float64) ** 2).sum())
    return total / n, max(0.0, squares / n - (total / n) ** 2)


def compression(pixels: Pixels) -> float:
    """Return how much one line in eight stands out, as where blocks meet, in [0, 1).

    The grid is looked for, so that a cropped or turned JPEG still shows it. Medians over lines
    keep single edges out. NaN under 32 pixels a side, and where nothing varies.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < 4 * _BLOCK:
        return float("nan")
    down, across = [np.zeros(0)], np.zeros(width - 1)
    for grey, own in _strips(pixels, 1):
        down.append(_steps(grey, 0, own).mean(axis=1))
        across += _steps(grey, 1, own).sum(axis=0)
    found = [_blocks(line) for line in (np.concatenate(down), across / height)]
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _blocks(line: Floats) -> float:
    """Return by how much the strongest of the eight phases exceeds the others, over both."""
    if not line.any():
        return float("nan")
    phases = np.array([np.median(line[phase::_BLOCK]) for phase in range(_BLOCK)])
    top = phases.argmax()
    rest = float(np.mean(np.delete(phases, top)))
    both = float(phases[top]) + rest
    return (float(phases[top]) - rest) / both if both else 0.0


def resolution(pixels: Pixels) -> float:
    """Return the number of pixels in millions."""
    return _n_pixels(pixels) / 1e6


BLUR = Scorer(
    name="blur",
    title="Blur",
    meaning="0 sharp to 1 blurred (Crete)",
    function=blur,
    lower_is_better=True,
)
NOISE = Scorer(
    name="noise",
    title="Noise",
    meaning="standard deviation of noise in levels of 0 to 255 (Immerkaer)",
    function=noise,
    lower_is_better=True,
)
EXPOSURE = Scorer(
    name="exposure",
    title="Exposure",
    meaning="mean brightness: 0 in the middle to 1 all black or all white",
    function=exposure,
    lower_is_better=True,
)
CLIPPING = Scorer(
    name="clipping",
    title="Clipping",
    meaning="share of pixels that are nearly black or white",
    function=clipping,
    lower_is_better=True,
)
CONTRAST = Scorer(
    name="contrast",
    title="Contrast",
    meaning="spread of brightness, 0 flat to 1 black and white",
    function=contrast,
)
COLOURFULNESS = Scorer(
    name="colourfulness",
    title="Colourfulness",
    meaning="0 grey to over 100 (Hasler)",
    function=colourfulness,
)
COMPRESSION = Scorer(
    name="compression",
    title="Compression",
    meaning="how far JPEG's blocks stand out, 0 to 1",
    function=compression,
    lower_is_better=True,
)
RESOLUTION = Scorer(
    name="resolution",
    title="Resolution",
    meaning="millions of pixels",
    function=resolution,
)
