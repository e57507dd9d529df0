"""The chosen rung's out-of-fold probabilities, kept in a bundle: thresholds can be fitted anew.

A stack's predictions for the images it was fitted on are too good to be true; these come from
models that had not seen the image, and are what `calibrate` uses for such images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.meta.checked_arrays import CheckedArrays

FILE = "out_of_fold.safetensors"


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Probabilities of fitted images, found again by the content of the files.

    Parameters
    ----------
    contents : array of shape (n_images,), uint64
        First eight bytes of each file's SHA-256.
    proba : PairProba
        In the same order.
    """

    contents: NDArray[np.uint64]
    proba: PairProba

    @classmethod
    def of(cls, contents: Sequence[str], proba: PairProba) -> "OutOfFold":
        """Return the probabilities of images with these SHA-256 hashes, in hexadecimal."""
        return cls(contents=_numbers(contents), proba=proba)

    def rows(self, contents: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each file, -1 where it was not fitted on; equal files share one.

        Shape (n_files,).
        """
        order = np.argsort(self.contents, kind="stable")
        place = np.searchsorted(self.contents[order], wanted := _numbers(contents))
        found = place < len(order)
        found[found] = self.contents[order[place[found]]] == wanted[found]
        rows = np.full(len(wanted), -1, np.int64)
        rows[found] = order[place[found]]
        return rows

    def save(self, path: Path) -> None:
        """Write the arrays as safetensors."""
        from safetensors.numpy import save_file

        pairs = self.proba.pairs
        small = pairs.n_tags <= np.iinfo(np.uint16).max
        arrays = {
            "contents": self.contents,
            "indptr": pairs.indptr,
            "tag": pairs.tag.astype(np.uint16 if small else np.int32),
            "proba": self.proba.proba,
            "base": self.proba.base,
        }
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)

    @classmethod
    def load(cls, path: Path) -> "OutOfFold":
        """Return what :meth:`save` wrote; the caller has checked the file's hash."""
        from safetensors.numpy import load_file

        arrays = CheckedArrays(load_file(path), FILE)
        base = arrays.real("base", (None,), low=0, high=1, gaps=True)
        values = arrays.real("proba", (None,), low=0, high=1, gaps=True)
        contents = arrays.shaped("contents", (None,), "u")
        tag = arrays.whole("tag", values.shape, high=len(base)).astype(np.int32)
        starts = arrays.starts("indptr", len(contents), len(tag))
        pairs = Pairs(indptr=starts, tag=tag, n_tags=len(base))
        return cls(contents=contents, proba=PairProba(pairs=pairs, proba=values, base=base))


def joined(first: PairProba, second: PairProba) -> PairProba:
    """Return the probabilities of the images of both, one after the other.

    A tag's ``base`` is the larger of the two, since a threshold has to lie above both.
    """
    following = first.pairs.indptr[-1] + second.pairs.indptr[1:]
    pairs = Pairs(
        indptr=np.concatenate([first.pairs.indptr, following]),
        tag=np.concatenate([first.pairs.tag, second.pairs.tag]),
        n_tags=first.pairs.n_tags,
    )
    return PairProba(
        pairs=pairs,
        proba=np.concatenate([first.proba, second.proba]),
        base=np.fmax(first.base, second.base),
    )


def _numbers(contents: Sequence[str]) -> NDArray[np.uint64]:
    raw = b"".join(bytes.fromhex(content[:16]) for content in contents)
    return np.frombuffer(raw, np.uint64)
