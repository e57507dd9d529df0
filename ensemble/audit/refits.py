"""What a fit is worth to kinds of images, told by fits without some of what it had.

Without one style's labels: how well do the others teach it? Without one tagger: which kinds of
images would lose, and which gain? Every image is judged by models that saw neither it nor its
group, and both fits are made alike, so that only what was left out differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.ensemble.audit.certainty import Certainty
from tagstack.ensemble.audit.slices import Slice
from tagstack.meta.labels.truth import known_labels
from tagstack.meta.metrics.bootstrap import Weightings, groups_behind
from tagstack.meta.metrics.counts import count_by_image, f_score
from tagstack.meta.metrics.tag_tests import compare_tags

Floats = NDArray[np.float64]

VALUE, MEMBER = "value", "member"  # what a fit went without


@dataclass(frozen=True, kw_only=True)
class Refit:
    """A slice's F1 with everything, and with one thing left out of the fit.

    ``without`` is the value of the slice's own column whose labels no model saw, or the tagger that
    was not there; ``left_out`` says which of both. ``before`` is F1 of the whole fit, out of fold,
    ``after`` that without; ``difference`` is after minus before, ``q_value`` is adjusted over all
    rows of one kind. ``n_fitted`` is how many images the fit without it learnt from.
    """

    left_out: str
    without: str
    kind: str
    column: str
    value: str
    n_images: int
    n_groups: int
    n_fitted: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    q_value: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What a fit without something decides, and where that is looked at.

    Parameters
    ----------
    left_out : {"value", "member"}
    without : str
    slices : tuple of Slice
        Of images.
    decided : csr_array of shape (n_images, n_tags), bool
    n_fitted : int
    """

    left_out: str
    without: str
    slices: tuple[Slice, ...]
    decided: sparse.csr_array
    n_fitted: int


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What holds on the images, and their groups."""

    labels: sparse.csr_array
    unknown: sparse.csr_array
    groups: NDArray[np.integer]

    def counts(self, decided: sparse.csr_array) -> Floats:
        """Return hits, given and true tags of each image, shape (3, n_images), float64."""
        own = count_by_image(known_labels(decided, self.unknown), self.labels)
        return np.stack([own.hits, own.predicted, own.positives]).astype(np.float64)


def refits_of(
    whole: sparse.csr_array,
    arms: Sequence[Arm],
    truth: Truth,
    certainty: Certainty,
) -> tuple[Refit, ...]:
    """Return what every arm does to each of its slices, arms of one kind corrected together.

    Parameters
    ----------
    whole : csr_array of shape (n_images, n_tags), bool
        What the fit with everything decides, out of fold.
    arms : sequence of Arm
        All of one kind.
    truth : Truth
    certainty : Certainty
    """
    places = [(arm, one) for arm in arms for one in arm.slices]
    if not places:
        return ()
    weightings = certainty.weightings(truth.groups)
    before, theirs = truth.counts(whole), {id(arm): truth.counts(arm.decided) for arm in arms}
    rows, n_groups = [], []
    for arm, one in places:
        images = np.ones(len(truth.groups), bool) if one.images is None else one.images
        after = theirs[id(arm)]
        n_groups.append(groups_behind(np.abs(after - before).sum(axis=0) * images, truth.groups))
        rows.append([_f1(own * images, weightings) for own in (before, after)])
    tests = compare_tags(
        np.stack([own[1] for own in rows]).astype(np.float32),
        np.stack([own[0] for own in rows]).astype(np.float32),
        np.array(n_groups),
        confidence=certainty.confidence,
        false_discovery_rate=certainty.false_discovery_rate,
        freedom=np.array(n_groups) - 1,
    )
    return tuple(
        Refit(
            left_out=arm.left_out,
            without=arm.without,
            kind=one.kind,
            column=one.column,
            value=one.value,
            n_images=len(truth.groups) if one.images is None else int(one.images.sum()),
            n_groups=len(
                np.unique(truth.groups if one.images is None else truth.groups[one.images])
            ),
            n_fitted=arm.n_fitted,
            before=float(rows[i][0][0]),
            after=float(rows[i][1][0]),
            difference=float(tests.difference[i]),
            low=float(tests.low[i]),
            high=float(tests.high[i]),
            q_value=float(tests.q_value[i]),
            verdict=tests.verdict[i],
        )
        for i, (arm, one) in enumerate(places)
    )


def _f1(counts: Floats, weightings: Weightings) -> Floats:
    sums = [counts @ weights.astype(np.float64) for weights in weightings.blocks()]
    hits, given, true = np.concatenate(sums, axis=1)
    return f_score(hits, given, true, 1.0)
