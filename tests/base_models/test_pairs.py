"""Sparse pairs: rows and subsets agree with the dense picture."""

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tagstack.base_models.pairs import PairProba, Pairs


@given(
    st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=6),
    st.data(),
)
def test_taking_images_equals_taking_dense_rows(
    listed: list[set[int]], data: st.DataObject
) -> None:
    tags = [sorted(own) for own in listed]
    pairs = Pairs(
        indptr=np.cumsum([0, *map(len, tags)]).astype(np.int64),
        tag=np.array([tag for own in tags for tag in own], np.int32),
        n_tags=6,
    )
    proba = PairProba(
        pairs=pairs,
        proba=np.linspace(0.1, 0.9, len(pairs)).astype(np.float32),
        base=np.linspace(0, 0.05, 6).astype(np.float32),
    )
    chosen = np.array(data.draw(st.lists(st.integers(0, len(listed) - 1), max_size=8)), np.intp)
    assert np.array_equal(proba.take(chosen).dense(), proba.dense()[chosen])
    assert proba.take(chosen).pairs.n_images == len(chosen)
    image, tag = (own.ravel() for own in np.indices((len(listed), 6)))
    place, found = pairs.find(np.arange(len(listed) + 1) * 6, tag)
    there = [t in listed[i] for i, t in zip(image.tolist(), tag.tolist(), strict=True)]
    assert found.tolist() == there
    assert place[found].tolist() == list(range(len(pairs)))
    kept = proba.only(proba.proba > 0.5)
    assert np.array_equal(kept.dense(), np.where(proba.dense() > 0.5, proba.dense(), proba.base))


def test_scores_of_some_images_keep_their_logits(make_labelled: Callable[..., object]) -> None:
    scores = make_labelled(n_images=9, floor=-1.0).scores  # type: ignore[attr-defined]
    part = scores.take(np.array([7, 2]))
    assert part.images == (scores.images[7], scores.images[2])
    rows = np.concatenate([np.flatnonzero(scores.pairs.image == i) for i in (7, 2)])
    assert np.array_equal(part.logit, scores.logit[:, rows])
    assert np.array_equal(
        part.pairs.image, np.repeat([0, 1], [sum(scores.pairs.image == i) for i in (7, 2)])
    )
