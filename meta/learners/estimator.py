"""What the built-in learners share: scikit-learn's conventions, as far as they mean something here.

Kept: parameters are stored as given and checked in `fit` or by the settings; `get_params`,
`set_params`, `clone`; `fit` returns the learner, changes neither its arguments nor its parameters
and starts anew when called again; what is fitted ends in an underscore; asking before fitting is
an error. Not kept: X is no plain array but a `PairTable`, since rows of one image belong together
and the shrunken logistic's logit comes along; so `check_estimator` itself cannot be run.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.configs.errors import TagstackError
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.learners.parameters import Parameters


class PairEstimator(Parameters, ABC):
    """A learner on candidate pairs that names its logits; probabilities follow from them."""

    @property
    def classes_(self) -> NDArray[np.bool_]:
        """The two classes, in the order of `predict_proba`'s columns. Shape (2,)."""
        return np.array([False, True])

    @abstractmethod
    def fit(
        self,
        table: PairTable,
        true: NDArray[np.bool_],
        weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit on candidate pairs and their labels; see the protocol."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write the fitted learner into ``directory`` without pickle."""

    @abstractmethod
    def restore(self, directory: Path) -> Self:
        """Read back what `save` wrote."""

    @abstractmethod
    def predict_logit(self, table: PairTable) -> NDArray[np.float64]:
        """Return the logit of each pair, shape (n_pairs,), float64."""

    def predict_proba(self, table: PairTable) -> NDArray[np.float64]:
        """Return the probabilities of false and true, shape (n_pairs, 2), float64.

        Raises
        ------
        TagstackError
            If the learner is not fitted.
        """
        proba = expit(self.predict_logit(table))
        return np.stack([1 - proba, proba], axis=1)

    def check_fitted(self) -> None:
        """Refuse to predict with a learner that has seen nothing.

        Raises
        ------
        TagstackError
            Names the learner.
        """
        if not any(name.endswith("_") and not name.startswith("_") for name in vars(self)):
            msg = f"This {type(self).__name__} is not fitted. Call fit, or restore a saved one."
            raise TagstackError(msg)
