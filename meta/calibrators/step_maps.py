"""Maps given by points: what isotonic regression and Venn-Abers predictors come to.

Between points a map is linear, beyond the ends it goes on as it ended. A slight slope is added
everywhere: a plateau would erase the ranking of the pairs on it, and average precision with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.calibrators.protocol import Floats, Tags

_SLOPE = 1e-3  # of a logit of 10 that is 0.01: far below what any calibration can know
_SPAN = 256.0  # sets the points of different maps apart on one axis
_LIMIT = 100.0  # logits beyond are clipped before a look-up, never on the way out


@dataclass(frozen=True, kw_only=True)
class StepMaps:
    """Points of several maps, one after the other.

    Parameters
    ----------
    kind : {"isotonic", "venn_abers"}
    map_of_tag : array of shape (n_tags,), int64
        Which map serves a tag.
    start : array of shape (n_maps + 1,), int64
        The points of map ``i`` are ``start[i]:start[i + 1]``, one or more.
    at, value : arrays of shape (n_points,), float64
        Logits, ascending within a map, and what they become, not falling.
    """

    kind: str
    map_of_tag: NDArray[np.int64]
    start: NDArray[np.int64]
    at: Floats
    value: Floats

    def apply(self, tag: Tags, logit: NDArray[np.floating]) -> Floats:
        """Return the calibrated logits of (tag, logit) rows; NaN stays NaN.

        Of the shape of ``logit``.
        """
        at = np.asarray(logit, np.float64)
        return self.look_up(self.map_of_tag[tag], at) + _SLOPE * at

    def look_up(self, number: NDArray[np.int64], logit: Floats) -> Floats:
        """Return the maps' own values, without the added slope. Of the shape of ``logit``."""
        which = np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))
        keys = which * _SPAN + np.clip(self.at, -_LIMIT, _LIMIT)
        wanted = number * _SPAN + np.clip(np.nan_to_num(logit), -_LIMIT, _LIMIT)
        first, last = self.start[number], self.start[number + 1] - 1
        right = np.clip(np.searchsorted(keys, wanted), first, last)
        left = np.maximum(right - 1, first)
        width = self.at[right] - self.at[left]
        share = np.clip((logit - self.at[left]) / np.where(width > 0, width, 1.0), 0.0, 1.0)
        share = np.where((width > 0) | np.isnan(logit), share, 1.0)
        return self.value[left] + share * (self.value[right] - self.value[left])

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the points and who uses them. Shapes are those of the class."""
        return {
            "map_of_tag": self.map_of_tag,
            "start": self.start,
            "at": self.at,
            "value": self.value,
        }
