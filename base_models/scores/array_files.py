"""Arrays of scores from other programs, NPZ and NPY, read without pickle."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.scores.score_table import Listed, ScoreTable
from tagstack.base_models.scores.table_parts import (
    CONTENT,
    KIND_OF,
    NAMES,
    listed_scores,
    picture_keys,
)
from tagstack.configs.errors import TagstackError


def read_npz(path: Path, names: tuple[str, ...] | None) -> ScoreTable:
    """Return an archive's scores: a matrix, or pairs as `tagstack scores export` lists them."""
    with np.load(path, allow_pickle=False) as content:
        if not hasattr(content, "files"):
            raise TagstackError(f"{path}: no NPZ archive but a single array. Name it .npy.")
        own = {name.casefold(): name for name in content.files}
        value = [name for name in KIND_OF if name in own]
        if len(value) != 1:
            msg = f"{path}: expected one array of {', '.join(KIND_OF)}; found {sorted(own)[:8]}."
            raise TagstackError(msg)
        key = next((name for name in (CONTENT, *NAMES) if name in own), None)
        pictures = names if key is None else _array_texts(path, key, content[own[key]])
        if pictures is None:
            msg = f"{path}: no array names the pictures. Add `images` or `sha256`, or say --names."
            raise TagstackError(msg)
        by_content = key == CONTENT
        tags = _array_texts(path, "tags", content[own["tags"]]) if "tags" in own else None
        scores: Any = content[own[value[0]]]
        if "indptr" in own and "tag" in own:
            arrays = content[own["indptr"]], content[own["tag"]], scores
            scores = _given_list(path, arrays, len(pictures), tags)
        floor = float(content[own["floor"]]) if "floor" in own else None
    return ScoreTable(
        source=str(path),
        pictures=picture_keys(pictures, str(path), by_content=by_content),
        by_content=by_content,
        tags=tags,
        kind=KIND_OF[value[0]],
        floor=floor,
        scores=scores,
    )


def _given_list(
    path: Path, arrays: tuple[Any, Any, Any], n_pictures: int, tags: tuple[str, ...] | None
) -> Listed:
    """Return pairs as `tagstack scores export` lists them, after a look at them."""
    indptr, tag, value = arrays
    whole = indptr.dtype.kind in "iu"
    counts = np.diff(indptr.astype(np.int64)) if whole else np.empty(0, np.int64)
    good = (
        tags is not None
        and indptr.ndim == tag.ndim == value.ndim == 1
        and tag.dtype.kind in "iu"
        and value.dtype.kind in "fiu"
        and len(counts) == n_pictures
        and len(tag) == len(value)
        and indptr[0] == 0
        and indptr[-1] == len(tag)
        and bool((counts >= 0).all())
        and (not len(tag) or (tag.min() >= 0 and tag.max() < len(tags)))
    )
    if not good:
        msg = (
            f"{path}: indptr, tag and scores do not fit together. Expected indptr of "
            f"{n_pictures + 1} rising from 0 to the number of scores, and tags within `tags`."
        )
        raise TagstackError(msg)
    picture = np.repeat(np.arange(n_pictures, dtype=np.int32), counts)
    return listed_scores(
        str(path), picture, tag.astype(np.int32), value.astype(np.float32), n_pictures
    )


def _array_texts(path: Path, name: str, array: NDArray[Any]) -> tuple[str, ...]:
    if array.ndim != 1 or array.dtype.kind not in "US":
        msg = f"{path}: {name} is {array.dtype} of shape {array.shape}, expected a list of text."
        raise TagstackError(msg)
    texts = array.tolist()
    return tuple(t.decode("utf-8", "surrogateescape") if isinstance(t, bytes) else t for t in texts)


def read_npy(path: Path, names: tuple[str, ...] | None) -> ScoreTable:
    """Return a matrix of scores, left on disk until it is looked at."""
    if names is None:
        msg = f"{path}: an array names no pictures. Say --names FILE, a text with one a line."
        raise TagstackError(msg)
    matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(matrix, np.ndarray):
        raise TagstackError(f"{path}: no single array. Name it .npz if it is an archive.")
    return ScoreTable(
        source=str(path),
        pictures=names,
        by_content=False,
        tags=None,
        kind=None,
        floor=None,
        scores=matrix,
    )
