"""Planted favours are found and even-handed tags are left in peace."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse, stats

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.audit.companions import Companions, companions_of
from tagstack.ensemble.audit.slices import ImageCounts, Look, looks_at, slices_of
from tagstack.meta.metrics.bootstrap import Weightings

N, TAGS = 400, 12


def drawn(
    seed: int, worse: float = 0.0
) -> tuple[NDArray[np.bool_], NDArray[np.float32], list[str]]:
    """Return truth, probabilities and a style; of true tags in style b, a share is not seen."""
    rng = np.random.default_rng(seed)
    truth = rng.random((N, TAGS)) < 0.3
    style = ["b" if i % 4 == 0 else "a" for i in range(N)]
    proba = np.where(truth, 0.8, 0.2) + rng.normal(0, 0.2, (N, TAGS))
    lost = (rng.random((N, TAGS)) < worse) & (np.array(style) == "b")[:, None]
    return truth, np.clip(np.where(lost, 0.1, proba), 0.01, 0.99).astype(np.float32), style


def looks(seed: int, worse: float = 0.0) -> tuple[Look, ...]:
    truth, proba, style = drawn(seed, worse)
    pairs = Pairs(
        indptr=np.arange(N + 1, dtype=np.int64) * TAGS,
        tag=np.tile(np.arange(TAGS, dtype=np.int32), N),
        n_tags=TAGS,
    )
    flat = PairProba(pairs=pairs, proba=proba.ravel(), base=np.zeros(TAGS, np.float32))
    nothing = sparse.csr_array((N, TAGS), dtype=bool)
    counts = ImageCounts.of(flat, sparse.csr_array(proba >= 0.5), sparse.csr_array(truth), nothing)
    slices, _ = slices_of({"style": style}, ["style"], 50)
    groups = np.arange(N) // 2
    weightings = Weightings(groups, resamples=200, seed=seed)
    return looks_at(slices, counts, groups, weightings, confidence=0.95, false_discovery_rate=0.05)


def test_a_slice_that_is_tagged_worse_is_found_with_its_own_figures() -> None:
    found = {(one.value, one.figure): one for one in looks(0, worse=0.5)}
    truth, proba, style = drawn(0, worse=0.5)
    inside = np.array(style) == "b"
    recall = [((proba >= 0.5) & truth)[own].sum() / truth[own].sum() for own in (inside, ~inside)]
    one = found["b", "recall"]
    assert (one.here, one.elsewhere) == pytest.approx(recall, abs=1e-6)
    assert one.sure
    assert one.low <= one.difference <= one.high < 0
    assert found["b", "tagging"].sure
    assert found["b", "tagging"].here < 0
    assert found["b", "calibration"].here < found["b", "calibration"].elsewhere
    assert found["a", "recall"].difference == pytest.approx(-one.difference)


def test_even_handed_tags_are_rarely_blamed() -> None:
    blamed = sum(any(one.sure for one in looks(seed)) for seed in range(1, 31))
    assert blamed <= 6  # at 5 % of 30, seven or more come once in 3,000 times


def test_small_values_stand_together_and_are_named() -> None:
    values = ["a"] * 50 + [f"x{i}" for i in range(30)]
    slices, _ = slices_of({"artist": values}, ["artist"], 50)
    assert [own.value for own in slices] == ["a", "30 small ones"]
    assert len(slices[1].pooled) == slices[1].images.sum() == 30


def test_columns_without_two_kinds_make_no_slice_and_are_named() -> None:
    columns = {"id": [str(i) for i in range(100)], "one": ["a"] * 100, "few": ["a", "b"] * 50}
    slices, notices = slices_of(columns, list(columns), 50)
    assert {own.column for own in slices} == {"few"}
    assert [notice.split()[0] for notice in notices] == ["id", "one"]
    assert slices_of({"style": ["a"]}, ["style"], 50)[0] == ()  # one image


def test_an_unknown_column_is_a_message_that_names_the_nearest() -> None:
    with pytest.raises(TagstackError, match=r"no column 'stile'.*Did you mean style\?"):
        slices_of({"style": ["a"]}, ["stile"], 50)


def company(
    wrong_with: float, n: int = 600, seed: int = 0
) -> tuple[Companions, NDArray[np.bool_], NDArray[np.bool_]]:
    """Tag 1 is given wrongly on so many of the images with tag 0, else on 2 %."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 8)) < 0.3
    wrong = rng.random((n, 8)) < 0.02
    wrong[truth[:, 0], 1] = rng.random(truth[:, 0].sum()) < wrong_with
    given = truth | wrong
    found = companions_of(
        sparse.csr_array(given),
        sparse.csr_array(truth),
        sparse.csr_array(truth.shape, dtype=bool),
        np.arange(n),
        Vocabulary(tuple("abcdefgh"), ("general",) * 8),
        confidence=0.95,
        false_discovery_rate=0.05,
    )
    return found, truth, given


def test_a_tag_given_for_company_is_found_and_counted_as_fisher_would() -> None:
    found, truth, given = company(0.3)
    first = found.found[0]
    assert (first.company, first.tag) == ("a", "b")
    free = ~truth[:, 1]
    assert first.n_wrong == (given[:, 1] & free & truth[:, 0]).sum()
    assert first.n_images == (free & truth[:, 0]).sum()
    assert first.usual == pytest.approx((given[:, 1] & free).sum() / free.sum())
    without = free & ~truth[:, 0]
    wrong = int((given[:, 1] & without).sum())
    counts = [
        [first.n_wrong, first.n_images - first.n_wrong],
        [wrong, int(without.sum()) - wrong],
    ]
    p_value = stats.fisher_exact(counts, alternative="greater").pvalue
    assert first.q_value == pytest.approx(p_value * found.n_tested, rel=1e-6)


def test_wrong_tags_without_company_are_not_blamed_on_any() -> None:
    assert sum(bool(company(0.02, seed=seed)[0].found) for seed in range(1, 31)) <= 6


def test_frames_of_one_scene_are_one_piece_of_evidence() -> None:
    truth = np.zeros((90, 2), bool)
    truth[:30, 0] = True
    given = truth.copy()
    given[:30, 1] = True
    found = companions_of(
        sparse.csr_array(given),
        sparse.csr_array(truth),
        sparse.csr_array(truth.shape, dtype=bool),
        np.where(np.arange(90) < 30, 0, np.arange(90)),
        Vocabulary(("a", "b"), ("general",) * 2),
        confidence=0.95,
        false_discovery_rate=0.05,
    )
    assert found.found == ()


@pytest.mark.parametrize("n", [0, 1])
def test_no_or_one_positive_makes_no_pair(n: int) -> None:
    nothing = sparse.csr_array((3, 2), dtype=bool)
    labels = sparse.csr_array(np.array([[n == 1, False]] + [[False, False]] * 2))
    found = companions_of(
        nothing, labels, nothing, np.arange(3), Vocabulary(("a", "b"), ("general",) * 2),
        confidence=0.95, false_discovery_rate=0.05,
    )  # fmt: skip
    assert (found.found, found.n_tested) == ((), 0)
