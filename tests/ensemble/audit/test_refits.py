"""What fits without something do to kinds of images, from what they decide."""

import numpy as np
import pytest
from scipy import sparse

from tagstack.ensemble.audit.certainty import Certainty
from tagstack.ensemble.audit.refits import MEMBER, Arm, Truth, refits_of
from tagstack.ensemble.audit.slices import COLUMN, Slice
from tagstack.meta.metrics.bootstrap import BETTER, UNDECIDED, WORSE

SURE = Certainty(resamples=300, seed=0, confidence=0.95, false_discovery_rate=0.05)


def test_who_loses_and_who_gains_without_a_tagger_is_told_by_slice() -> None:
    n, rng = 200, np.random.default_rng(0)
    labels = rng.random((n, 5)) < 0.4
    whole = labels ^ (rng.random((n, 5)) < 0.2)
    drawn = np.arange(n) < n // 2
    # Without it drawings are told rightly, and photographs worse than with it.
    without = np.where(drawn[:, None], labels, labels ^ (rng.random((n, 5)) < 0.4))
    slices = tuple(
        Slice(kind=COLUMN, column="style", value=name, images=images)
        for name, images in (("drawn", drawn), ("photo", ~drawn), ("same", np.arange(n) < 0))
    )
    arm = Arm(
        left_out=MEMBER,
        without="doll",
        slices=slices,
        decided=sparse.csr_array(without),
        n_fitted=170,
    )
    still = Arm(
        left_out=MEMBER,
        without="other",
        slices=slices[:1],
        decided=sparse.csr_array(whole),
        n_fitted=n,
    )
    truth = Truth(
        labels=sparse.csr_array(labels),
        unknown=sparse.csr_array((n, 5), dtype=bool),
        groups=np.arange(n) // 2,
    )
    gain, loss, none, same = refits_of(sparse.csr_array(whole), [arm, still], truth, SURE)
    assert (gain.verdict, loss.verdict) == (BETTER, WORSE)
    assert (gain.after, gain.n_images, gain.n_groups) == (1.0, 100, 50)
    assert (gain.left_out, gain.without, gain.n_fitted, same.n_fitted) == (MEMBER, "doll", 170, n)
    assert gain.low <= gain.difference <= gain.high
    assert gain.difference == pytest.approx(gain.after - gain.before)
    assert (none.n_images, same.difference) == (0, 0)
    assert {none.verdict, same.verdict} == {UNDECIDED}


def test_nothing_asked_is_nothing_found() -> None:
    empty = sparse.csr_array((3, 2), dtype=bool)
    truth = Truth(labels=empty, unknown=empty, groups=np.arange(3))
    assert refits_of(empty, [], truth, SURE) == ()
