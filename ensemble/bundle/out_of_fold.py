"""Every rung's out-of-fold probabilities, kept in a bundle: thresholds can be fitted anew.

A stack's predictions for the images it was fitted on are too good to be true; these come from
models that had not seen the image, and are what `calibrate` uses for such images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.array_files import write_arrays
from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.ensemble.bundle.fitted_labels import FittedLabels
from tagstack.meta.checked_arrays import CheckedArrays

FILE = "out_of_fold.safetensors"
_PROBA, _BASE = "proba of ", "base of "


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Probabilities of fitted images, found again by the content of the files.

    Parameters
    ----------
    contents : array of shape (n_images,), uint64
        First eight bytes of each file's SHA-256.
    proba : PairProba
        Of the chosen rung, in the same order.
    others : mapping of rung name to PairProba
        Of all other rungs, over the same pairs; empty in bundles of before.
    truth : FittedLabels, optional
        What the images' labels said, in the same order; None in bundles of before.
    """

    contents: NDArray[np.uint64]
    proba: PairProba
    others: Mapping[str, PairProba] = field(default_factory=dict)
    truth: FittedLabels | None = None

    @classmethod
    def of(
        cls,
        contents: Sequence[str],
        chosen: str,
        probas: Mapping[str, PairProba],
        truth: FittedLabels | None = None,
    ) -> "OutOfFold":
        """Return the probabilities of images with these SHA-256 hashes, in hexadecimal."""
        others = {rung: proba for rung, proba in probas.items() if rung != chosen}
        return cls(contents=_numbers(contents), proba=probas[chosen], others=others, truth=truth)

    def rungs(self, chosen: str) -> Mapping[str, PairProba]:
        """Return the probabilities of every rung that is kept, by name."""
        return {**self.others, chosen: self.proba}

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
        pairs = self.proba.pairs
        small = pairs.n_tags <= np.iinfo(np.uint16).max
        arrays: dict[str, NDArray[Any]] = {
            "contents": self.contents,
            "indptr": pairs.indptr,
            "tag": pairs.tag.astype(np.uint16 if small else np.int32),
            "proba": self.proba.proba,
            "base": self.proba.base,
        }
        for rung, own in self.others.items():
            arrays |= {f"{_PROBA}{rung}": own.proba, f"{_BASE}{rung}": own.base}
        if self.truth is not None:
            arrays |= self.truth.arrays()
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> "OutOfFold":
        """Return what :meth:`save` wrote; the caller has checked the file's hash."""
        from safetensors.numpy import load_file

        arrays = CheckedArrays(load_file(path), FILE)

        def unit(name: str, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
            return arrays.real(name, shape, low=0, high=1, gaps=True)

        base, values = unit("base", (None,)), unit("proba", (None,))
        contents = arrays.shaped("contents", (None,), "u")
        tag = arrays.whole("tag", values.shape, high=len(base)).astype(np.int32)
        starts = arrays.starts("indptr", len(contents), len(tag))
        pairs = Pairs(indptr=starts, tag=tag, n_tags=len(base))
        names = [name.removeprefix(_PROBA) for name in arrays.arrays if name.startswith(_PROBA)]
        others = {
            rung: PairProba(
                pairs=pairs,
                proba=unit(f"{_PROBA}{rung}", values.shape),
                base=unit(f"{_BASE}{rung}", base.shape),
            )
            for rung in names
        }
        own = PairProba(pairs=pairs, proba=values, base=base)
        truth = FittedLabels.of_arrays(arrays, len(contents), len(base))
        return cls(contents=contents, proba=own, others=others, truth=truth)


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
