"""Tags given for company are found, by the stack and by each tagger; others are left in peace."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse, stats

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.audit.companions import Companions, companions_of


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
        {"stack": sparse.csr_array(given)},
        sparse.csr_array(truth),
        sparse.csr_array(truth.shape, dtype=bool),
        np.arange(n),
        Vocabulary(tuple("abcdefgh"), ("general",) * 8),
        fewest_wrong=3,
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
    assert first.low < first.ratio < first.high
    low, high = stats.binomtest(first.n_wrong, first.n_images).proportion_ci(method="wilson")
    ends = (first.low * first.usual, first.high * first.usual)
    assert ends == pytest.approx((low, high), abs=0.02)
    without = free & ~truth[:, 0]
    wrong = int((given[:, 1] & without).sum())
    counts = [
        [first.n_wrong, first.n_images - first.n_wrong],
        [wrong, int(without.sum()) - wrong],
    ]
    p_value = stats.fisher_exact(counts, alternative="greater").pvalue
    assert first.q_value == pytest.approx(p_value * found.n_tested, rel=1e-6, abs=0)


def test_wrong_tags_without_company_are_not_blamed_on_any() -> None:
    assert sum(bool(company(0.02, seed=seed)[0].found) for seed in range(1, 31)) <= 6


def test_frames_of_one_scene_are_one_piece_of_evidence() -> None:
    truth = np.zeros((90, 2), bool)
    truth[:30, 0] = True
    given = truth.copy()
    given[:30, 1] = True
    found = companions_of(
        {"stack": sparse.csr_array(given)},
        sparse.csr_array(truth),
        sparse.csr_array(truth.shape, dtype=bool),
        np.where(np.arange(90) < 30, 0, np.arange(90)),
        Vocabulary(("a", "b"), ("general",) * 2),
        fewest_wrong=3,
        confidence=0.95,
        false_discovery_rate=0.05,
    )
    assert found.found == ()


def test_what_nobody_knows_is_neither_wrong_nor_without_the_tag() -> None:
    _, truth, given = company(0.3)
    unknown = np.zeros(truth.shape, bool)
    unknown[::2, 1] = ~truth[::2, 1]
    found = companions_of(
        {"stack": sparse.csr_array(given)},
        sparse.csr_array(truth),
        sparse.csr_array(unknown),
        np.arange(len(truth)),
        Vocabulary(tuple("abcdefgh"), ("general",) * 8),
        fewest_wrong=3,
        confidence=0.95,
        false_discovery_rate=0.05,
    )
    first, free = found.found[0], ~truth[:, 1] & ~unknown[:, 1]
    assert (first.company, first.tag) == ("a", "b")
    assert first.n_wrong == (given[:, 1] & free & truth[:, 0]).sum()
    assert first.n_images == (free & truth[:, 0]).sum()
    assert first.usual == pytest.approx((given[:, 1] & free).sum() / free.sum())


@pytest.mark.parametrize("n", [0, 1])
def test_no_or_one_positive_makes_no_pair(n: int) -> None:
    nothing = sparse.csr_array((3, 2), dtype=bool)
    labels = sparse.csr_array(np.array([[n == 1, False]] + [[False, False]] * 2))
    found = companions_of(
        {"stack": nothing}, labels, nothing, np.arange(3), Vocabulary(("a", "b"), ("general",) * 2),
        fewest_wrong=3, confidence=0.95, false_discovery_rate=0.05,
    )  # fmt: skip
    assert (found.found, found.n_tested) == ((), 0)


def test_a_tagger_that_gives_for_company_is_named_though_the_stack_does_not() -> None:
    _, truth, given = company(0.3)
    found = companions_of(
        {"stack": sparse.csr_array(truth), "doll": sparse.csr_array(given)},
        sparse.csr_array(truth),
        sparse.csr_array(truth.shape, dtype=bool),
        np.arange(len(truth)),
        Vocabulary(tuple("abcdefgh"), ("general",) * 8),
        fewest_wrong=3,
        confidence=0.95,
        false_discovery_rate=0.05,
    )
    alone, _, _ = company(0.3)
    assert {one.by for one in found.found} == {"doll"}
    assert (found.found[0].company, found.found[0].tag) == ("a", "b")
    assert found.n_tested == alone.n_tested  # the stack, never wrong, could not be caught
