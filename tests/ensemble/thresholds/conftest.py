"""Fixtures of the thresholds' tests: calibrated scores with labels drawn from them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.settings import load_settings
from tagstack.ensemble.thresholds.curves import Sorted
from tagstack.ensemble.thresholds.cuts import CutSample

BASE = np.float32(0.01)


@dataclass(frozen=True)
class Drawn:
    """Dense probabilities, 0.01 where not listed, with labels; and both as the code has them."""

    dense: NDArray[np.float32]
    labels: NDArray[np.bool_]

    @property
    def proba(self) -> PairProba:
        listed = self.dense != BASE
        indptr = np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64)
        tag = np.nonzero(listed)[1].astype(np.int32)
        pairs = Pairs(indptr=indptr, tag=tag, n_tags=self.dense.shape[1])
        base = np.full(self.dense.shape[1], BASE, np.float32)
        return PairProba(pairs=pairs, proba=self.dense[listed], base=base)

    @property
    def matrix(self) -> sparse.csr_array:
        return sparse.csr_array(self.labels)

    @property
    def vocabulary(self) -> Vocabulary:
        n_tags = self.dense.shape[1]
        names = tuple("ab"[i % 2] for i in range(n_tags))
        return Vocabulary(tuple(f"t{i}" for i in range(n_tags)), names)

    @property
    def sample(self) -> CutSample:
        curves = Sorted.from_pairs(self.proba, self.matrix).select(np.ones(len(self.dense), bool))
        category = np.arange(self.dense.shape[1]) % 2
        return CutSample(
            curves=curves, parts=(curves,), held=(), n_images=len(self.dense), category=category
        )


@pytest.fixture
def draw() -> Callable[..., Drawn]:
    """Return a maker of calibrated probabilities and labels drawn from them; levels make ties."""

    def make(seed: int, n_images: int = 300, n_tags: int = 4, levels: int = 0) -> Drawn:
        rng = np.random.default_rng(seed)
        rarity = np.linspace(-0.5, -2.5, n_tags)
        dense = expit(rarity + 2.0 * rng.normal(size=(n_images, n_tags)))
        if levels:
            dense = np.ceil(dense * levels) / (levels + 1)
        dense = np.where(dense < 0.02, BASE, dense).astype(np.float32)
        return Drawn(dense, rng.random(dense.shape) < dense)

    return make


@pytest.fixture
def settings_with() -> Callable[..., ThresholdSettings]:
    """Return a maker of threshold settings: the defaults with some changes."""

    def make(**changes: Any) -> ThresholdSettings:
        return ThresholdSettings.model_validate(load_settings().thresholds.model_dump() | changes)

    return make
