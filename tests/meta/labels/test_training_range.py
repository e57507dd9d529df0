"""A member trained on the images at hand is noticed, and what it remembers is measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import average_precision_score

from tagstack.base_models.contract import Training
from tagstack.meta.labels.training_range import (
    NO_ID,
    image_ids,
    inside_range,
    training_overlaps,
)
from tagstack.meta.labels.truth import Evidence

MakeLabelled = Callable[..., Any]

WD = Training(ids="mod 1000 in 0-899", last_id=7_220_105, modulus=1000, remainders=(0, 899))


def test_ids_come_from_the_column_or_from_a_file_name_that_is_a_number() -> None:
    names = ["123.jpg", "sub/0042.png", "a1.png", "7.webp", "²3.png", "9" * 30 + ".png"]
    assert image_ids(names, None).tolist() == [123, 42, NO_ID, 7, NO_ID, NO_ID]
    column = ["5", "", "x", "8", "", ""]
    assert image_ids(names, column).tolist() == [5, 42, NO_ID, 8, NO_ID, NO_ID]


def test_a_range_is_read_as_the_contract_says() -> None:
    ids = np.array([899, 900, 999, 1000, 7_220_105, 7_221_000, NO_ID])
    assert inside_range(WD, ids).tolist() == [  # type: ignore[union-attr]
        True, False, False, True, True, False, False,
    ]  # fmt: skip
    until = Training(ids="up to 900", last_id=900)
    assert inside_range(until, ids).tolist() == [True, True] + [False] * 5  # type: ignore[union-attr]
    assert inside_range(Training(ids="which ids was not published"), ids) is None
    assert inside_range(None, ids) is None


def planted(make_labelled: MakeLabelled, remembers: float) -> tuple[Any, Any]:
    """Two members; the first knows images with ids below 300 better by ``remembers`` logits."""
    data = make_labelled(n_images=600, n_tags=8, noise=(2.0, 2.0))
    pairs, truth = data.scores.pairs, data.labels.toarray()
    sign = np.where(truth[pairs.image, pairs.tag], 1.0, -1.0)
    data.scores.logit[0] += (remembers * sign * (pairs.image < 300)).astype(np.float32)
    overlaps = training_overlaps(
        data.scores,
        Evidence.of(data.labels),
        data.groups,
        np.arange(600),
        [Training(ids="below 300", last_id=299), None],
        seed=0,
    )
    return data, overlaps


def test_a_planted_leak_is_measured_and_said(make_labelled: MakeLabelled) -> None:
    _, overlaps = planted(make_labelled, 2.0)
    assert [overlap.member for overlap in overlaps] == ["member_0"]
    found = overlaps[0]
    assert (found.n_ids, found.n_inside) == (600, 300)
    assert found.micro_ap is not None
    assert found.log_loss is not None
    assert found.micro_ap.low > 0.05
    assert found.log_loss.high < 0
    assert "better inside" in found.notice
    assert "300 of 600 images with known ids lie inside its training range" in found.notice


def test_without_a_leak_no_lead_is_claimed(make_labelled: MakeLabelled) -> None:
    _, overlaps = planted(make_labelled, 0.0)
    assert overlaps[0].micro_ap is not None
    assert overlaps[0].micro_ap.low <= 0 <= overlaps[0].micro_ap.high
    assert "no clear lead inside" in overlaps[0].notice


def test_the_score_is_scikit_learn_s_over_all_pairs(make_labelled: MakeLabelled) -> None:
    data, overlaps = planted(make_labelled, 1.0)
    logit = np.full((600, 8), float(data.scores.floor[0]))
    logit[data.scores.pairs.image, data.scores.pairs.tag] = data.scores.logit[0]
    truth, lead = data.labels.toarray(), overlaps[0].micro_ap
    for side, value in ((slice(0, 300), lead.inside), (slice(300, 600), lead.outside)):
        # Pairs that are not listed rank last: up to their true ones, the curves are the same.
        expected = average_precision_score(truth[side].ravel(), logit[side].ravel())
        assert value == pytest.approx(expected, abs=2e-3)
    loss = np.logaddexp(0, np.where(truth, -logit, logit))
    listed = np.zeros_like(truth)
    listed[data.scores.pairs.image, data.scores.pairs.tag] = True
    counted = np.where(listed | truth, loss, 0.0).sum(axis=1)
    assert overlaps[0].log_loss.inside == pytest.approx(counted[:300].mean())


def test_too_few_images_on_one_side_are_only_counted(make_labelled: MakeLabelled) -> None:
    data = make_labelled(n_images=100)
    overlaps = training_overlaps(
        data.scores,
        Evidence.of(data.labels),
        data.groups,
        np.arange(100),
        [Training(ids="below 10", last_id=9), Training(ids="none", last_id=0), None],
        seed=0,
    )
    assert [overlap.n_inside for overlap in overlaps] == [10, 1]
    assert overlaps[0].micro_ap is None
    assert "too few images on one side to measure it" in overlaps[0].notice


def test_unknown_pairs_do_not_count(make_labelled: MakeLabelled) -> None:
    data = make_labelled(n_images=200, n_tags=6)
    labels = data.labels.toarray()
    unknown = np.zeros_like(labels)
    unknown[:, 2:4] = True
    garbage = labels ^ (unknown & (np.random.default_rng(0).random(labels.shape) < 0.5))
    results = [
        training_overlaps(
            data.scores,
            Evidence.of(sparse.csr_array(truth), sparse.csr_array(unknown)),
            data.groups,
            np.arange(200),
            [Training(ids="below 100", last_id=99), None, None],
            seed=0,
        )
        for truth in (labels, garbage)
    ]
    assert results[0] == results[1]
