"""What a level-2 or level-3 learner on candidate pairs must offer.

To add one to the package: write a file with such a class under `PairEstimator`, give it a
settings section and a line in `tagstack.meta.learners.registry`, and let its tests inherit the
contract in tests/meta/learners/test_learners.py. To add one from outside, see that registry's
docstring.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.features.pair_table import PairTable


class PairLearner(Protocol):
    """A learner that turns the features of candidate pairs into logits."""

    def fit(
        self,
        table: PairTable,
        true: NDArray[np.bool_],
        weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit on the pairs of ``table`` and their labels of shape (n_pairs,).

        ``weight`` of shape (n_pairs,) says how much each pair counts, 1 when not given. A pair of
        weight 0 is of an unknown label: it must not sway the fit, except as its image's context.
        """
        ...

    def predict_logit(self, table: PairTable) -> NDArray[np.float64]:
        """Return the logit of each pair, shape (n_pairs,); unaware of the other images."""
        ...

    def save(self, directory: Path) -> None:
        """Write the fitted learner into ``directory`` without pickle."""
        ...

    def restore(self, directory: Path) -> Self:
        """Read back what `save` wrote; predictions are the same bit for bit."""
        ...


class StagedLearner(PairLearner, Protocol):
    """A learner made of rounds, each of which corrects those before."""

    def stopped_at(self, rounds: int) -> Self:
        """Return a copy as it was after the first ``rounds`` of its rounds, at least one."""
        ...


@runtime_checkable
class StageTeller(Protocol):
    """A staged learner that says what it would after several numbers of rounds in one go.

    Without it a learner is stopped at each number and asked anew, rounds over and over again.
    """

    def stage_logits(
        self, table: PairTable, stages: Sequence[int]
    ) -> Iterator[NDArray[np.float64]]:
        """Yield the logits of the pairs after each number of rounds; the numbers rise.

        Each of shape (n_pairs,), as `predict_logit` of the learner stopped there but for rounding.
        """
        ...
