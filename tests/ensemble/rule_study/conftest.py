from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.rule_study.labelled import LabelledTags


@pytest.fixture(scope="session")
def label() -> Callable[..., LabelledTags]:
    """Return a maker of labels from texts; ``?tag`` is unknown on that image."""

    def make(tags: str, images: Sequence[str]) -> LabelledTags:
        names = tuple(tags.split())
        vocabulary = Vocabulary(names, ("",) * len(names))
        held = np.zeros((2, len(images), len(names)), bool)
        for i, image in enumerate(images):
            for word in image.split():
                held[int(word.startswith("?")), i, vocabulary.index[word.lstrip("?")]] = True
        return LabelledTags(
            source="labels.csv",
            vocabulary=vocabulary,
            tags=sparse.csr_array(held[0]),
            unknown=sparse.csr_array(held[1]),
        )

    return make


@pytest.fixture(scope="session")
def dense_labels() -> Callable[..., LabelledTags]:
    """Return a maker of labels from a matrix; the tags are t0, t1 and so on unless named."""

    def make(
        tags: np.ndarray, unknown: np.ndarray | None = None, names: Sequence[str] = ()
    ) -> LabelledTags:
        names = (*names, *(f"t{i}" for i in range(len(names), tags.shape[1])))
        dark = np.zeros(tags.shape, bool) if unknown is None else unknown
        return LabelledTags(
            source="labels.csv",
            vocabulary=Vocabulary(tuple(names), ("",) * len(names)),
            tags=sparse.csr_array(tags & ~dark),
            unknown=sparse.csr_array(dark),
        )

    return make
