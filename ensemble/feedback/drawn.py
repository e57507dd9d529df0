"""What was answered of a collection's pairs: facts, and draws with known probabilities."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.ensemble.feedback.decision import Decision, Standing

SCOPED = ":tag"
"""How an order ends whose cards were about one tag alone."""

Ints = NDArray[np.int64]


def drawn_as(order: str) -> tuple[str, bool]:
    """Return an order by its plain name, and whether one tag alone was asked about."""
    return order.removesuffix(SCOPED), order.endswith(SCOPED)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Cards that a queue chose, in the order of their answers.

    Parameters
    ----------
    image : tuple of str
        Name of each picture.
    tag : array of shape (n_draws,), object
    propensity : array of shape (n_draws,), float64, in (0, 1]
    scoped : array of shape (n_draws,), bool
        Whether no other tag could have been drawn.
    """

    image: tuple[str, ...]
    tag: NDArray[np.object_]
    propensity: NDArray[np.float64]
    scoped: NDArray[np.bool_]

    @classmethod
    def of(cls, log: Iterable[tuple[int, float, str, Decision, bool]], bundle: str) -> "Draws":
        """Return the draws among a store's answers; skipped and taken back ones were drawn too.

        Those of the frozen slice, which judges, and those that another bundle chose are left out.

        Parameters
        ----------
        log : iterable
            As `DecisionStore.log` yields it.
        bundle : str
            SHA-256 of the bundle's manifest.
        """
        kept = [
            decision
            for _, _, _, decision, _ in log
            if decision.shown.propensity is not None
            and not decision.shown.judging
            and decision.shown.bundle == bundle
        ]
        return cls(
            image=tuple(decision.image for decision in kept),
            tag=np.array([decision.tag for decision in kept], object),
            propensity=np.array([decision.shown.propensity for decision in kept], np.float64),
            scoped=np.array([drawn_as(decision.shown.order)[1] for decision in kept], bool),
        )

    def of_tag(self, tag: str) -> tuple[Ints, Ints]:
        """Return the draws that took a tag, and how many before each could have, shape (n_own,)."""
        own = self.tag == tag
        could = np.cumsum(~self.scoped | own) - 1
        rows = np.flatnonzero(own)
        return rows, could[rows]


def answers_of(standing: Iterable[Standing], *, judging: bool) -> dict[tuple[str, str], bool]:
    """Return what holds of image and tag, of the frozen slice or of all else."""
    return {
        (item.image, item.tag): item.answer == "yes"
        for item in standing
        if item.answer != "skip" and item.judging == judging
    }
