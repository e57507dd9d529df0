"""What a share of macro F-beta costs in micro: against a loop over folds written by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import f1_score

from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.ensemble.thresholds.frontier import frontier


def test_points_are_what_left_out_folds_get(
    draw: Callable[..., Any], settings_with: Callable[..., Any]
) -> None:
    """Without fbr joint_f reads no label: thresholds of all images are those of each fold."""
    made, folds = draw(0, 600, 6), np.arange(600) % 3
    settings = settings_with(strategy="joint_f", frontier=(0.0, 1.0), macro_share=0.5)
    told: list[tuple[int, int]] = []
    found = frontier(
        made.proba, made.matrix, made.vocabulary, folds, settings,
        told=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert found is not None
    assert [point.macro_share for point in found.points] == [0.0, 0.5, 1.0]
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]
    for point in found.points:
        share = settings.model_copy(update={"macro_share": point.macro_share})
        table = fit_thresholds(made.proba, made.matrix, made.vocabulary, folds, share)
        decided = table.cutting.decided(made.proba).toarray()
        for average, value in (("macro", point.macro_f), ("micro", point.micro_f)):
            assert f1_score(made.labels, decided, average=average) == pytest.approx(value, abs=0.01)
        assert decided.sum(1).mean() == pytest.approx(point.tags_per_image, abs=0.05)
    one = settings_with(strategy="one_threshold", average="micro")
    parts = []
    for fold in range(3):
        rest, own = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        table = fit_thresholds(
            made.proba.take(rest), sparse.csr_array(made.labels[rest]), made.vocabulary,
            folds[rest], one,
        )  # fmt: skip
        parts.append((own, table.cutting.decided(made.proba.take(own)).toarray()))
    decided = np.zeros_like(made.labels)
    for own, part in parts:
        decided[own] = part
    assert f1_score(made.labels, decided, average="micro") == pytest.approx(
        found.one_threshold.micro_f
    )


def test_no_strategy_without_a_share_and_nobody_who_does_not_ask_has_one(
    draw: Callable[..., Any], settings_with: Callable[..., Any]
) -> None:
    made, folds = draw(0, 60, 2), np.arange(60) % 2
    for changes in ({"strategy": "scut"}, {"strategy": "joint_f", "frontier": ()}):
        settings = settings_with(**changes)
        assert frontier(made.proba, made.matrix, made.vocabulary, folds, settings) is None
