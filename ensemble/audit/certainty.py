"""How sure an audit wants to be."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.settings import Settings
from tagstack.meta.metrics.bootstrap import Weightings


@dataclass(frozen=True, kw_only=True)
class Certainty:
    """How differences are judged.

    Parameters
    ----------
    resamples, seed : int
    confidence : float, in (0.5, 1)
        Of each interval alone.
    false_discovery_rate : float, in (0, 1)
        Over all looks of one kind.
    """

    resamples: int
    seed: int
    confidence: float
    false_discovery_rate: float

    @classmethod
    def of(cls, settings: Settings) -> "Certainty":
        """Return what the settings of comparisons say."""
        own = settings.compare
        return cls(
            resamples=own.resamples,
            seed=settings.seed,
            confidence=own.confidence,
            false_discovery_rate=own.false_discovery_rate,
        )

    def weightings(self, groups: NDArray[np.integer]) -> Weightings:
        """Return the resamples of some images' groups, to be drawn once for all looks at them."""
        return Weightings(groups, resamples=self.resamples, seed=self.seed)
