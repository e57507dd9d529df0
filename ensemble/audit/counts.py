"""What is counted of some tags on each image, and the figures that such counts give."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.meta.labels.truth import pair_labels
from tagstack.meta.metrics.counts import canonical, f_score, ratio
from tagstack.meta.metrics.left_out import is_left_out, without

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

COUNTED = ("hits", "given", "true", "excess", "pairs")
FIGURES = ("precision", "recall", "f1", "tagging", "calibration")


def figures_of(sums: NDArray[np.floating]) -> Floats:
    """Return the figures of counts, shape (n_figures, ...) as in `FIGURES`.

    NaN where a figure is undefined.

    Parameters
    ----------
    sums : array of shape (n_counted, ...), float
        As in `COUNTED`.
    """
    hits, given, true, excess, pairs = sums
    return np.stack(
        [
            ratio(hits, given),
            ratio(hits, true),
            f_score(hits, given, true, 1.0),
            ratio(given - true, given + true),
            ratio(excess, pairs),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class JudgedPairs:
    """What holds, what is given and how sure one was of it; unknown pairs are in none of it.

    Parameters
    ----------
    given, true, hits : csr_array of shape (n_images, n_tags), bool
    image, tag : array of shape (n_pairs,), int32
        The listed pairs whose truth is known.
    gap : array of shape (n_pairs,), float32
        Probability minus truth.
    """

    given: sparse.csr_array
    true: sparse.csr_array
    hits: sparse.csr_array
    image: NDArray[np.int32]
    tag: NDArray[np.int32]
    gap: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        proba: PairProba,
        decided: sparse.csr_array,
        labels: sparse.csr_array,
        unknown: sparse.csr_array,
    ) -> "JudgedPairs":
        """Return the judged pairs of some images.

        Parameters
        ----------
        proba : PairProba
        decided, labels, unknown : csr_array of shape (n_images, n_tags), bool
        """
        shape = (proba.pairs.n_images, proba.pairs.n_tags)
        decided, labels = canonical(decided, shape), canonical(labels, shape)
        given = canonical(sparse.csr_array(decided > decided.multiply(unknown)))
        judged = without(proba, unknown)
        kept = ~(is_left_out(judged.proba) | np.isnan(judged.proba))
        gap = judged.proba[kept] - pair_labels(judged.pairs, labels)[kept]
        return cls(
            given=given,
            true=labels,
            hits=canonical(given.multiply(labels)),
            image=judged.pairs.image[kept],
            tag=judged.pairs.tag[kept],
            gap=gap.astype(np.float32),
        )

    def counts(self, tags: Bools | None = None) -> Floats:
        """Return the sums of each image over some tags, shape (n_counted, n_images).

        Parameters
        ----------
        tags : array of shape (n_tags,), bool, optional
            All tags by default.
        """
        n_images, n_tags = self.true.shape
        chosen = np.ones(n_tags) if tags is None else tags.astype(np.float64)
        inside = chosen[self.tag]
        return np.stack(
            [
                *(matrix.astype(np.float64) @ chosen for matrix in (self.hits, self.given)),
                self.true.astype(np.float64) @ chosen,
                np.bincount(self.image, self.gap * inside, n_images),
                np.bincount(self.image, inside, n_images),
            ]
        )

    def evidence(self) -> NDArray[np.int64]:
        """Return on how many images each tag is given or true, shape (n_tags,), int64."""
        either = sparse.csr_array(self.given + self.true)
        return np.bincount(either.indices, minlength=self.true.shape[1]).astype(np.int64)
