import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from sklearn import metrics as reference

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.errors import TagstackError
from tagstack.meta.metrics.counts import (
    Counts,
    count_by_image,
    count_by_tag,
    f_beta,
    matthews,
    precision,
    recall,
)
from tagstack.meta.metrics.decision_scores import decision_scores
from tagstack.meta.metrics.ranking import average_precision

TABLE = st.tuples(st.integers(1, 12), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def both(decided: Any, labels: Any) -> tuple[sparse.csr_array, sparse.csr_array]:
    return sparse.csr_array(decided), sparse.csr_array(labels)


@settings(deadline=None, max_examples=40)
@given(TABLE, st.sampled_from([0.5, 1.0, 2.0]))
def test_macro_scores_equal_scikit_learn_over_tags_with_a_positive(
    table: tuple[Any, Any], beta: float
) -> None:
    decided, labels = table
    found = decision_scores(*both(decided, labels), beta=beta)
    tags = np.flatnonzero(labels.any(0))
    assert found.n_macro_tags == len(tags)
    if not len(tags):
        assert np.isnan(found.macro_f)
        return
    f = [
        reference.fbeta_score(labels[:, tag], decided[:, tag], beta=beta, zero_division=np.nan)
        for tag in tags
    ]
    assert found.macro_f == pytest.approx(np.mean(f))
    weighted = np.average(f, weights=labels[:, tags].sum(0))
    assert found.weighted_f == pytest.approx(weighted)


@settings(deadline=None, max_examples=40)
@given(TABLE)
def test_micro_and_sample_scores_equal_scikit_learn(table: tuple[Any, Any]) -> None:
    decided, labels = table
    found = decision_scores(*both(decided, labels), beta=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        micro = reference.precision_recall_fscore_support(
            labels.ravel(), decided.ravel(), average="binary", zero_division=np.nan
        )
    for ours, theirs in zip(
        (found.micro_precision, found.micro_recall, found.micro_f), micro[:3], strict=True
    ):
        assert ours == pytest.approx(theirs, nan_ok=True)
    labelled = labels.any(1)
    assert found.n_sample_images == labelled.sum()
    per_image = [
        reference.f1_score(true, ours, zero_division=np.nan)
        for true, ours in zip(labels[labelled], decided[labelled], strict=True)
    ]
    expected = np.mean(per_image) if per_image else np.nan
    assert found.sample_f == pytest.approx(expected, nan_ok=True)
    assert found.hamming_loss == pytest.approx((decided != labels).mean())
    assert found.subset_accuracy == pytest.approx((decided == labels).all(1).mean())


@settings(deadline=None, max_examples=40)
@given(TABLE)
def test_matthews_equals_scikit_learn_where_labels_vary(table: tuple[Any, Any]) -> None:
    decided, labels = table
    found = matthews(count_by_tag(*both(decided, labels)), len(labels))
    for tag, value in enumerate(found):
        if labels[:, tag].all() or not labels[:, tag].any():
            assert np.isnan(value)
        else:
            expected = reference.matthews_corrcoef(labels[:, tag], decided[:, tag])
            assert value == pytest.approx(expected, abs=1e-12)


def test_undefined_values_are_nan_and_counted() -> None:
    labels = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], bool)
    decided = np.array([[1, 0, 1], [0, 0, 0], [0, 0, 0]], bool)
    found = decision_scores(*both(decided, labels), beta=1.0)
    assert found.n_macro_tags == 2  # the third has no positive
    assert found.n_macro_precision_tags == 1  # the second is never decided
    assert found.macro_precision == 1.0
    assert found.macro_recall == pytest.approx((0.5 + 0) / 2)
    assert found.n_sample_images == 3
    assert found.n_sample_precision_images == 1


def test_the_tags_of_an_average_do_not_depend_on_decisions(
    rng: np.random.Generator,
) -> None:
    labels = rng.random((40, 8)) < 0.1
    labels[:, 0] = False
    none = decision_scores(*both(np.zeros_like(labels), labels), beta=1.0)
    all_of_them = decision_scores(*both(np.ones_like(labels), labels), beta=1.0)
    assert none.n_macro_tags == all_of_them.n_macro_tags
    assert none.macro_f == 0.0


def test_stored_false_and_duplicate_entries_do_not_count() -> None:
    dirty = sparse.csr_array((np.array([True, False]), np.array([0, 1]), np.array([0, 2])), (1, 2))
    clean = sparse.csr_array(np.array([[True, False]]))
    counts = count_by_tag(dirty, clean)
    assert counts.predicted.tolist() == [1, 0]
    assert count_by_image(dirty, clean).errors.tolist() == [0]


def test_precision_recall_and_f_of_known_counts() -> None:
    counts = Counts(hits=np.array([3]), predicted=np.array([4]), positives=np.array([6]))
    assert precision(counts)[0] == 0.75
    assert recall(counts)[0] == 0.5
    assert f_beta(counts, 1.0)[0] == pytest.approx(0.6)
    assert f_beta(counts, 2.0)[0] == pytest.approx(5 * 0.75 * 0.5 / (4 * 0.75 + 0.5))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(TagstackError, match=r"shape \(n_images, n_tags\) = \(2, 3\), got \(2, 2\)"):
        decision_scores(*both(np.ones((2, 2), bool), np.ones((2, 3), bool)), beta=1.0)


def test_ten_thousand_images_and_tags_take_seconds(make_sparse: Callable[..., Any]) -> None:
    labels = make_sparse(10_000, 10_861, 20, seed=0)
    decided = make_sparse(10_000, 10_861, 20, seed=1)
    found = decision_scores(decided, labels, beta=1.0)
    assert 0 < found.micro_f < 0.05


def test_scores_equal_torchmetrics() -> None:
    torch = pytest.importorskip("torch", reason="torchmetrics, a second reference, needs torch")
    classification = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(0)
    labels = rng.random((200, 6)) < np.linspace(0.5, 0.05, 6)
    labels[0] = True
    proba = np.clip(labels * 0.4 + rng.random((200, 6)) * 0.7, 0, 1)
    decided = proba >= 0.5
    found = decision_scores(*both(decided, labels), beta=2.0)
    ours, true = torch.tensor(decided.astype(int)), torch.tensor(labels.astype(int))

    def score(name: str, **options: Any) -> float:
        return float(getattr(classification, f"multilabel_{name}")(ours, true, 6, **options))

    for average in ("micro", "macro", "weighted"):
        for name, theirs in (("precision", "precision"), ("recall", "recall")):
            assert getattr(found, f"{average}_{name}") == pytest.approx(
                score(theirs, average=average), abs=1e-6
            )
        beta = float(
            classification.multilabel_fbeta_score(
                ours, true, beta=2.0, num_labels=6, average=average
            )
        )
        assert getattr(found, f"{average}_f") == pytest.approx(beta, abs=1e-6)
    assert found.hamming_loss == pytest.approx(score("hamming_distance", average="micro"), abs=1e-6)
    assert found.subset_accuracy == pytest.approx(score("exact_match"), abs=1e-6)
    assert found.micro_mcc == pytest.approx(score("matthews_corrcoef"), abs=1e-6)
    ap = classification.multilabel_average_precision(torch.tensor(proba), true, 6, average="macro")
    indptr = np.arange(0, 200 * 6 + 1, 6, dtype=np.int64)
    pairs = Pairs(indptr=indptr, tag=np.tile(np.arange(6, dtype=np.int32), 200), n_tags=6)
    own = average_precision(
        PairProba(
            pairs=pairs,
            proba=proba.ravel().astype(np.float32),
            base=np.zeros(6, np.float32),
        ),
        sparse.csr_array(labels),
    )
    assert own.mean() == pytest.approx(float(ap), abs=1e-5)
