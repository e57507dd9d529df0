"""What a publisher measured for each tag: an NPZ file beside the tag file, in output order.

cl_tagger v2 has one: ``best_thr``, where a tag's F1 is highest on the publisher's images, and
``n_pos``, how many of them have the tag; NaN where nothing was measured. It also holds pickled
arrays, which are never opened.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.taggers.tag_files import TagRow
from tagstack.configs.errors import TagstackError

_THRESHOLDS, _COUNTS = "best_thr", "n_pos"
_MOST_BYTES = 2**24  # of one array; a hundred thousand tags take a megabyte


def with_metrics(rows: Sequence[TagRow], path: Path) -> tuple[TagRow, ...]:
    """Return a tag file's rows with the thresholds and counts of a metrics file.

    Raises
    ------
    TagstackError
        If the file cannot be read, has no thresholds, or is not one of as many tags.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            thresholds = _array(archive, _THRESHOLDS, path, len(rows))
            counts = _array(archive, _COUNTS, path, len(rows))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"{path}: no NPZ file that can be read: {reason}. Fetch it again."
        raise TagstackError(msg) from error
    if thresholds is None:
        msg = f"{path}: no array {_THRESHOLDS!r}; expected a threshold for each tag."
        raise TagstackError(msg)
    known = thresholds[np.isfinite(thresholds)]
    if known.size and not (0 <= known.min() and known.max() <= 1):
        msg = (
            f"{path}: {_THRESHOLDS} reaches from {known.min():.4g} to {known.max():.4g}; expected "
            "0 to 1. Fetch it again."
        )
        raise TagstackError(msg)
    return tuple(_row(row, i, thresholds, counts) for i, row in enumerate(rows))


def _row(
    row: TagRow, i: int, thresholds: NDArray[np.float64], counts: NDArray[np.float64] | None
) -> TagRow:
    threshold = float(thresholds[i])
    if np.isfinite(threshold):
        row = replace(row, best_threshold=threshold)
    if counts is not None and 0 < counts[i] < np.inf:
        row = replace(row, count=float(counts[i]))
    return row


def _array(
    archive: zipfile.ZipFile, name: str, path: Path, n_tags: int
) -> NDArray[np.float64] | None:
    member = f"{name}.npy"
    if member not in archive.namelist():
        return None
    if archive.getinfo(member).file_size > _MOST_BYTES:  # before it is unpacked
        msg = (
            f"{name} has {archive.getinfo(member).file_size} bytes, expected at most {_MOST_BYTES}"
        )
        raise ValueError(msg)
    with archive.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    if array.shape != (n_tags,) or array.dtype.kind not in "fiu":
        msg = (
            f"{path}: {name} is {array.dtype} of shape {array.shape}; expected one number for each "
            f"of {n_tags} tags. Use the metrics that were published with this model."
        )
        raise TagstackError(msg)
    return np.asarray(array, np.float64)
