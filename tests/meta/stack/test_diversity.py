from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tagstack.meta.calibrators.calibration import MemberLogits
from tagstack.meta.stack.foundation import Foundation
from tagstack.meta.stack.groundwork import Ground
from tagstack.meta.stack.member_worth import diversity

Lay = Callable[..., Foundation]


def of(laid: Foundation) -> Any:
    return diversity(laid.ground, laid.data.scores, laid.fitter.truth)


def test_copies_never_disagree_and_noise_does(lay: Lay) -> None:
    laid = lay(n_images=300, noise=(1.0, 1.0, 30.0))
    listed, base = laid.ground.members.listed, laid.ground.members.base
    listed[1], base[1] = listed[0], base[0]
    found = of(laid)
    assert found.members == ("member_0", "member_1", "member_2")
    np.testing.assert_array_equal(found.disagreement, found.disagreement.T)
    np.testing.assert_array_equal(np.diag(found.disagreement), 0)
    assert found.disagreement[0, 1] == 0
    assert found.q_statistic[0, 1] == 1
    assert found.disagreement[0, 2] > 0.1
    assert found.q_statistic[0, 2] < 0.9


def test_it_counts_what_a_loop_counts(lay: Lay) -> None:
    """Two members, decisions written out by hand from the definition of the plug-in cut."""
    laid = lay(n_images=60, n_tags=3, noise=(2.0, 3.0))
    pairs, members = laid.pairs, laid.ground.members
    right: list[list[bool]] = []
    for m in range(2):
        dense = np.tile(members.base[m], (60, 1))
        dense[pairs.image, pairs.tag] = members.listed[m]
        proba = (1 / (1 + np.exp(-dense))).astype(np.float32).astype(np.float64)
        right.append([])
        cuts = [_cut(proba[:, t]) for t in range(3)]
        for row in laid.ground.rows:
            image, tag = pairs.image[row], pairs.tag[row]
            tagged = proba[image, tag] >= cuts[tag] - 1e-9
            right[m].append(bool(tagged) == bool(laid.fitter.truth.listed[row]))
    a, b = np.array(right)
    n11, n00, n10, n01 = (a & b).sum(), (~a & ~b).sum(), (a & ~b).sum(), (~a & b).sum()
    found = of(laid)
    assert found.disagreement[0, 1] == pytest.approx((n10 + n01) / len(a))
    q = (n11 * n00 - n10 * n01) / (n11 * n00 + n10 * n01)
    assert found.q_statistic[0, 1] == pytest.approx(q)


def _cut(proba: np.ndarray) -> float:
    p = np.sort(proba)[::-1]
    return float(max(2 * p[: k + 1].sum() / (k + 1 + p.sum()) for k in range(len(p))) / 2)


def test_pairs_that_one_of_two_does_not_know_are_left_out(lay: Lay) -> None:
    laid = lay(n_images=100, noise=(1.0, 2.0))
    laid.data.scores.knows[1, :] = False
    members = laid.ground.members
    silent = MemberLogits(
        listed=np.stack([members.listed[0], np.full(len(laid.pairs), np.nan)]),
        base=np.stack([members.base[0], np.full(12, np.nan)]),
    )
    ground = Ground(
        members=silent, listed=laid.ground.listed, base=laid.ground.base,
        rows=laid.ground.rows, table=laid.ground.table,
    )  # fmt: skip
    found = diversity(ground, laid.data.scores, laid.fitter.truth)
    assert np.isnan(found.disagreement[0, 1])
    assert np.isnan(found.q_statistic[0, 1])
    assert found.disagreement[0, 0] == 0
