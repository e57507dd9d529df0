"""How many of a batch's tags may go unseen: conformal p-values and Benjamini-Hochberg.

A proposed tag's p-value says how often wrong tags as sure as this one turned up on labelled
images, an image on average; the labelled groups, not their images, are what was drawn:

    p = images of the batch / tags of the batch
        * (tags of this image that are as sure + labelled groups * wrong tags as sure an image)
        / (labelled groups + 1)

Wrong tags an image are averaged with every group counting once, and with every image counting
once; the larger counts. The first is right for a batch of pictures that are strangers to each
other, the second for one with groups as large as the labelled ones, and copies of what is right
make nothing look better.

The tags of this image stand for the worst case, that all of them are wrong. Where each image
proposes one tag this is the p-value of Jin & Candès, for which Benjamini-Hochberg holds the
expected share of wrong tags among the accepted ones at the level asked for, whatever the scores
are worth, as long as batch and labelled images come from the same source in any order. Tags of
one image are not independent; at a fixed sureness the bound holds whatever their dependence, and
what choosing the sureness from the batch adds is looked at by simulation (benchmarks/accept.py).

References
----------
Jin & Candès (2023), "Selection by prediction with conformal p-values".
Huang et al. (2025), "Conformal labeling", arXiv 2510.14581: wrong labels as calibration.
Benjamini & Hochberg (1995), "Controlling the false discovery rate".
Lee, Barber & Willett (2023), "Distribution-free inference with hierarchical data": groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Wrongs:
    """Wrong tags on labelled images.

    Parameters
    ----------
    sureness : array of shape (n_wrong,), float64, ascending
        How sure each was, in [0, 1].
    by_group : array of shape (n_wrong,), float64
        One over the number of labelled images in its group.
    n_groups, n_images : int
        Labelled ones, those without a wrong tag included.
    """

    sureness: Floats
    by_group: Floats
    n_groups: int
    n_images: int

    @classmethod
    def of(cls, sureness: Floats, image: Ints, groups: Ints) -> "Wrongs":
        """Return the wrong tags of labelled images.

        Parameters
        ----------
        sureness : array of shape (n_wrong,), float64
        image : array of shape (n_wrong,), int64
            Index of each tag's image.
        groups : array of shape (n_images,), int64
            Equal for images that belong together.
        """
        _, own, size = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(sureness, kind="stable")
        weight = 1.0 / size[own[image[order]]] if len(order) else np.empty(0)
        return cls(
            sureness=sureness[order], by_group=weight, n_groups=len(size), n_images=len(groups)
        )

    def as_sure(self, sureness: Floats) -> Floats:
        """Return the wrong tags at least as sure, an image of each labelled group.

        Of the shape of ``sureness``.
        """
        place = np.searchsorted(self.sureness, sureness, side="left")
        groups_alike = np.append(np.cumsum(self.by_group[::-1])[::-1], 0.0)[place]
        share = self.n_groups / max(self.n_images, 1)
        images_alike = (len(self.sureness) - place) * share
        return np.asarray(np.maximum(groups_alike, images_alike))


def p_values(wrongs: Wrongs, sureness: Floats, image: Ints, n_images: int) -> Floats:
    """Return each proposed tag's p-value, shape (n_tags,), in (0, 1].

    Parameters
    ----------
    wrongs : Wrongs
    sureness : array of shape (n_tags,), float64
    image : array of shape (n_tags,), int64
        Index of each tag's image in the batch.
    n_images : int
        Images of the batch, those without a tag included.
    """
    if not len(sureness):
        return np.empty(0)
    worst = _as_sure_in_image(sureness, image)
    found = n_images / len(sureness) * (worst + wrongs.as_sure(sureness)) / (wrongs.n_groups + 1)
    return np.asarray(np.minimum(found, 1.0))


def accepted(p_value: Floats, rate: float) -> NDArray[np.bool_]:
    """Return what Benjamini and Hochberg's step-up accepts, shape (n_tags,), bool.

    Parameters
    ----------
    p_value : array of shape (n_tags,)
    rate : float, in (0, 1)
        Share of wrong tags among the accepted ones that is allowed.
    """
    n_tags = len(p_value)
    ranked = np.sort(p_value)
    low = np.flatnonzero(ranked <= rate * np.arange(1, n_tags + 1) / max(n_tags, 1))
    if not len(low):
        return np.zeros(n_tags, bool)
    return np.asarray(p_value <= ranked[low[-1]])


def _as_sure_in_image(sureness: Floats, image: Ints) -> Ints:
    """Return how many tags of its image are at least as sure as each, itself included."""
    order = np.lexsort((-sureness, image))
    own, value = image[order], sureness[order]
    place = np.arange(len(order))
    first = np.maximum.accumulate(np.where(np.append(True, own[1:] != own[:-1]), place, 0))
    # Equal tags all count the last of them.
    last = np.append((own[1:] != own[:-1]) | (value[1:] != value[:-1]), True)
    end = np.flatnonzero(last)[np.searchsorted(np.flatnonzero(last), place)]
    found = np.empty(len(order), np.int64)
    found[order] = end - first + 1
    return found
