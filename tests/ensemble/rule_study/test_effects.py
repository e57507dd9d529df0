from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import f1_score, precision_recall_fscore_support

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rule_study.effects import Evaluation, effects_of_rules
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

SETTINGS = load_settings().decoder


def evaluation(dense: np.ndarray, labels: np.ndarray, unknown: np.ndarray | None) -> Evaluation:
    n_images, n_tags = dense.shape
    pairs = Pairs(
        indptr=np.arange(0, n_images * n_tags + 1, n_tags, dtype=np.int64),
        tag=np.tile(np.arange(n_tags, dtype=np.int32), n_images),
        n_tags=n_tags,
    )
    proba = PairProba(pairs=pairs, proba=dense.ravel(), base=np.zeros(n_tags, np.float32))
    dark = np.zeros(dense.shape, bool) if unknown is None else unknown
    return Evaluation(
        proba=proba,
        thresholds=np.full(n_tags, 0.5, np.float32),
        labels=sparse.csr_array(labels & ~dark),
        unknown=sparse.csr_array(dark),
    )


def drawn_rules(rng: np.random.Generator) -> Rules:
    tags = [f"t{i}" for i in range(7)]
    group = rng.permutation(7)[:3]
    guard = [i for i in range(7) if i not in group][: int(rng.integers(0, 2))]
    safe = ["t0", "t1"] if {0, 1, 3, 5} & {*group.tolist()} else []  # else a tag could be dead
    return Rules(
        implications=(
            Implication(id="i", tags=("t3", "t5"), implies=("t1",), source=""),
            Implication(id="j", tags=("t1",), implies=("t0",), source=""),
            Implication(id="s", tags=("t6",), implies=("t2",), source="", penalty=0.7),
        ),
        exclusives=(
            Exclusive(
                id="x",
                tags=tuple(tags[i] for i in group),
                source="",
                unless=tuple(sorted({*(tags[i] for i in guard), *safe})),
                penalty=1.0,
                at_least_one=bool(rng.random() < 0.4),
            ),
            Exclusive(id="y", tags=("t2", "t4"), source="", when=("t6",)),
        ),
    )


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_effects_equal_two_whole_decodings_scored_by_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rules = drawn_rules(rng)
    dense = rng.beta(0.8, 1.2, (30, 7)).astype(np.float32)
    labels = rng.random((30, 7)) < 0.4
    labels[0] = True
    given_ = evaluation(dense, labels, None)
    vocabulary = Vocabulary(tuple(f"t{i}" for i in range(7)), ("",) * 7)
    bound = rules.bind(vocabulary)
    effects = effects_of_rules(rules, bound, given_, SETTINGS, Silent())
    whole = Decoder(bound, SETTINGS).decode(given_.proba, given_.thresholds).toarray()
    before = scores_of(labels, whole)
    for rule in rules.ids:
        less = rules.except_for([rule]).bind(vocabulary)
        without = Decoder(less, SETTINGS).decode(given_.proba, given_.thresholds).toarray()
        if rule not in effects:
            assert (without == whole).all()
            continue
        found = effects[rule]
        assert found.images == (without != whole).any(axis=1).sum()
        differences = before - scores_of(labels, without)
        values = (found.precision, found.recall, found.f1, found.macro_f1)
        assert values == pytest.approx(differences.tolist(), abs=1e-12)


def scores_of(labels: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Return micro precision, recall and F1, and macro F1, by scikit-learn."""
    options: dict[str, Any] = {"average": "micro", "zero_division": 0}
    micro = precision_recall_fscore_support(labels, decided, **options)[:3]
    return np.array([*micro, f1_score(labels, decided, average="macro", zero_division=0)])


def test_unknown_pairs_have_no_say() -> None:
    rules = Rules(exclusives=(Exclusive(id="x", tags=("t0", "t1"), source=""),))
    bound = rules.bind(Vocabulary(("t0", "t1"), ("", "")))
    dense = np.array([[0.9, 0.8], [0.9, 0.8]], np.float32)
    labels = np.array([[True, False], [True, True]])
    for unknown, gain in ((None, 0.0), (np.array([[False, False], [False, True]]), 1 / 3)):
        found = effects_of_rules(
            rules, bound, evaluation(dense, labels, unknown), SETTINGS, Silent()
        )
        assert found["x"].images == 2
        assert found["x"].precision == pytest.approx(0.25 if unknown is None else gain)


def test_rules_that_change_nothing_have_no_entry() -> None:
    rules = Rules(exclusives=(Exclusive(id="x", tags=("t0", "t1"), source=""),))
    bound = rules.bind(Vocabulary(("t0", "t1"), ("", "")))
    dense = np.array([[0.9, 0.1], [0.1, 0.8]], np.float32)
    found: dict[str, Any] = effects_of_rules(
        rules, bound, evaluation(dense, dense > 0.5, None), SETTINGS, Silent()
    )
    assert found == {}
