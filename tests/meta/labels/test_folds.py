import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tagstack.configs.errors import TagstackError
from tagstack.meta.labels.folds import stratified_group_folds


def random_labels(seed: int, n_images: int, n_tags: int) -> sparse.csr_array:
    rng = np.random.default_rng(seed)
    return sparse.csr_array(rng.random((n_images, n_tags)) < rng.uniform(0.005, 0.3, n_tags))


@given(seed=st.integers(0, 1000), n_folds=st.integers(2, 6), n_groups=st.integers(6, 60))
@settings(max_examples=40, deadline=None)
def test_every_image_has_a_fold_and_no_group_crosses(
    seed: int, n_folds: int, n_groups: int
) -> None:
    labels = random_labels(seed, 120, 7)
    groups = np.random.default_rng(seed).integers(0, n_groups, 120)
    if len(np.unique(groups)) < n_folds:
        return
    fold = stratified_group_folds(labels, groups, n_folds, seed)

    assert fold.shape == (120,)
    assert fold.min() >= 0
    assert fold.max() < n_folds
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1


def test_positives_of_every_tag_are_spread_more_evenly_than_by_chance() -> None:
    labels = random_labels(0, 2000, 60)
    groups = np.arange(2000)
    fold = stratified_group_folds(labels, groups, 5, seed=0)
    chance = np.random.default_rng(0).permutation(2000) % 5
    dense = labels.toarray()

    rare = dense.sum(0) < 150

    def spread(of: np.ndarray, tags: np.ndarray) -> float:
        counts = np.array([dense[of == f][:, tags].sum(0) for f in range(5)])
        return float((counts.max(0) - counts.min(0)).mean())

    assert spread(fold, ~rare) < 0.6 * spread(chance, ~rare)
    assert spread(fold, rare) < 0.3 * spread(chance, rare)
    assert np.bincount(fold).min() >= 380


def test_a_tag_with_two_positives_puts_them_in_two_folds() -> None:
    labels = np.zeros((50, 3), bool)
    labels[:25, 0] = True
    labels[[7, 31], 1] = True
    labels[40:, 2] = True
    fold = stratified_group_folds(sparse.csr_array(labels), np.arange(50), 5, seed=3)
    assert fold[7] != fold[31]


def test_the_seed_decides_and_nothing_else() -> None:
    labels, groups = random_labels(1, 300, 20), np.arange(300) // 2
    first = stratified_group_folds(labels, groups, 5, seed=1)
    np.testing.assert_array_equal(first, stratified_group_folds(labels, groups, 5, seed=1))
    assert (first != stratified_group_folds(labels, groups, 5, seed=2)).any()


def test_images_without_labels_fill_the_folds_evenly() -> None:
    empty = sparse.csr_array((40, 3), dtype=bool)
    fold = stratified_group_folds(empty, np.arange(40), 4, seed=0)
    assert np.bincount(fold).tolist() == [10, 10, 10, 10]


def test_too_few_groups_is_an_error_that_counts_them() -> None:
    with pytest.raises(TagstackError, match=r"5 folds need at least 5 groups.*got 2 \(10 images"):
        stratified_group_folds(random_labels(0, 10, 3), np.arange(10) // 5, 5, seed=0)
