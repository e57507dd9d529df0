import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.pairs import Pairs
from tagstack.meta.calibrators.calibration import MemberLogits
from tagstack.meta.features.pair_rows import candidate_rows, recall, subset
from tagstack.meta.labels.truth import PairTruth


@pytest.fixture
def pairs() -> Pairs:
    return Pairs(
        indptr=np.array([0, 4, 4, 6], np.int64),
        tag=np.array([0, 1, 2, 3, 0, 2], np.int32),
        n_tags=4,
    )


@pytest.fixture
def members() -> MemberLogits:
    listed = np.array([[1.0, np.nan, -2.0, -9.0, 0.0, 3.0], [np.nan, 2.0, 0.5, -8.0, -1.0, 1.0]])
    return MemberLogits(listed=listed, base=np.full((2, 4), -9.0))


def test_the_most_plausible_pairs_of_each_image_are_kept(
    pairs: Pairs, members: MemberLogits
) -> None:
    rows = candidate_rows(members, pairs, per_image=2, min_logit=-5.0)
    assert rows.tolist() == [0, 1, 4, 5]


def test_what_no_member_finds_plausible_is_no_candidate(
    pairs: Pairs, members: MemberLogits
) -> None:
    assert candidate_rows(members, pairs, per_image=9, min_logit=-5.0).tolist() == [0, 1, 2, 4, 5]
    assert candidate_rows(members, pairs, per_image=9, min_logit=10.0).tolist() == []


def test_subset_keeps_images_without_candidates(pairs: Pairs) -> None:
    kept = subset(pairs, np.array([1, 5]))
    assert kept.indptr.tolist() == [0, 1, 1, 2]
    assert kept.tag.tolist() == [1, 2]


def test_recall_counts_true_pairs_that_were_never_listed(pairs: Pairs) -> None:
    labels = sparse.csr_array(np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]], bool))
    truth = PairTruth.of(pairs, labels)
    assert truth.n_true.tolist() == [0, 1, 0, 0]
    assert truth.n_false.tolist() == [1, 1, 1, 2]
    assert recall(np.array([0, 5]), truth.listed, 4) == pytest.approx(0.5)
    assert np.isnan(recall(np.array([0]), np.zeros(6, bool), 0))
