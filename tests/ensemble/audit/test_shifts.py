"""Slices that want other thresholds get a proposal; what helps everybody, or nobody, is none."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, logit

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.ensemble.audit.shifts import Judging, Shift, ShiftedCounts, moved, shifts_of
from tagstack.ensemble.audit.slices import Slice, column_slices
from tagstack.ensemble.thresholds.deciding import Cutting

N, TAGS = 300, 10
JUDGING = Judging(
    folds=3, resamples=200, seed=0, beta=1.0, confidence=0.95, false_discovery_rate=0.05
)


def found(moves: NDArray[np.float64], seed: int = 0) -> tuple[Shift, ...]:
    """Return the shifts of two styles when the log-odds of some images are off by so much."""
    rng = np.random.default_rng(seed)
    truth = rng.random((N, TAGS)) < 0.3
    log_odds = np.where(truth, 1.0, -1.0) + rng.normal(0, 1, (N, TAGS)) + moves[:, None]
    proba = PairProba(
        pairs=Pairs(
            indptr=np.arange(N + 1, dtype=np.int64) * TAGS,
            tag=np.tile(np.arange(TAGS, dtype=np.int32), N),
            n_tags=TAGS,
        ),
        proba=expit(log_odds).astype(np.float32).ravel(),
        base=np.full(TAGS, 1e-4, np.float32),
    )
    labels = sparse.csr_array(truth)
    counts = ShiftedCounts.of(
        Cutting(value=np.full(TAGS, 0.5, np.float32)), proba, lambda own: own.decided(proba),
        labels, sparse.csr_array(labels.shape, dtype=bool), shifts=(0.5, 1.0, 1.5),
        told=lambda done, total: None,
    )  # fmt: skip
    return shifts_of(styles(), counts, np.arange(N) // 2, JUDGING)


def styles() -> tuple[Slice, ...]:
    style = np.where(np.arange(N) < N // 3, "a", "b").tolist()
    return column_slices({"style": style}, ["style"], most_values=9, least_images=20)[0]


def test_a_style_whose_probabilities_are_too_high_wants_higher_thresholds() -> None:
    moves = np.where(np.arange(N) < N // 3, 1.5, 0.0)
    own = {one.value: one for one in found(moves)}
    assert own["a"].helps
    assert own["a"].shift in (1.0, 1.5)
    assert own["a"].shift_low <= own["a"].shift <= own["a"].shift_high
    assert (
        0
        < own["a"].low
        <= own["a"].difference
        == pytest.approx(own["a"].after - own["a"].before, abs=1e-5)
    )


def test_what_helps_all_images_is_no_matter_of_a_slice() -> None:
    own = found(np.full(N, 1.5))
    assert all(one.common >= 1.0 and one.shift >= 1.0 for one in own)
    assert all(one.before > one.in_use for one in own)
    assert not any(one.helps for one in own)


def test_chance_is_rarely_proposed() -> None:
    by_chance = sum(any(one.helps for one in found(np.zeros(N), seed)) for seed in range(1, 21))
    assert by_chance <= 4  # at 5 % of 20, five or more come once in 400 times


def test_moved_thresholds_stay_above_unlisted_pairs_and_never_stays_never() -> None:
    base = np.array([0.4, 1e-4, np.nan, 0.1], np.float32)
    cutting = Cutting(value=np.array([0.5, 0.5, 0.5, np.inf], np.float32))
    assert moved(cutting, base, 0.0) is cutting
    lower = moved(cutting, base, -1.0).value
    assert lower[0] > np.float32(0.4)
    assert lower[1:3] == pytest.approx([expit(-1.0)] * 2)
    assert np.isinf(lower[3])
    assert logit(moved(cutting, base, 1.0).value[:3].astype(float)) == pytest.approx(1, abs=1e-4)


def test_no_slice_of_images_wants_nothing() -> None:
    counts = ShiftedCounts(
        steps=np.zeros(1), hits=np.zeros((1, 2)), given=np.zeros((1, 2)), true=np.zeros(2)
    )
    of_tags = Slice(kind="family", column="family", value="x", tags=np.array([True]))
    assert shifts_of([of_tags], counts, np.arange(2), JUDGING) == ()
    one = Slice(kind="column", column="s", value="x", images=np.array([True, False]))
    (own,) = shifts_of([one], counts, np.arange(2), JUDGING)  # one image without a tag
    assert (own.shift, own.helps, own.n_images) == (0.0, False, 1)
