"""From the hash parts of a score store to the hashes of given contents."""

from pathlib import Path
from typing import TypeAlias

import numpy as np

from tagstack.base_models.picture_hash import THUMBNAIL_BYTES, PictureHashes
from tagstack.base_models.store_parts import HASHES, part_paths, read_part

Digests: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bytes_]]"


def read_hashes(folder: Path, digests: Digests) -> PictureHashes:
    """Return the hashes of contents, row by row; unknown where no part has them.

    Parameters
    ----------
    folder : Path
        Need not exist.
    digests : array of shape (n_images,), dtype S32
        SHA-256 of each content; empty for a file that could not be read.
    """
    known = np.zeros(len(digests), bool)
    bits = np.zeros(len(digests), np.uint64)
    thumbnails = np.zeros((len(digests), THUMBNAIL_BYTES), np.uint8)
    order = np.argsort(digests, kind="stable")
    wanted = digests[order]
    for path in part_paths(folder):
        table = read_part(path, HASHES)
        own = np.array(table.column("sha256").to_pylist(), "S32")
        first, last = np.searchsorted(wanted, own), np.searchsorted(wanted, own, side="right")
        counts = last - first
        row = np.repeat(np.arange(len(own)), counts)  # a content may have several names
        place = order[np.repeat(last - np.cumsum(counts), counts) + np.arange(counts.sum())]
        known[place] = True
        bits[place] = table.column("bits").to_numpy()[row]
        thumbnails[place] = _thumbnails(table)[row]
    return PictureHashes(known=known, bits=bits, thumbnails=thumbnails)


def _thumbnails(table: object) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    column = b"".join(table.column("thumbnail").to_pylist())  # type: ignore[attr-defined]
    return np.frombuffer(column, np.uint8).reshape(-1, THUMBNAIL_BYTES)
