"""Drawn pictures as arrays, framed the way a tagger's contract frames them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Input
from tagstack.base_models.pictures.preprocess import framed, framing_from_input
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.base_models.zoo.gallery import draw_pictures


@dataclass(frozen=True, kw_only=True)
class DrawnSet:
    """Framed pictures with both kinds of labels.

    Parameters
    ----------
    pixels : array of shape (n_images, height, width, 3), uint8, RGB
    noisy, clean : array of shape (n_images, n_tags), bool
        The uploader's tags and the true ones.
    """

    pixels: NDArray[np.uint8]
    noisy: NDArray[np.bool_]
    clean: NDArray[np.bool_]


def drawn_set(contract: Input, vocabulary: Vocabulary, *, n_images: int, seed: int) -> DrawnSet:
    """Return the first ``n_images`` pictures of a seed, framed for ``contract``."""
    framing = framing_from_input(contract)
    pixels = np.empty((n_images, framing.height, framing.width, 3), np.uint8)
    noisy, clean = np.zeros((2, n_images, len(vocabulary)), bool)
    for picture in draw_pictures(n_images=n_images, seed=seed):
        pixels[picture.index] = framed(picture.image, framing)
        noisy[picture.index] = _row(picture.noisy, vocabulary)
        clean[picture.index] = _row(picture.clean, vocabulary)
    return DrawnSet(pixels=pixels, noisy=noisy, clean=clean)


def _row(tags: frozenset[str], vocabulary: Vocabulary) -> list[bool]:
    return [tag in tags for tag in vocabulary.tags]
