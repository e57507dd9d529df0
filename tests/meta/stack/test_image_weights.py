"""Images that count more: as copies of them would in every fit, and nowhere else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.stack.groundwork import Groundwork, Strengths
from tagstack.meta.stack.groundwork_fits import fit_groundworks
from tagstack.meta.stack.stacker import Stacker

STRENGTHS = Strengths(calibration=100.0, logistic=300.0)


def test_the_groundwork_of_weighted_images_is_that_of_copies(
    make_labelled: Callable[..., Any], stack_settings: Callable[..., StackSettings]
) -> None:
    made, settings = make_labelled(60), stack_settings()
    times = np.random.default_rng(1).integers(1, 4, made.scores.n_images)
    copied = np.repeat(np.arange(made.scores.n_images), times)

    def work(scores: Any, evidence: Evidence) -> Groundwork:
        alike = np.zeros(scores.n_images, np.int64)
        return fit_groundworks(scores, evidence, alike, [None], STRENGTHS, settings)[0]

    one = work(made.scores, Evidence.of(made.labels, image_weight=times.astype(float)))
    other = work(made.scores.take(copied), Evidence.of(made.labels[copied]))
    plain = work(made.scores, Evidence.of(made.labels))
    np.testing.assert_allclose(one.logistic.theta, other.logistic.theta, atol=1e-6)
    np.testing.assert_allclose(one.statistics.prior, other.statistics.prior)
    np.testing.assert_allclose(one.statistics.skill, other.statistics.skill)
    relations = TagRelations.none(len(made.scores.vocabulary))
    said = [own.apply(made.scores, relations, settings).listed for own in (one, other, plain)]
    np.testing.assert_allclose(said[0], said[1], atol=1e-4)
    assert np.abs(said[0] - said[2]).max() > 0.01


def test_a_stack_learns_otherwise_where_images_weigh_otherwise_and_judges_all_alike(
    make_labelled: Callable[..., Any], stack_settings: Callable[..., StackSettings]
) -> None:
    made = make_labelled(60)
    n = made.scores.n_images
    relations = TagRelations.none(len(made.scores.vocabulary))

    def fitted(weight: Any) -> Stacker:
        stacker = Stacker(stack_settings(learners=()), seed=0, threads=1)
        args = made.scores, made.labels, made.groups, relations
        return stacker.fit(*args, image_weight=weight)

    plain, alike = fitted(None), fitted(np.ones(n))
    uneven = fitted(np.where(np.arange(n) < n // 2, 0.2, 1.8))
    rung = "shrunken_logistic"
    np.testing.assert_allclose(
        plain.out_of_fold(rung).proba, alike.out_of_fold(rung).proba, atol=1e-6
    )
    moved = np.abs(plain.out_of_fold(rung).proba - uneven.out_of_fold(rung).proba)
    assert moved.max() > 0.02
    # A rung that learns nothing is judged the same.
    assert _judged(plain, "mean") == _judged(uneven, "mean")


def _judged(stacker: Stacker, rung: str) -> float:
    return next(row for row in stacker.ladder_ if row.rung == rung).macro_ap


@pytest.mark.parametrize("weight", [np.ones(3), np.zeros(60), np.full(60, np.nan)])
def test_weights_that_are_none_are_refused(
    weight: Any, make_labelled: Callable[..., Any], stack_settings: Callable[..., StackSettings]
) -> None:
    made = make_labelled(60)
    relations = TagRelations.none(len(made.scores.vocabulary))
    stacker = Stacker(stack_settings(), seed=0, threads=1)
    with pytest.raises(TagstackError, match="Expected 60 weights of images above 0"):
        stacker.fit(made.scores, made.labels, made.groups, relations, image_weight=weight)
