"""How far a scoring run is, and what it did."""

from collections.abc import Mapping
from dataclasses import dataclass

from tagstack.base_models.sources import ImageFailure


@dataclass(frozen=True, kw_only=True)
class ScoreProgress:
    """How far a run is.

    Parameters
    ----------
    n_images, n_scored, n_skipped, n_failed : int
    seconds : float
        Since the start.
    stage_rates : mapping of str to float
        Images a second that each stage can do by itself with the threads it has: ``read``,
        ``decode``, ``frame``, ``infer NAME`` for each member, ``store``. The lowest one is what
        the run waits for; stages that have done nothing yet are left out.
    """

    n_images: int
    n_scored: int
    n_skipped: int
    n_failed: int
    seconds: float
    stage_rates: Mapping[str, float]

    @property
    def n_done(self) -> int:
        """Images that are through, one way or another."""
        return self.n_scored + self.n_skipped + self.n_failed

    @property
    def images_per_s(self) -> float:
        """Images through a second."""
        return self.n_done / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """What a run did.

    Parameters
    ----------
    n_scored : int
        Images that a model ran on.
    n_skipped : int
        Images whose content had been scored already, in this run or before.
    n_failed : int
        Images without scores.
    failures : tuple of ImageFailure
        Each failed image or folder, and why.
    seconds : float
        Wall clock of the run.
    stage_seconds : mapping of str to float
        ``read``, ``decode`` and ``frame`` summed over threads; ``infer NAME`` for each member and
        ``store`` in wall clock.
    stage_rates : mapping of str to float
        As in `ScoreProgress`.
    """

    n_scored: int
    n_skipped: int
    n_failed: int
    failures: tuple[ImageFailure, ...]
    seconds: float
    stage_seconds: Mapping[str, float]
    stage_rates: Mapping[str, float]
