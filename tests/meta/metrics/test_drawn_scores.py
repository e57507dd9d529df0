from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tagstack.meta.metrics.fold_scores import DrawnScorer, FoldScorer
from tagstack.meta.stack.foundation import Foundation

Lay = Callable[..., Foundation]


def counts(laid: Foundation) -> np.ndarray[Any, Any]:
    return np.diff(laid.pairs.indptr)


def test_all_images_are_scored_where_they_hold_no_more(lay: Lay) -> None:
    laid = lay(n_images=90)
    drawn = DrawnScorer(laid.data, counts(laid), int(counts(laid).sum()), seed=0)
    assert drawn.whole
    assert drawn.images.tolist() == list(range(90))
    proba = laid.rungs.proba("caruana")
    found = drawn.score(proba, "balanced_ap")
    np.testing.assert_array_equal(
        found.values, laid.judges.scorer.score(proba, "balanced_ap").values
    )


def test_drawn_images_are_scored_like_a_set_of_their_own(lay: Lay) -> None:
    laid = lay(n_images=200)
    drawn = DrawnScorer(laid.data, counts(laid), int(counts(laid).sum() // 3), seed=0)
    assert not drawn.whole
    assert 50 < len(drawn.images) < 80
    data = laid.data.take(drawn.images)
    pairs = data.scores.pairs
    alone = FoldScorer(pairs, data.evidence.truth(pairs), data.evidence, data.folds, data.groups)
    proba = laid.rungs.proba("caruana")
    own = replace(proba, pairs=pairs, proba=proba.proba[laid.pairs.rows(drawn.images)])
    expected = alone.judgement(own, "balanced_ap")
    found = drawn.judgement(proba, "balanced_ap")
    np.testing.assert_array_equal(found.objective.values, expected.objective.values)
    np.testing.assert_array_equal(found.objective.influence, expected.objective.influence)
    # Fewer images say less, and the error knows it.
    assert found.micro_ap.error > laid.judges.judgement(proba, "balanced_ap").micro_ap.error


def test_pairs_are_found_again_among_those_of_the_drawn_images(lay: Lay) -> None:
    laid = lay(n_images=200)
    drawn = DrawnScorer(laid.data, counts(laid), int(counts(laid).sum() // 3), seed=0)
    rows = laid.ground.rows
    image, tag = laid.pairs.image, laid.pairs.tag
    wanted = [(image[r], tag[r]) for r in rows if image[r] in set(drawn.images)]
    at = drawn.places(rows)
    pairs = drawn.scorer.pairs
    assert [(drawn.images[pairs.image[p]], pairs.tag[p]) for p in at] == wanted
    assert laid.judges.places(rows) is rows


def test_a_draw_without_some_fold_is_not_used(lay: Lay) -> None:
    laid = lay(n_images=90)
    assert DrawnScorer(laid.data, counts(laid), 1, seed=0).whole


def test_scores_of_a_draw_are_near_those_of_all(lay: Lay) -> None:
    laid = lay(n_images=600)
    drawn = DrawnScorer(laid.data, counts(laid), int(counts(laid).sum() // 2), seed=1)
    proba = laid.rungs.proba("caruana")
    some, every = (s.judgement(proba, "balanced_ap").micro_ap for s in (drawn, laid.judges.scorer))
    assert some.mean == pytest.approx(every.mean, abs=4 * some.error)
