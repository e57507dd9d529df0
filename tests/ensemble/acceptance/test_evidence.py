"""Proposals of labelled images: who is wrong, who cannot be judged, and what implied tags get."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.ensemble.acceptance.evidence import LabelledProposals, distance
from tagstack.ensemble.acceptance.proposals import Proposals
from tagstack.ensemble.bundle.fitted_labels import FittedLabels
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds.deciding import Cutting

TAGS = ("one", "two", "three", "four", "five")


def proposed(dense: list[list[float]], rules: Rules) -> tuple[Proposals, Decoder]:
    values = np.array(dense, np.float32)
    n_images, n_tags = values.shape
    pairs = Pairs(
        indptr=np.arange(0, values.size + 1, n_tags, dtype=np.int64),
        tag=np.tile(np.arange(n_tags, dtype=np.int32), n_images),
        n_tags=n_tags,
    )
    proba = PairProba(pairs=pairs, proba=values.ravel(), base=np.zeros(n_tags, np.float32))
    bound = rules.bind(Vocabulary(TAGS, ("general",) * 5))
    decoder = Decoder(bound, load_settings().decoder)
    cutting = Cutting(value=np.full(5, 0.5, np.float32))
    return Proposals.of(proba, cutting, decoder), decoder


def truth_of(labels: list[list[int]], unknown: list[list[int]] | None = None) -> FittedLabels:
    matrix = np.array(labels, bool)
    nobody = np.zeros_like(matrix) if unknown is None else np.array(unknown, bool)
    return FittedLabels(
        labels=sparse.csr_array(matrix),
        unknown=sparse.csr_array(nobody),
        groups=np.arange(len(matrix)),
    )


def test_what_is_implied_is_as_sure_as_its_reason(make_rules: Callable[..., Rules]) -> None:
    """Rules: of the first three tags one at most; the fourth implies the fifth."""
    found, _ = proposed([[0.9, 0.8, 0.1, 0.95, 0.3], [0.6, 0, 0, 0, 0.7]], make_rules(TAGS))
    assert found.tag.tolist() == [0, 3, 4, 0, 4]
    np.testing.assert_allclose(found.sureness, [0.9, 0.95, 0.95, 0.6, 0.7], rtol=1e-6)
    np.testing.assert_allclose(found.proba, [0.9, 0.95, 0.3, 0.6, 0.7], rtol=1e-6)


def test_whoever_cannot_be_judged_is_not_accepted(make_rules: Callable[..., Rules]) -> None:
    dense = [[0.9, 0, 0, 0.8, 0.8]] * 40
    found, decoder = proposed(dense, make_rules(TAGS))
    labels = [[int(i < 39), 0, 0, 1, 1] for i in range(40)]
    ancestors = decoder.rules.ancestors
    sure = LabelledProposals.of(found, truth_of(labels), ancestors, 0.05)
    assert (sure.n_wrong, sure.n_proposals, bool(sure.judged.all())) == (1, 120, True)
    lost = [[0, 0, 0, 0, i < 3] for i in range(40)]  # the fifth, which the fourth implies
    some = LabelledProposals.of(found, truth_of(labels, lost), ancestors, 0.05)
    assert some.judged.tolist() == [True, True, True, False, False]
    assert (some.n_wrong, some.n_proposals) == (1, 40)
    labels[0][4], lost = 0, [[0, 0, 0, 0, i < 1] for i in range(40)]
    few = LabelledProposals.of(found, truth_of(labels, lost), ancestors, 0.05)
    assert few.judged.all()
    assert few.n_wrong == 2  # what is unknown counts as wrong
    nothing = [[1] * 5 if i < 10 else [0] * 5 for i in range(40)]
    part = LabelledProposals.of(found, truth_of(labels, nothing), ancestors, 0.05)
    assert (part.n_left_out, part.n_images, part.wrongs.n_groups) == (10, 30, 30)


def test_a_batch_of_another_kind_is_told(rng: np.random.Generator) -> None:
    like, other = rng.beta(8, 2, 300), rng.beta(5, 3, 300)
    assert distance(like, rng.beta(8, 2, 200)) == 0
    assert distance(like, other) == pytest.approx(0.45, abs=0.1)
    assert distance(like, np.empty(0)) == 0
