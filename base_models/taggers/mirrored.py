"""A tagger that sees every picture twice, as it is and mirrored: ``NAME+flip``.

Its scores are the mean of the two logits. A tag that speaks of left and right would be averaged
with its opposite, so such tags keep the logits of the picture as it is. The framed pixels are
mirrored, after decoding and resizing: whatever runs the network, it gets the exact mirror image.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BETWEEN_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Mirror:
    """How the scores of a picture and of its mirror image become one.

    Parameters
    ----------
    sided : tuple of n_tags bool
        The tags that tell left from right.
    """

    sided: tuple[bool, ...]

    @classmethod
    def of(cls, tags: Sequence[str], words: Sequence[str]) -> "Mirror":
        """Return the mirror of a tagger's tags; ``words`` is ``score.sided``."""
        return cls(tuple(_is_sided(tag, frozenset(words)) for tag in tags))

    @property
    def n_passes(self) -> int:
        """How often the network runs for a picture."""
        return 2

    def turned(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return framed pictures mirrored, of the shape (n_images, height, width, 3)."""
        return np.ascontiguousarray(pixels[:, :, ::-1])

    def mean(self, seen: NDArray[np.float32], mirrored: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits that count, all of shape (n_images, n_tags).

        A row that is not finite in either is NaN throughout.
        """
        both = (seen + mirrored) * np.float32(0.5)
        both[:, list(self.sided)] = seen[:, list(self.sided)]
        both[~np.isfinite(mirrored).all(axis=1)] = np.nan
        return both


def _is_sided(tag: str, words: frozenset[str]) -> bool:
    own = tag.casefold()
    return own in words or not words.isdisjoint(_BETWEEN_WORDS.split(own))
