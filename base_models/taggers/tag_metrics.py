"""What a publisher measured for each tag: a file beside the tag file.

cl_tagger v2 has an NPZ file in output order: ``best_thr``, where a tag's F1 is highest on the
publisher's images, and ``n_pos``, how many of them have the tag; NaN where nothing was measured. It
also holds pickled arrays, which are never opened. OppaiOracle's evaluation writes JSON
(``pr_thresholds.json``) by the tags' names: ``f1_threshold`` and ``support``. A JSON object of
names and thresholds alone is read as well. Tags that it lacks keep what the tag file says.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.taggers.tag_files import TagRow
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_json

_THRESHOLDS, _COUNTS = "best_thr", "n_pos"
_MOST_BYTES = 2**24  # of one array; a hundred thousand tags take a megabyte
_MOST_TEXT = 2**26


def with_metrics(rows: Sequence[TagRow], path: Path) -> tuple[TagRow, ...]:
    """Return a tag file's rows with the thresholds and counts of a metrics file.

    Raises
    ------
    TagstackError
        If the file cannot be read, has no thresholds, or is not one of as many tags.
    """
    thresholds, counts = (
        _of_json(rows, path) if path.suffix.lower() == ".json" else _of_npz(rows, path)
    )
    known = thresholds[np.isfinite(thresholds)]
    if known.size and not (0 <= known.min() and known.max() <= 1):
        msg = (
            f"{path}: its thresholds reach from {known.min():.4g} to {known.max():.4g}; expected "
            "0 to 1. Fetch it again."
        )
        raise TagstackError(msg)
    return tuple(_row(row, i, thresholds, counts) for i, row in enumerate(rows))


def _of_npz(
    rows: Sequence[TagRow], path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
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
    return thresholds, counts


def _of_json(
    rows: Sequence[TagRow], path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    content = read_json(path, limit=_MOST_TEXT)
    summary = content.get("per_tag") if isinstance(content, dict) else None
    table = summary.get("per_tag", summary) if isinstance(summary, dict) else content
    found = table if isinstance(table, dict) else {}
    told = [found.get(row.tag) for row in rows]
    thresholds = np.array([_number(one, "f1_threshold") for one in told])
    if not np.isfinite(thresholds).any():
        msg = (
            f"{path}: no threshold of any of the {len(rows)} tags; expected an object of tags and "
            "thresholds, or per_tag with the f1_threshold of each. Leave `metrics` out."
        )
        raise TagstackError(msg)
    return thresholds, np.array([_number(one, "support", alone=False) for one in told])


def _number(told: object, key: str, *, alone: bool = True) -> float:
    """Return a tag's number, bare or under a key; NaN where there is none."""
    value: Any = told.get(key) if isinstance(told, Mapping) else told if alone else None
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable else float("nan")


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
