"""One registry of scores: what it computes, what it calls things, and a package's own score."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn import metrics as reference

from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import METRICS
from tagstack.meta.metrics.scores import (
    Judged,
    Score,
    compared,
    of_decisions,
    of_packages,
    of_probabilities,
)

MakeProba = Callable[..., tuple[Any, Any]]
OFFER = "from tagstack.meta.metrics.scores import Score\nMINE = "


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_scores_are_scikit_learn_s(make_proba: MakeProba, beta: float) -> None:
    proba, labels = make_proba(3)
    dense = proba.dense()
    decided = dense >= 0.5
    judged = Judged(
        proba=proba, decided=sparse.csr_array(decided), labels=sparse.csr_array(labels), beta=beta
    )
    found = {s.name: s.function(judged) for s in (*compared(beta), *of_decisions(beta))}
    for average in ("micro", "macro", "weighted"):
        precision, recall, f, _ = reference.precision_recall_fscore_support(
            labels, decided, beta=beta, average=average, zero_division=0
        )
        names = (f"{average}_precision", f"{average}_recall", f"{average}_f")
        assert [found[name] for name in names] == pytest.approx([precision, recall, f])
    has_label = labels.any(axis=1)
    assert found["sample_f"] == pytest.approx(
        reference.fbeta_score(
            labels[has_label], decided[has_label], beta=beta, average="samples", zero_division=0
        )
    )
    for average in ("macro", "micro"):
        expected = reference.average_precision_score(labels, dense, average=average)
        assert found[f"{average}_ap"] == pytest.approx(expected)
    assert found["hamming_loss"] == pytest.approx(reference.hamming_loss(labels, decided))
    assert found["subset_accuracy"] == pytest.approx(reference.accuracy_score(labels, decided))
    brier = next(s for s in of_probabilities() if s.name == "brier").function(judged)
    assert brier == pytest.approx(np.mean((dense - labels) ** 2))


def test_what_errs_less_is_better_where_less_is_better(make_proba: MakeProba) -> None:
    proba, labels = make_proba(4)
    truth = sparse.csr_array(labels)
    best = Judged(proba=proba, decided=truth, labels=truth)
    worse = Judged(proba=proba, decided=sparse.csr_array(proba.dense() >= 0.5), labels=truth)
    for score in of_decisions(1.0):
        sign = 1 if score.larger_is_better else -1
        assert sign * score.function(best) > sign * score.function(worse), score.name


def test_names_are_unique_and_titles_say_beta() -> None:
    every = (*of_decisions(2.0), *of_probabilities())
    assert len({s.name for s in every}) == len({s.title for s in every}) == len(every)
    for score in (*compared(2.0), *every):
        assert score.name.endswith("_f") == ("F2" in score.title), score
        assert "F1" not in score.title + score.meaning


def test_built_in_scores_are_found_by_the_hook_under_their_own_names() -> None:
    every = {s.name for s in (*compared(1.0), *of_decisions(1.0), *of_probabilities())}
    assert {*METRICS.built_in} == every
    for name in METRICS.built_in:
        score = METRICS.load(name)
        assert isinstance(score, Score)
        assert score.name == name


def test_a_built_in_name_is_no_package_s_and_no_setting_s(
    install_package: Callable[..., Path],
) -> None:
    """Two columns of one name would stand in every file."""
    install_package("my_metric", OFFER + "3", {"tagstack.metrics": {"macro_f": "MINE"}})
    (offer,) = METRICS.plug_ins()
    assert offer.fault == "has the name of the built-in metric, which is used instead"
    with pytest.raises(TagstackError, match="'macro_f' is built in and always shown"):
        of_packages(["macro_f"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("3", r"The metric 'mine' of my-metric 1\.2 has no 'title'"),
        ("Score(name='x', title='X', needs='proba', function=lambda j: 'high')", "returned 'high'"),
        ("Score(name='x', title='X', needs='proba', function=lambda j: 1e999)", "returned inf"),
    ],
)
def test_a_package_s_score_is_checked(
    install_package: Callable[..., Path], make_proba: MakeProba, source: str, message: str
) -> None:
    install_package("my_metric", OFFER + source, {"tagstack.metrics": {"mine": "MINE"}})
    proba, labels = make_proba(0)
    truth = sparse.csr_array(labels)
    with pytest.raises(TagstackError, match=message):
        of_packages(["mine"])[0].function(Judged(proba=proba, decided=truth, labels=truth))
