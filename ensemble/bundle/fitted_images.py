"""Which images a stack was fitted on, so that nobody judges it on them by mistake."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.picture_hash import THUMBNAIL_BYTES, PictureHashes
from tagstack.configs.level1 import NearDuplicateSettings
from tagstack.meta.checked_arrays import CheckedArrays
from tagstack.meta.labels.near_duplicates import near_duplicate_groups


class Pictured(Protocol):
    """Images of which is known what they hold and look like."""

    @property
    def contents(self) -> tuple[str, ...]:
        """SHA-256 of each image's bytes, in hexadecimal."""

    @property
    def hashes(self) -> PictureHashes:
        """What each image looks like."""


class Titled(Pictured, Protocol):
    """Images of which the value of a grouping column is known as well."""

    @property
    def titles(self) -> tuple[str, ...]:
        """Value of the grouping column for each image; empty without one."""


@dataclass(frozen=True, kw_only=True)
class FittedImages:
    """Short hashes of the fitted images' bytes and of their groups, and what they look like.

    Parameters
    ----------
    contents : array of shape (n_images,), uint64, ascending
    titles : array of shape (n_titles,), uint64, ascending
        Of the values of the grouping column.
    looks : PictureHashes
        Of those fitted images whose looks are known; none in bundles from before they were kept.
    near_duplicates : NearDuplicateSettings
        When another image counts as one of these.
    """

    contents: NDArray[np.uint64]
    titles: NDArray[np.uint64]
    looks: PictureHashes
    near_duplicates: NearDuplicateSettings

    @classmethod
    def of(cls, dataset: Titled, near_duplicates: NearDuplicateSettings) -> "FittedImages":
        """Return the hashes of a dataset's images."""
        return cls(
            contents=_hashes(dataset.contents),
            titles=_hashes(dataset.titles),
            looks=dataset.hashes.take(np.flatnonzero(dataset.hashes.known)),
            near_duplicates=near_duplicates,
        )

    @classmethod
    def none(cls, near_duplicates: NearDuplicateSettings) -> "FittedImages":
        """Return what a bundle has that no image was fitted on."""
        empty = np.empty(0, np.uint64)
        return cls.from_arrays({"contents": empty, "titles": empty}, near_duplicates)

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], near_duplicates: NearDuplicateSettings
    ) -> "FittedImages":
        """Return what `arrays` gave; without looks if the bundle is from before they were kept."""
        looks: dict[str, NDArray[Any]] = {
            "bits": np.empty(0, np.uint64),
            "thumbnails": np.empty((0, THUMBNAIL_BYTES), np.uint8),
        }
        checked = CheckedArrays(looks | dict(arrays), "fitted_images.safetensors")
        bits = checked.shaped("bits", (None,), "u")
        thumbnails = checked.shaped("thumbnails", (len(bits), THUMBNAIL_BYTES), "u")
        seen = PictureHashes(known=np.ones(len(bits), bool), bits=bits, thumbnails=thumbnails)
        return cls(
            contents=checked.shaped("contents", (None,), "u"),
            titles=checked.shaped("titles", (None,), "u"),
            looks=seen,
            near_duplicates=near_duplicates,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a bundle keeps. One row for each image, shape (n_images, ...)."""
        return {
            "contents": self.contents,
            "titles": self.titles,
            "bits": self.looks.bits,
            "thumbnails": self.looks.thumbnails,
        }

    def holds(self, dataset: Pictured) -> NDArray[np.bool_]:
        """Return which of a dataset's images were fitted on, shape (n_images,), bool."""
        return np.isin(_each(dataset.contents), self.contents)

    def resembles(self, dataset: Pictured) -> NDArray[np.bool_]:
        """Return which of a dataset's images look like a fitted one, shape (n_images,), bool."""
        n_fitted = len(self.looks.bits)
        groups = near_duplicate_groups(self.looks.joined(dataset.hashes), self.near_duplicates)
        return np.isin(groups[n_fitted:], groups[:n_fitted])

    def holds_titles(self, titles: Sequence[str]) -> NDArray[np.bool_]:
        """Return which values of the grouping column were fitted on, shape (n_titles,), bool."""
        return np.asarray(np.isin(_each(titles), self.titles) & (np.array(titles) != ""))


def _hashes(texts: Iterable[str]) -> NDArray[np.uint64]:
    return np.unique(_each([text for text in texts if text]))


def _each(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return the first eight bytes of each text's SHA-256 as a number, shape (n_texts,)."""
    digests = [hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for text in texts]
    return np.frombuffer(b"".join(digest[:8] for digest in digests), np.uint64)
