import numpy as np
import pytest
from scipy import sparse

from tagstack.meta.metrics.decision_scores import closed, decision_scores, hierarchical_scores

# 0 and 1 are roots; 2 and 3 lie under 0, 4 under 1, 5 and 6 under 2.
PARENT = np.array([-1, -1, 0, 0, 1, 2, 2])


def path_of(tag: int) -> list[int]:
    path = [tag]
    while PARENT[path[0]] >= 0:
        path.insert(0, int(PARENT[path[0]]))
    return path


def ancestors() -> sparse.csr_array:
    dense = np.zeros((7, 7), bool)
    for tag in range(7):
        dense[tag, path_of(tag)[:-1]] = True
    return sparse.csr_array(dense)


def one_hot(tags: np.ndarray) -> sparse.csr_array:
    return sparse.csr_array(np.eye(7, dtype=bool)[tags])


def test_scores_equal_hiclass_on_one_path_an_image() -> None:
    metrics = pytest.importorskip("hiclass.metrics", reason="hiclass is the reference")
    rng = np.random.default_rng(0)
    true, ours = rng.integers(0, 7, 200), rng.integers(0, 7, 200)

    def padded(tags: np.ndarray) -> np.ndarray:
        paths = [[str(step) for step in path_of(tag)] for tag in tags]
        return np.array([path + [""] * (3 - len(path)) for path in paths])

    found = hierarchical_scores(one_hot(ours), one_hot(true), ancestors(), beta=1.0)
    for name in ("precision", "recall", "f1"):
        score = getattr(metrics, name)
        key = name.removesuffix("1")
        micro = score(padded(true), padded(ours), average="micro")
        assert getattr(found, key) == pytest.approx(micro)
    for name in ("precision", "recall"):
        macro = getattr(metrics, name)(padded(true), padded(ours), average="macro")
        assert getattr(found, f"sample_{name}") == pytest.approx(macro)


def test_sets_equal_a_loop_over_images() -> None:
    rng = np.random.default_rng(1)
    labels, decided = rng.random((2, 80, 7)) < 0.25
    labels[3] = decided[4] = False
    found = hierarchical_scores(
        sparse.csr_array(decided), sparse.csr_array(labels), ancestors(), beta=2.0
    )
    right = n_ours = n_true = 0
    by_image = []
    for ours, true in zip(decided, labels, strict=True):
        one = {step for tag in np.flatnonzero(ours).tolist() for step in path_of(tag)}
        two = {step for tag in np.flatnonzero(true).tolist() for step in path_of(tag)}
        right, n_ours, n_true = right + len(one & two), n_ours + len(one), n_true + len(two)
        if two:
            by_image.append(5 * len(one & two) / (4 * len(two) + len(one)))
    assert found.precision == pytest.approx(right / n_ours)
    assert found.recall == pytest.approx(right / n_true)
    assert found.f == pytest.approx(5 * right / (4 * n_true + n_ours))
    assert found.sample_f == pytest.approx(np.mean(by_image))
    assert found.n_sample_images == len(by_image)


def test_closed_labels_and_decisions_give_the_plain_scores() -> None:
    rng = np.random.default_rng(2)
    labels, decided = (
        closed(sparse.csr_array(rng.random((60, 7)) < 0.3), ancestors()) for _ in range(2)
    )
    found = hierarchical_scores(decided, labels, ancestors(), beta=1.0)
    plain = decision_scores(decided, labels, beta=1.0)
    assert (found.precision, found.recall, found.f) == pytest.approx(
        (plain.micro_precision, plain.micro_recall, plain.micro_f)
    )


def test_a_sibling_is_less_wrong_than_a_stranger() -> None:
    true = one_hot(np.array([5]))
    sibling, stranger = (
        hierarchical_scores(one_hot(np.array([tag])), true, ancestors(), beta=1.0) for tag in (6, 4)
    )
    assert sibling.f == pytest.approx(2 / 3)
    assert stranger.f == 0


def test_nothing_decided_or_true_is_undefined() -> None:
    nothing = sparse.csr_array((5, 7), dtype=bool)
    found = hierarchical_scores(nothing, nothing, ancestors(), beta=1.0)
    assert np.isnan([found.precision, found.recall, found.f, found.sample_f]).all()
    assert found.n_sample_images == 0


def test_unknown_pairs_do_not_count_even_where_they_are_implied() -> None:
    decided, true = one_hot(np.array([5])), one_hot(np.array([6]))
    unknown = sparse.csr_array(np.array([[1, 0, 0, 0, 0, 1, 0]], bool))
    found = hierarchical_scores(decided, true, ancestors(), beta=1.0, unknown=unknown)
    assert (found.precision, found.recall) == pytest.approx((1.0, 0.5))  # tag 2; tags 2 and 6
