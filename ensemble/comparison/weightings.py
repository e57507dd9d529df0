"""How often each image counts in each resample: whole groups, drawn with replacement."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.errors import TagstackError

_BLOCK = 64  # weightings at a time: their rows stay in the processor's cache


class Weightings:
    """The sample as it is, then resamples of its groups; the same for every rung.

    Only the groups' counts are kept, two bytes each: 20 MB for 10,000 groups and 1,000 resamples.

    Parameters
    ----------
    groups : array of shape (n_images,), integer
        Images with the same number are drawn together.
    resamples : int
        Of each repeat.
    seed : int
        Of the first repeat; the others follow on.
    repeats : int

    Raises
    ------
    TagstackError
        If there is no image.
    """

    def __init__(
        self, groups: NDArray[np.integer], *, resamples: int, seed: int, repeats: int = 1
    ) -> None:
        if not len(groups):
            msg = "The comparison has 0 images, expected at least one. Check --where and labels."
            raise TagstackError(msg)
        self._group_of = np.unique(groups, return_inverse=True)[1]
        n_groups = int(self._group_of.max()) + 1
        drawn = [_draw(n_groups, resamples, seed + repeat) for repeat in range(repeats)]
        self._counts = np.vstack([np.ones((1, n_groups), np.uint16), *drawn])

    def __len__(self) -> int:
        return len(self._counts)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield image weights of shape (n_images, n_block), float32, whole numbers.

        The first column of the first block is 1 throughout: the sample as it is.
        """
        for begin in range(0, len(self._counts), _BLOCK):
            yield self._counts[begin : begin + _BLOCK].T[self._group_of].astype(np.float32)


def _draw(n_groups: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    """Return how often each group is drawn, shape (resamples, n_groups)."""
    rng = np.random.default_rng(seed)
    share = np.full(n_groups, 1 / n_groups)
    drawn = np.empty((resamples, n_groups), np.uint16)
    for begin in range(0, resamples, _BLOCK):
        rows = drawn[begin : begin + _BLOCK]
        rows[:] = rng.multinomial(n_groups, share, size=len(rows))
    return drawn
