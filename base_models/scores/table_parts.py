"""What a table of scores is made of: its columns' roles, and how rows become a `ScoreTable`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tagstack.base_models.scores.score_table import LOGITS, PROBABILITIES, Listed, ScoreTable
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown

CONTENT = "sha256"
"""Column or array that names pictures by the SHA-256 of their files, in hexadecimal."""
NAMES = ("image", "images", "picture", "filename", "file_name", "file", "path", "name", "names")
"""Columns or arrays that name pictures, looked for in this order."""
KIND_OF = {
    "logit": LOGITS,
    "logits": LOGITS,
    "probability": PROBABILITIES,
    "probabilities": PROBABILITIES,
    "proba": PROBABILITIES,
    "prob": PROBABILITIES,
    "prediction": PROBABILITIES,  # as imgutils calls a tagger's whole output
    "score": None,
    "scores": None,
}
"""What scores of a column or array of this name are; None where the name does not say."""
GROUPS = ("rating", "general", "character", "artist", "copyright", "meta", "species", "tag")
"""Keys under which imgutils gives probabilities by category; ``tag`` has all but the ratings."""
_DIGEST_CHARACTERS = 64


def roles(columns: Sequence[str], source: str) -> tuple[str, str | None, str | None]:
    """Return the columns of pictures, and of tags and values in a long table."""
    own = {column.casefold(): column for column in columns}
    key = next((own[name] for name in (CONTENT, *NAMES) if name in own), None)
    if key is None:
        msg = f"{source}: no column names the pictures. Expected one of sha256, {', '.join(NAMES)}."
        raise TagstackError(msg)
    values = [own[name] for name in KIND_OF if name in own]
    if "tag" in own and len(values) != 1:
        msg = (
            f"{source}: a column `tag` makes it a long table, which has one column of scores, one "
            f"of {', '.join(KIND_OF)}; found {values}."
        )
        raise TagstackError(msg)
    return (key, own["tag"], values[0]) if "tag" in own else (key, None, None)


def tag_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a wide table that are tags: all but SHA-256 and the picture's name."""
    own = [column.casefold() for column in columns]
    name = next((name for name in NAMES if name in own), None)
    return tuple(column for column in columns if column.casefold() not in (CONTENT, name))


def wide_table(
    source: str,
    key: str,
    pictures: Sequence[str],
    tags: tuple[str, ...],
    scores: NDArray[np.float32],
) -> ScoreTable:
    """Return a table with a column for each tag."""
    return ScoreTable(
        source=source,
        pictures=picture_keys(pictures, source, by_content=key.casefold() == CONTENT),
        by_content=key.casefold() == CONTENT,
        tags=tags,
        kind=None,
        floor=None,
        scores=scores,
    )


def long_table(
    source: str,
    columns: tuple[str, str],
    pictures: Any,
    tags: Any,
    value: NDArray[np.float32],
    empty: NDArray[np.bool_],
    floor: float | None,
) -> ScoreTable:
    """Return a long table; a row without tag and score stands for a picture that has none."""
    picture, picture_names = _coded(pictures)
    kept = ~empty
    tag, tag_names = _coded(tags.filter(pa.array(kept)))
    key, value_column = columns
    by_content = key.casefold() == CONTENT
    listed = listed_scores(source, picture[kept], tag, value[kept], len(picture_names))
    return ScoreTable(
        source=source,
        pictures=picture_keys(picture_names, source, by_content=by_content),
        by_content=by_content,
        tags=tag_names,
        kind=KIND_OF[value_column.casefold()],
        floor=floor,
        scores=listed,
    )


def _coded(column: Any) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Return a column of text as positions in its unique values."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    coded = column.dictionary_encode().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        coded = (
            coded.chunk(0) if coded.num_chunks else pa.array([], column.type).dictionary_encode()
        )
    texts = coded.dictionary.to_pylist()
    names = (t.decode("utf-8", "surrogateescape") if isinstance(t, bytes) else t for t in texts)
    return np.asarray(coded.indices.to_numpy(), np.int32), tuple(names)


def listed_scores(
    source: str,
    picture: NDArray[np.int32],
    tag: NDArray[np.int32],
    value: NDArray[np.float32],
    n_pictures: int,
) -> Listed:
    """Return pairs sorted by picture; refuse one that is there twice."""
    order = np.lexsort((tag, picture))
    picture, tag, value = picture[order], tag[order], value[order]
    same = (np.diff(picture) == 0) & (np.diff(tag) == 0)
    if same.any():
        n_twice = np.count_nonzero(same)
        msg = f"{source}: {n_twice:,} pairs of picture and tag are there twice. Keep one each."
        raise TagstackError(msg)
    counts = np.bincount(picture, minlength=n_pictures)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), tag, value


def picture_keys(pictures: Sequence[str], source: str, *, by_content: bool) -> tuple[str, ...]:
    """Return pictures' names, or their SHA-256 in lower case after a look at it."""
    if not by_content:
        return tuple(pictures)
    keys = tuple(text.strip().lower() for text in pictures)
    for key in keys:
        if len(key) != _DIGEST_CHARACTERS or not set(key) <= set("0123456789abcdef"):
            msg = f"{source}: {shown(key)!r:.80} is no SHA-256 of 64 hexadecimal digits."
            raise TagstackError(msg)
    return keys
