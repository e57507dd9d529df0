"""Which images a stack was fitted on, so that nobody judges it on them by mistake."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class FittedImages:
    """Short hashes of the fitted images' bytes and of their groups.

    Parameters
    ----------
    contents : array of shape (n_images,), uint64, ascending
    titles : array of shape (n_titles,), uint64, ascending
        Of the values of the grouping column.
    """

    contents: NDArray[np.uint64]
    titles: NDArray[np.uint64]

    @classmethod
    def of(cls, dataset: Dataset) -> "FittedImages":
        """Return the hashes of a dataset's images."""
        return cls(contents=_hashes(dataset.contents), titles=_hashes(dataset.titles))

    def without(self, dataset: Dataset) -> tuple[Dataset, tuple[str, ...]]:
        """Return a dataset without the fitted images, and notices about what that means.

        Raises
        ------
        TagstackError
            If every image was fitted on.
        """
        seen = np.isin(_each(dataset.contents), self.contents)
        if seen.all():
            msg = (
                f"All {len(seen)} images were used to fit this bundle; a comparison on them proves "
                "nothing. Choose others with --where."
            )
            raise TagstackError(msg)
        known = np.isin(_each(dataset.titles), self.titles) & (np.array(dataset.titles) != "")
        notices = []
        if seen.any():
            first = dataset.scores.images[int(seen.argmax())]
            notices.append(
                f"{int(seen.sum())} of {len(seen)} images were used to fit this bundle, copies "
                f"included, such as {first}; they are left out"
            )
        if (known & ~seen).any():
            notices.append(
                f"{int((known & ~seen).sum())} images belong to a group that the bundle was "
                "fitted on; the stack may know them too well"
            )
        return dataset.take(np.flatnonzero(~seen)), tuple(notices)


def _hashes(texts: Iterable[str]) -> NDArray[np.uint64]:
    return np.unique(_each([text for text in texts if text]))


def _each(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return the first eight bytes of each text's SHA-256 as a number, shape (n_texts,)."""
    digests = [hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for text in texts]
    return np.frombuffer(b"".join(digest[:8] for digest in digests), np.uint64)
