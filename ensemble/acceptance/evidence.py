"""What labels say of proposed tags: which are wrong, and which nobody can judge."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import ks_2samp

from tagstack.ensemble.acceptance.conformal import Wrongs
from tagstack.ensemble.acceptance.proposals import Proposals
from tagstack.ensemble.bundle.fitted_labels import FittedLabels

_MOSTLY = 0.5  # an image of which more proposals than this are unknown was not labelled as a whole
_CHANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class LabelledProposals:
    """Proposed tags of labelled images, judged.

    Parameters
    ----------
    wrongs : Wrongs
        Unknown pairs count as wrong.
    judged : array of shape (n_tags,), bool
        Tags that may be accepted at all.
    typical : array of shape (n_images,), float64
        Mean sureness of each image's proposals.
    n_images, n_proposals, n_wrong : int
        After leaving out images and tags that cannot be judged.
    n_left_out : int
        Images whose labels are mostly unknown.
    """

    wrongs: Wrongs
    judged: NDArray[np.bool_]
    typical: NDArray[np.float64]
    n_images: int
    n_proposals: int
    n_wrong: int
    n_left_out: int

    @classmethod
    def of(
        cls, proposals: Proposals, truth: FittedLabels, ancestors: sparse.csr_array, rate: float
    ) -> "LabelledProposals":
        """Return the judged proposals.

        A tag of which a larger share than ``rate`` of proposals is unknown cannot be judged, and
        no tag that implies it can be accepted without it.

        Parameters
        ----------
        proposals : Proposals
            Of the labelled images, from models that had not seen them.
        truth : FittedLabels
        ancestors : sparse array of shape (n_tags, n_tags), bool
            What each tag implies.
        rate : float, in (0, 1)
        """
        unknown = proposals.holds(truth.unknown)
        whole = _labelled_as_a_whole(proposals, unknown)
        proposals, unknown = (
            proposals.take(whole[proposals.image]),
            unknown[whole[proposals.image]],
        )
        judged = _judged_tags(proposals.tag, unknown, ancestors, rate)
        proposals = proposals.take(judged[proposals.tag])
        wrong = ~proposals.holds(truth.labels)  # what is unknown is not among them either
        kept = np.flatnonzero(whole)
        place = np.cumsum(whole) - 1
        return cls(
            wrongs=Wrongs.of(
                proposals.sureness[wrong], place[proposals.image[wrong]], truth.groups[kept]
            ),
            judged=judged,
            typical=typical_sureness(proposals),
            n_images=len(kept),
            n_proposals=len(proposals),
            n_wrong=int(wrong.sum()),
            n_left_out=int((~whole).sum()),
        )


def typical_sureness(proposals: Proposals) -> NDArray[np.float64]:
    """Return the mean sureness of each image that has a proposal, shape (n_such_images,)."""
    counts = np.bincount(proposals.image, minlength=proposals.n_images)
    totals = np.bincount(proposals.image, proposals.sureness, proposals.n_images)
    return np.asarray(totals[counts > 0] / counts[counts > 0], np.float64)


def distance(labelled: NDArray[np.float64], batch: NDArray[np.float64]) -> float:
    """Return Kolmogorov's distance of two samples; 0 where chance explains it."""
    if not (len(labelled) and len(batch)):
        return 0.0
    found = ks_2samp(labelled, batch)
    return float(found.statistic) if found.pvalue < _CHANCE else 0.0


def _labelled_as_a_whole(proposals: Proposals, unknown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    counts = np.bincount(proposals.image, minlength=proposals.n_images)
    lacking = np.bincount(proposals.image, unknown, proposals.n_images)
    return np.asarray(lacking <= _MOSTLY * counts)


def _judged_tags(
    tag: NDArray[np.int64],
    unknown: NDArray[np.bool_],
    ancestors: sparse.csr_array,
    rate: float,
) -> NDArray[np.bool_]:
    n_tags = ancestors.shape[0]
    barred = np.bincount(tag, unknown, n_tags) > rate * np.bincount(tag, minlength=n_tags)
    return np.asarray(~(barred | (ancestors @ barred.astype(np.int64) > 0)))
