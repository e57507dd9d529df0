"""Cuts of each image's own list of tags: the largest gap (MCut) or the first few (RCut).

They need no labels, and compare the probabilities of one image with each other only.
"""

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.thresholds.curves import Floats

Cuts = NDArray[np.float32]


def image_cuts(name: str, proba: PairProba) -> Cuts:
    """Return the least probability that each image's tags must reach, shape (n_images,).

    Parameters
    ----------
    name : str
        ``"mcut"``, or ``"rcut:10"`` for the ten most probable.
    proba : PairProba

    Raises
    ------
    TagstackError
        If there is no such cut.
    """
    kind, _, number = name.partition(":")
    if kind == "mcut" and not number:
        return mcut(proba)
    if kind == "rcut" and number.isdecimal() and int(number) > 0:
        return rcut(proba, int(number))
    msg = f"Unknown image cut {name!r}; expected 'mcut' or 'rcut:N' with N tags an image."
    raise TagstackError(msg)


def mcut(proba: PairProba) -> Cuts:
    """Return the middle of the largest gap in each image's sorted probabilities. Shape (n_images,).

    What is not listed counts as 0. Of equal gaps the one higher up is taken. The cut of an image
    without a listed pair is infinite.

    References
    ----------
    Largeron, Moulin & Gery (2012), "MCut: a thresholding strategy for multi-label classification".
    """
    order, values, starts = _ranked(proba)
    below = np.append(values[1:], 0.0)
    last = starts[1:][np.diff(starts) > 0] - 1
    below[last] = 0.0
    gap = values - below
    image = proba.pairs.image[order]
    best = np.lexsort((np.arange(len(gap)), -gap, image))
    seen, first = np.unique(image[best], return_index=True)
    place = best[first]
    cuts = np.full(proba.pairs.n_images, np.inf, np.float32)
    cuts[seen] = ((values[place] + below[place]) / 2).astype(np.float32)
    return cuts


def rcut(proba: PairProba, n_tags: int) -> Cuts:
    """Return the probability of each image's ``n_tags``-th most probable tag; ties all pass.

    Shape (n_images,).

    The cut of an image with fewer listed pairs is its lowest probability; infinite without any.

    References
    ----------
    Yang (2001), "A study of thresholding strategies for text categorization".
    """
    _, values, starts = _ranked(proba)
    counts = np.diff(starts)
    some = counts > 0
    place = (starts[:-1] + np.minimum(n_tags, counts) - 1)[some]
    cuts = np.full(proba.pairs.n_images, np.inf, np.float32)
    cuts[some] = np.maximum(values[place], np.finfo(np.float32).tiny)
    return cuts


def _ranked(proba: PairProba) -> tuple[NDArray[np.intp], Floats, NDArray[np.int64]]:
    """Return the pairs by image, most probable first: their order, values and image starts."""
    values = np.nan_to_num(proba.proba.astype(np.float64), nan=0.0)
    order = np.lexsort((proba.pairs.tag, -values, proba.pairs.image))
    return order, values[order], proba.pairs.indptr
