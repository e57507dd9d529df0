"""The tags that rules and thresholds leave, with how sure each is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.deciding import Cutting


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """The final tags of some images, by image, then by tag.

    Parameters
    ----------
    image, tag : arrays of shape (n_proposals,), int64
    proba : array of shape (n_proposals,), float64, in [0, 1]
        Of the tag itself; 0 where nobody scored it.
    sureness : array of shape (n_proposals,), float64, in [0, 1]
        The largest probability among the tag and those of the image's tags that imply it: a tag
        is as sure as its surest reason, so whatever is accepted takes along what it implies.
    n_images : int
    """

    image: NDArray[np.int64]
    tag: NDArray[np.int64]
    proba: NDArray[np.float64]
    sureness: NDArray[np.float64]
    n_images: int

    def __len__(self) -> int:
        return len(self.tag)

    @classmethod
    def of(cls, proba: PairProba, cutting: Cutting, decoder: Decoder) -> "Proposals":
        """Return what the thresholds and the rules leave of some probabilities.

        Parameters
        ----------
        proba : PairProba
        cutting : Cutting
            The thresholds in use.
        decoder : Decoder
        """
        decided = cutting.decoded(proba, decoder)
        decided.sort_indices()
        image = np.repeat(np.arange(decided.shape[0], dtype=np.int64), np.diff(decided.indptr))
        tag = decided.indices.astype(np.int64)
        value = _proba_at(proba, image, tag)
        return cls(
            image=image,
            tag=tag,
            proba=value,
            sureness=_surest(image, tag, value, decoder.rules.ancestors),
            n_images=proba.pairs.n_images,
        )

    def take(self, kept: NDArray[np.bool_]) -> "Proposals":
        """Return some of them; images keep their numbers."""
        return Proposals(
            image=self.image[kept],
            tag=self.tag[kept],
            proba=self.proba[kept],
            sureness=self.sureness[kept],
            n_images=self.n_images,
        )

    def holds(self, matrix: sparse.csr_array) -> NDArray[np.bool_]:
        """Return whether a matrix of shape (n_images, n_tags), bool, holds each of them."""
        n_tags = matrix.shape[1]
        rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
        return np.isin(self.image * n_tags + self.tag, rows * n_tags + matrix.indices)


def _proba_at(
    proba: PairProba, image: NDArray[np.int64], tag: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the probability of chosen pairs; 0 where there is none."""
    pairs = proba.pairs
    listed = pairs.image.astype(np.int64) * pairs.n_tags + pairs.tag
    wanted = image * pairs.n_tags + tag
    place = np.searchsorted(listed, wanted)
    there = place < len(listed)
    there[there] = listed[place[there]] == wanted[there]
    value = proba.base[tag].astype(np.float64)
    value[there] = proba.proba[place[there]]
    return np.nan_to_num(value, nan=0.0)


def _surest(
    image: NDArray[np.int64],
    tag: NDArray[np.int64],
    value: NDArray[np.float64],
    ancestors: sparse.csr_array,
) -> NDArray[np.float64]:
    """Return the largest value among each tag and the image's tags that imply it."""
    n_tags = ancestors.shape[0]
    counts = np.diff(ancestors.indptr)[tag]
    starts = np.repeat(ancestors.indptr[tag] - np.cumsum(counts) + counts, counts)
    above = ancestors.indices[starts + np.arange(counts.sum())]
    key = image * n_tags + tag
    implied = np.repeat(image, counts) * n_tags + above
    place = np.searchsorted(key, implied)
    there = place < len(key)
    there[there] = key[place[there]] == implied[there]
    surest = value.copy()
    np.maximum.at(surest, place[there], np.repeat(value, counts)[there])
    return surest
