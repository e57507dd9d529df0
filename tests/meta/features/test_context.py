import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.pairs import Pairs
from tagstack.configs.errors import TagstackError
from tagstack.meta.features import context
from tagstack.meta.features.context import company, log_lift, relative_logit, rival_logit
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence


@pytest.fixture
def case() -> tuple[Pairs, np.ndarray, np.ndarray]:
    """Pairs of 30 images over 8 tags, a logit each, and the same as a dense array with NaN."""
    rng = np.random.default_rng(0)
    listed = rng.random((30, 8)) < 0.6
    indptr = np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64)
    pairs = Pairs(indptr=indptr, tag=np.nonzero(listed)[1].astype(np.int32), n_tags=8)
    logit = rng.normal(size=len(pairs)).round(1)
    dense = np.full(listed.shape, np.nan)
    dense[listed] = logit
    return pairs, logit, dense


def highest(values: list[float]) -> float:
    seen = [v for v in values if not np.isnan(v)]
    return max(seen) if seen else np.nan


def test_rival_is_the_highest_other_member_of_any_group(case) -> None:  # type: ignore[no-untyped-def]
    pairs, logit, dense = case
    relations = TagRelations(sparse.csr_array((8, 8), dtype=bool), ((0, 1, 2), (2, 5), (6,)))
    rivals = {0: [1, 2], 1: [0, 2], 2: [0, 1, 5], 5: [2]}
    expected = [
        highest([dense[i, r] for r in rivals.get(t, [])])
        for i, t in zip(pairs.image, pairs.tag, strict=True)
    ]
    np.testing.assert_array_equal(rival_logit(pairs, logit, relations), expected)


def test_relatives_are_the_highest_listed_parent(case) -> None:  # type: ignore[no-untyped-def]
    pairs, logit, dense = case
    parents = np.zeros((8, 8), bool)
    parents[1, 0] = parents[1, 3] = parents[4, 1] = True
    expected = [
        highest([dense[i, p] for p in np.flatnonzero(parents[t])])
        for i, t in zip(pairs.image, pairs.tag, strict=True)
    ]
    found = relative_logit(pairs, logit, sparse.csr_array(parents))
    np.testing.assert_array_equal(found, expected)


def test_company_is_the_sum_of_probabilities_times_lifts(case) -> None:  # type: ignore[no-untyped-def]
    pairs, logit, dense = case
    labels = np.random.default_rng(1).random((200, 8)) < 0.3
    labels[:, 1] |= labels[:, 0]
    lift = log_lift(Evidence.of(sparse.csr_array(labels)))
    assert lift.toarray().diagonal().tolist() == [0] * 8
    assert lift[0, 1] > 0.2
    proba = np.nan_to_num(1 / (1 + np.exp(-dense)))
    proba[proba < 0.02] = 0
    expected = (proba @ lift.toarray())[pairs.image, pairs.tag]
    np.testing.assert_allclose(company(pairs, logit, lift), expected, atol=1e-12)


def test_relations_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(TagstackError, match=r"indices \[9\]; expected 0 to 2"):
        TagRelations(sparse.csr_array((3, 3), dtype=bool), ((0, 9),))
    with pytest.raises(TagstackError, match="parents must be square"):
        TagRelations(sparse.csr_array((3, 2), dtype=bool), ())


@pytest.mark.parametrize("image", [0, 7])
def test_one_picture_hears_bit_for_bit_what_it_hears_among_many(
    case: tuple[Pairs, np.ndarray, np.ndarray], image: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, logit, _ = case
    lift = sparse.csc_array(np.random.default_rng(1).normal(size=(8, 8)))
    own = slice(pairs.indptr[image], pairs.indptr[image + 1])
    alone = Pairs(
        indptr=np.array([0, own.stop - own.start], np.int64), tag=pairs.tag[own], n_tags=8
    )
    said = company(alone, logit[own], lift)
    assert np.abs(said).max() > 0
    monkeypatch.setattr(context, "_FEW", 0)
    np.testing.assert_array_equal(said, company(pairs, logit, lift)[own])
