"""What a strategy answers: a threshold for every tag, and which rest on its own images."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.ensemble.thresholds.curves import Bools, Floats


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Candidates of one strategy; cross-validation picks one.

    Parameters
    ----------
    logits : array of shape (n_candidates, n_tags), float64
        Thresholds on the logit scale, where a step means the same at every rarity.
    own : array of shape (n_tags,), bool
        Whether a threshold rests on the tag's own images, not on its category's.
    """

    logits: Floats
    own: Bools

    @classmethod
    def of(cls, logits: Floats, *, own: Bools) -> Self:
        """Return one candidate as a proposal."""
        return cls(logits=logits[None, :], own=own)


def thresholds_from_logits(logits: Floats, floor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return thresholds in (0, 1), each above its tag's floor."""
    above = np.nextafter(floor, np.float32(2))
    return np.asarray(np.maximum(expit(logits).astype(np.float32), above))
