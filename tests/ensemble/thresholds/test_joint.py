"""Thresholds chosen jointly: against a search over all legal decisions, and on rival tags."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit
from sklearn.metrics import f1_score

from tagstack.base_models import orders
from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.rules.rule import Exclusive
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds import curves, fitting
from tagstack.ensemble.thresholds.deciding import Nearby, decided_by
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.ensemble.thresholds.strategies.strategy import strategy_of

N_TAGS = 6
WORDS = Vocabulary(tuple(f"t{i}" for i in range(N_TAGS)), ("general",) * N_TAGS)
RULES = Rules(exclusives=(Exclusive(id="x", tags=WORDS.tags, source="test"),))


def rivals(rng: np.random.Generator, n_images: int) -> tuple[PairProba, Any]:
    """Return one true tag of six an image and its exact probabilities, the later tags rarer."""
    chance = np.array([0.5, 0.25, 0.12, 0.07, 0.04, 0.02])
    truth = rng.choice(N_TAGS, size=n_images, p=chance)
    signal = 1.5 * np.eye(N_TAGS)[truth] + rng.normal(size=(n_images, N_TAGS))
    weight = chance * np.exp(1.5 * signal)  # Bayes for unit noise
    dense = (weight / weight.sum(1, keepdims=True)).clip(1e-4, 1).astype(np.float32)
    pairs = Pairs(
        indptr=np.arange(0, n_images * N_TAGS + 1, N_TAGS, dtype=np.int64),
        tag=np.tile(np.arange(N_TAGS, dtype=np.int32), n_images),
        n_tags=N_TAGS,
    )
    base = np.full(N_TAGS, 1e-5, np.float32)
    return PairProba(pairs=pairs, proba=dense.ravel(), base=base), np.eye(N_TAGS, dtype=bool)[truth]


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(RULES.bind(WORDS), load_settings().decoder)


def fitted(proba: PairProba, labels: Any, chosen: Any, decoder: Decoder | None) -> Any:
    folds = np.arange(len(labels)) % 5
    return fit_thresholds(proba, sparse.csr_array(labels), WORDS, folds, chosen, decoder)


def test_joint_thresholds_beat_lone_ones_where_tags_are_rivals(
    settings_with: Callable[..., Any], decoder: Decoder, rng: np.random.Generator
) -> None:
    fit_on, test_on = rivals(rng, 4000), rivals(rng, 8000)
    scores = {}
    for name, changes in {
        "joint": {"strategy": "joint_f", "macro_share": 1.0},
        "lone": {"strategy": "plugin_f", "decoder_rounds": 0},
        "rounds": {"strategy": "scut", "decoder_rounds": 2},
    }.items():
        found = fitted(*fit_on, settings_with(**changes), decoder)
        decided = found.cutting.decoded(test_on[0], decoder).toarray()
        assert decided.sum(1).max() <= 1
        scores[name] = f1_score(test_on[1], decided, average="macro")
    assert scores["joint"] > scores["lone"] + 0.003
    assert scores["joint"] > scores["rounds"]


def test_no_random_change_of_the_decision_rule_is_expected_to_be_better(
    settings_with: Callable[..., Any], decoder: Decoder, rng: np.random.Generator
) -> None:
    """The optimum is worth * (p - threshold) with both free: nothing near it raises expected F1."""
    proba, labels = rivals(rng, 3000)
    chosen = settings_with(strategy="joint_f", macro_share=0.5, joint_rounds=30)
    found = fitted(proba, labels, chosen, decoder).cutting
    dense = proba.dense().astype(float)

    def expected(cutting: Any) -> float:
        decided = cutting.decoded(proba, decoder).toarray()
        hits, predicted, mass = (decided * dense).sum(0), decided.sum(0), dense.sum(0)
        macro = (2 * hits / (predicted + mass)).mean()
        return float(0.5 * macro + hits.sum() / (predicted.sum() + mass.sum()))

    best = expected(found)
    for _ in range(60):
        value = expit(np.log(found.value / (1 - found.value)) + rng.normal(size=N_TAGS) * 0.3)
        worth = found.worth * np.exp(rng.normal(size=N_TAGS) * 0.3)
        other = replace(found, value=value.astype(np.float32), worth=worth.astype(np.float32))
        assert expected(other) <= best + 1e-3


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_decides_between_macro_and_micro(
    share: float, settings_with: Callable[..., Any], decoder: Decoder, rng: np.random.Generator
) -> None:
    fit_on, test_on = rivals(rng, 3000), rivals(rng, 6000)
    results = []
    for own in (share, 1 - share):
        chosen = settings_with(strategy="joint_f", macro_share=own)
        decided = fitted(*fit_on, chosen, decoder).cutting.decoded(test_on[0], decoder).toarray()
        average = "macro" if share else "micro"
        results.append(f1_score(test_on[1], decided, average=average))
    assert results[0] > results[1]


def test_without_rules_the_threshold_is_a_mean_of_the_two_plug_ins(
    settings_with: Callable[..., Any], rng: np.random.Generator
) -> None:
    proba, labels = rivals(rng, 3000)
    dense = proba.dense().astype(float)
    for share in (0.0, 1.0):
        chosen = settings_with(strategy="joint_f", macro_share=share, joint_rounds=40)
        value = fitted(proba, labels, chosen, None).value
        for tag in range(N_TAGS):
            column = dense if share == 0 else dense[:, [tag]]
            ranked = np.sort(column.ravel())[::-1]
            n = np.arange(1, len(ranked) + 1)
            best = (2 * np.cumsum(ranked) / (n + column.sum())).max()
            assert value[tag] == pytest.approx(best / 2, abs=0.01)


def test_a_hopeless_tag_has_no_part_in_macro(
    settings_with: Callable[..., Any], draw: Callable[..., Any], rng: np.random.Generator
) -> None:
    """Its scores promise what its labels do not hold; macro F1 alone would have it often."""
    fit_on, test_on = draw(0, 2000, 8), draw(1, 2000, 8)
    fit_on.labels[:, 7], test_on.labels[:, 7] = rng.random((2, 2000)) < 0.01
    chosen = {"strategy": "joint_f", "macro_share": 0.8, "max_rate": 100.0}

    def found(**changes: Any) -> Any:
        settings = settings_with(**chosen, **changes)
        return fit_thresholds(
            fit_on.proba, fit_on.matrix, fit_on.vocabulary, np.arange(2000) % 5, settings
        )

    kept, cut = found(fbr=0.0), found(fbr=0.1)
    assert (cut.value[:7] == kept.value[:7]).all()
    assert cut.value[7] > kept.value[7]
    before, after = (
        f1_score(test_on.labels, table.cutting.decided(test_on.proba).toarray(), average="micro")
        for table in (kept, cut)
    )
    assert after > before
    # Of fewer positives nothing can be said.
    assert (found(fbr=0.1, min_positives=200).value == kept.value).all()


def test_no_label_is_read_but_for_hopeless_tags(
    settings_with: Callable[..., Any], decoder: Decoder, rng: np.random.Generator
) -> None:
    proba, labels = rivals(rng, 1000)
    shuffled = labels[rng.permutation(1000)]
    one, other = (
        fitted(proba, truth, settings_with(strategy="joint_f", fbr=0.0), decoder)
        for truth in (labels, shuffled)
    )
    assert (one.value == other.value).all()
    assert (one.worth == other.worth).all()
    assert np.nanmean(one.estimate) > np.nanmean(other.estimate)


@pytest.mark.parametrize(("strategy", "images"), [("joint_f", [300]), ("scut", [*[240] * 5, 300])])
def test_what_reads_no_label_is_proposed_once_and_serves_every_fold(
    settings_with: Callable[..., Any], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch,
    strategy: str, images: list[int],
) -> None:  # fmt: skip
    proba, labels = rivals(rng, 300)
    asked: list[int] = []

    def told(self: Any, sample: Any, settings: Any) -> Any:
        asked.append(sample.n_images)
        return propose(self, sample, settings)

    own = type(strategy_of(strategy))
    propose = own.propose
    monkeypatch.setattr(own, "propose", told)
    fitted(proba, labels, settings_with(strategy=strategy), None)
    assert asked == images


def test_tags_with_other_objectives_stay_where_they_are(
    settings_with: Callable[..., Any], decoder: Decoder, rng: np.random.Generator
) -> None:
    proba, labels = rivals(rng, 1000)
    by_tag = (("t0", settings_with(strategy="fixed", value=0.62)),)
    found = fit_thresholds(
        proba, sparse.csr_array(labels), WORDS, np.arange(1000) % 5,
        settings_with(strategy="joint_f"), decoder, by_tag=by_tag,
    )  # fmt: skip
    assert found.value[0] == np.float32(0.62)
    assert found.worth is not None
    assert found.worth[0] == pytest.approx(1 / (0.62 * 0.38), rel=1e-4)
    assert found.state[0] == "fixed"


def test_the_pairs_nearby_decide_like_all_and_are_fewer(draw: Callable[..., Any]) -> None:
    """Thresholds that rise, fall far and flood a tag; one tag of which all pairs count."""
    proba = draw(3, 200, 5).proba
    always = np.arange(5) == 2
    nearby = Nearby(proba, always)
    for level in (0.5, 0.7, 0.3, 0.1, 0.6):
        value = np.array([level, 0.2, np.inf, 0.5, 0.005], np.float32)
        near = nearby.under(value)
        one, all_of_them = (decided_by(own, value) for own in (near, proba))
        assert (one != all_of_them).nnz == 0
        assert len(near.pairs) < len(proba.pairs)
        counts = [np.bincount(own.pairs.tag, minlength=5) for own in (near, proba)]
        assert (counts[0] == counts[1])[[2, 4]].all()


@pytest.mark.parametrize("strategy", ["joint_f", "plugin_f", "scut", "one_threshold"])
def test_pairs_looked_at_a_few_at_a_time_give_the_same_thresholds(
    strategy: str,
    decoder: Decoder,
    settings_with: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proba, labels = rivals(np.random.default_rng(2), 150)
    settings = settings_with(strategy=strategy)
    whole = fitted(proba, labels, settings, decoder)
    for room in (orders, curves, fitting):
        monkeypatch.setattr(room, "AT_ONCE", 40)
    parts = fitted(proba, labels, settings, decoder)
    np.testing.assert_allclose(parts.value, whole.value, rtol=1e-6)
    assert parts.calibration_hash == whole.calibration_hash
