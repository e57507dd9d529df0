"""The weights with which Pillow resizes, read off Pillow itself.

Pillow turns a filter into whole numbers, a weight times 2^22. They are not computed here a second
time, where another sine or another order of operations could round one of them differently: an
image of 32-bit integers with 2^22 at single places, resized, shows exactly these numbers.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

Ints = NDArray[np.int64] | NDArray[np.int32]
Pixels = NDArray[np.uint32]
Levels = NDArray[np.uint8]

ONE = 1 << 22
# How far each filter reaches to both sides, in pixels of the larger of both images.
SUPPORT = {
    Resampling.BOX: 0.5,
    Resampling.BILINEAR: 1.0,
    Resampling.HAMMING: 1.0,
    Resampling.BICUBIC: 2.0,
    Resampling.LANCZOS: 3.0,
}
_PROBED = 4_000_000  # whole numbers that are looked at together: bounds memory, changes nothing
_KEPT = 64  # sets of weights, of 40 kB each at a reduction from 2000 to 448 pixels


@dataclass(frozen=True)
class Side:
    """One side of a canvas: how much of it is resized, and where on it a picture lies.

    Parameters
    ----------
    length : int
        Pixels of the canvas.
    start, stop : float
        What is resized of it.
    at, own : int
        The picture's first pixel, and how many it has.
    """

    length: int
    start: float
    stop: float
    at: int
    own: int


@dataclass(frozen=True, eq=False)
class Weights:
    """What each output pixel of one side is made of.

    Parameters
    ----------
    first, count : array of shape (n_out,), int64
        The picture's pixels that take part.
    weight : array of shape (n_out, most), int32
        Their weights times 2^22; zero behind the last.
    beside : array of shape (n_out,), int64
        The weight, times 2^22, of what lies beside the picture.
    """

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    weight: NDArray[np.int32]
    beside: NDArray[np.int64]

    def start(self, colour: tuple[int, ...]) -> NDArray[np.int32]:
        """Return what the sums of every channel begin with, the fourth channel being unused.

        Parameters
        ----------
        colour : (int, int, int)
            What lies beside the picture.

        Returns
        -------
        array of shape (n_out, 4), int32
        """
        start: NDArray[np.int64] = ONE // 2 + self.beside[:, None] * np.array(
            (*colour, 0), np.int64
        )
        return start.astype(np.int32)


def reach(side: Side, out: int, resample: Resampling) -> int:
    """Return how many pixels an output pixel is made of at most."""
    return 2 * math.ceil(_support(side, out, resample)) + 1


@lru_cache(maxsize=_KEPT)
def side_weights(side: Side, out: int, resample: Resampling) -> Weights:
    """Return the weights with which Pillow resizes a side to ``out`` pixels."""
    # One pixel more on both sides, so that it does not matter how Pillow rounds where it begins.
    n_taps = reach(side, out, resample) + 2
    start = float(np.float32(side.start))
    centre = start + (np.arange(out) + 0.5) * _scale(side, out)
    first = np.floor(centre - _support(side, out, resample) + 0.5).astype(np.int64) - 1
    at = first[:, None] + np.arange(n_taps)
    shown = _shown(side, out, resample, n_taps)[at % n_taps, np.arange(out)[:, None]]
    weight = np.where((at >= 0) & (at < side.length), shown, 0)
    inside = (at >= side.at) & (at < side.at + side.own)
    beside = np.where(inside, 0, weight).sum(1, dtype=np.int64)
    return _trimmed(first - side.at, np.where(inside, weight, 0), beside)


def _scale(side: Side, out: int) -> float:
    return float(np.float32(side.stop) - np.float32(side.start)) / out


def _support(side: Side, out: int, resample: Resampling) -> float:
    return SUPPORT[resample] * max(1.0, _scale(side, out))


def _shown(side: Side, out: int, resample: Resampling, n_taps: int) -> NDArray[np.int32]:
    """Return a table of shape (n_taps, out): in row r, the weight of the pixel r modulo n_taps."""
    shown = np.empty((n_taps, out), np.int32)
    step = max(1, _PROBED // side.length)
    place = np.arange(side.length)
    for low in range(0, n_taps, step):
        high = min(low + step, n_taps)
        probe = np.zeros((high - low, side.length), np.int32)
        row = place % n_taps - low
        here = (row >= 0) & (row < high - low)
        probe[row[here], place[here]] = ONE
        box = (side.start, 0, side.stop, high - low)
        small = Image.fromarray(probe).resize((out, high - low), resample, box=box)
        shown[low:high] = np.asarray(small)
    return shown


def _trimmed(
    first: NDArray[np.int64], weight: NDArray[np.int32], beside: NDArray[np.int64]
) -> Weights:
    """Leave out weights of zero before the first and behind the last that counts."""
    used = weight != 0
    n_taps = weight.shape[1]
    lead = used.argmax(1)
    count = np.where(used.any(1), n_taps - used[:, ::-1].argmax(1) - lead, 0)
    taken = np.minimum(lead[:, None] + np.arange(max(1, int(count.max()))), n_taps - 1)
    moved = np.take_along_axis(weight, taken, axis=1).astype(np.int32)
    return Weights(np.where(count > 0, first + lead, 0), count, moved, beside)
