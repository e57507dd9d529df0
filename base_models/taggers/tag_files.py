"""Tag files of published taggers: row ``i`` names output ``i``.

A tag's category always comes from the file's category column or map, never from its position:
published files differ in their order. Names are taken literally, so ``null``, ``nan`` and ``;)``
are tags like any other. To add a format, write one more reader and enter it in ``_READERS``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract, Tags
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import number_of, parse_table
from tagstack.configs.text_files import parse_json, read_text

MAX_TAG_FILE_BYTES = 2**26
"""A hundred thousand tags take a tenth of this."""


@dataclass(frozen=True)
class TagRow:
    """A line of a tag file: the tag, its category as a name, its published threshold and count."""

    tag: str
    category: str
    best_threshold: float | None = None
    count: float | None = None


def read_tag_file(path: Path, tags: Tags) -> tuple[TagRow, ...]:
    """Return the rows of a tag file in output order.

    Raises
    ------
    TagstackError
        If the file cannot be read, has no tags, or contradicts the declared format.
    """
    rows = tuple(
        _READERS[tags.format](
            path, read_text(path, what="tag file", limit=MAX_TAG_FILE_BYTES), tags
        )
    )
    if not rows:
        raise TagstackError(f"{path}: no tags found; expected one for each output of the model.")
    for i, row in enumerate(rows):
        if not row.tag.strip():
            msg = f"{path}: tag {i} is empty; every output needs a name. Restore the tag file."
            raise TagstackError(msg)
    return rows


def _selected_tags_csv(path: Path, text: str, tags: Tags) -> list[TagRow]:
    table = parse_table(text, str(path), expected=("name", "category", "tag_id", "count"))
    missing = {"name", "category"} - set(table.columns)
    if missing:
        msg = (
            f"{path}: the columns {sorted(missing)} are missing, found {table.shown}. "
            f"Expected a selected_tags.csv with name and category."
        )
        raise TagstackError(msg)
    return [
        TagRow(
            row.cells["name"],
            _prefixed(row.cells["name"], tags) or _category(path, row.cells["category"], tags),
            _best_threshold(path, row.cells),
            _count(row.cells),
        )
        for row in table.rows
    ]


def _best_threshold(path: Path, row: Mapping[str, str]) -> float | None:
    text = row.get("best_threshold", "").strip()
    if not text:
        return None
    try:
        value = number_of(text, "")
    except TagstackError:
        value = float("nan")
    if not 0 <= value <= 1:
        msg = f"{path}: best_threshold of {row['name']!r} is {text!r}; expected 0 to 1."
        raise TagstackError(msg)
    return value


def _count(row: Mapping[str, str]) -> float | None:
    """Return how many training images have the tag; None where the file does not say.

    It is a hint and no fact that a score depends on: a cell that is no number says nothing.
    """
    try:
        value = number_of(row.get("count", ""), "", ",")
    except TagstackError:
        return None
    return value if 0 < value < float("inf") else None


def _tags_txt(path: Path, text: str, tags: Tags) -> list[TagRow]:
    # Not str.splitlines, which also splits at form feeds and other characters inside names.
    return [_plain(line.rstrip("\r"), tags) for line in text.rstrip("\r\n").split("\n") if text]


def _camie_json(path: Path, text: str, tags: Tags) -> list[TagRow]:
    content = _json(path, text)
    mapping = _nested(content, "dataset_info", "tag_mapping") or content
    names, categories = (_nested(mapping, key) for key in ("idx_to_tag", "tag_to_category"))
    if names is None and isinstance(content, dict) and isinstance(content.get("idx2tag"), list):
        names = {str(i): tag for i, tag in enumerate(content["idx2tag"])}
        coded = _nested(content, "tag2category") or {}
        # Its own reader takes -1 where there is none.
        categories = {str(tag): coded.get(str(tag), -1) for tag in names.values()}
    if names is None or categories is None:
        msg = (
            f"{path}: idx_to_tag or tag_to_category is missing; expected both at the top (v1) or "
            f"in dataset_info.tag_mapping (v2), or idx2tag and tag2category."
        )
        raise TagstackError(msg)
    ordered = _by_index(path, {str(name): index for index, name in names.items()})
    listed = mapping.get("categories")  # cl_tagger v2 gives positions in this list
    known = listed if isinstance(listed, list) else []
    return [
        TagRow(tag, _category(path, _listed(categories.get(tag), known), tags)) for tag in ordered
    ]


def _listed(code: object, names: Sequence[object]) -> object:
    """Return the name of a category that is given by its position, any other code as it is."""
    by_position = isinstance(code, int) and not isinstance(code, bool) and 0 <= code < len(names)
    return str(names[code]) if by_position and isinstance(code, int) else code


def _json_list(path: Path, text: str, tags: Tags) -> list[TagRow]:
    content = _json(path, text)
    if not isinstance(content, list) or not all(isinstance(tag, str) for tag in content):
        raise TagstackError(f"{path}: expected a JSON list of tag names for format json_list.")
    return [_plain(tag, tags) for tag in content]


def _json_index(path: Path, text: str, tags: Tags) -> list[TagRow]:
    content = _json(path, text)
    if not isinstance(content, dict):
        raise TagstackError(f"{path}: expected a JSON object index -> tag or tag -> index.")
    by_tag = all(isinstance(value, int) for value in content.values())
    pairs = content if by_tag else {str(tag): index for index, tag in content.items()}
    if len(pairs) != len(content):
        raise TagstackError(f"{path}: a tag has two indices; expected one each.")
    return [_plain(tag, tags) for tag in _by_index(path, pairs)]


def _json_records(path: Path, text: str, tags: Tags) -> list[TagRow]:
    content = _json(path, text)
    records = content if isinstance(content, dict) else {}
    if not records or not all(_nested(record) is not None for record in records.values()):
        raise TagstackError(
            f'{path}: expected a JSON object id -> {{"tag": ..., "category": ...}}.'
        )
    order = _by_index(path, {key: key for key in records})
    return [
        TagRow(str(records[i].get("tag", "")), _category(path, records[i].get("category"), tags))
        for i in order
    ]


def _json_categories(path: Path, text: str, tags: Tags) -> list[TagRow]:
    content = _json(path, text)
    parts = content.get("categories") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not all(_is_part(part) for part in parts):
        msg = (
            f'{path}: expected a JSON object with "categories", a list of objects with name, '
            "offset and tags, for format json_categories."
        )
        raise TagstackError(msg)
    index_of: dict[str, Any] = {}
    rows: dict[str, TagRow] = {}
    for part in parts:
        for i, tag in enumerate(part["tags"]):
            if tag in index_of:
                raise TagstackError(f"{path}: the tag {tag!r} is there twice; expected it once.")
            index_of[tag] = part["offset"] + i
            rows[tag] = TagRow(tag, _category(path, part["name"], tags))
    n_said = content.get("num_classes", len(rows))
    if n_said != len(rows):
        msg = f"{path}: {len(rows)} tags, expected {n_said}, which it says itself. Fetch it again."
        raise TagstackError(msg)
    return [rows[tag] for tag in _by_index(path, index_of)]


def _is_part(part: object) -> bool:
    """Return whether this is a category's own list of tags."""
    own = _nested(part) or {}
    offset, named = own.get("offset"), own.get("tags")
    counted = isinstance(offset, int) and not isinstance(offset, bool)
    listed = isinstance(named, list) and all(isinstance(tag, str) for tag in named)
    return isinstance(own.get("name"), str) and counted and listed


def _plain(tag: str, tags: Tags) -> TagRow:
    return TagRow(tag, _prefixed(tag, tags) or tags.category)


def _prefixed(tag: str, tags: Tags) -> str | None:
    starts = (name for prefix, name in tags.prefixes.items() if tag.startswith(prefix))
    return next(starts, None)


def _category(path: Path, code: object, tags: Tags) -> str:
    if code is None:
        raise TagstackError(f"{path}: a tag has no category; expected one for every tag.")
    if not tags.categories:
        return str(code)
    if str(code) not in tags.categories:
        msg = (
            f"{path}: category {code!r} is not in the contract's [tags] categories "
            f"{sorted(tags.categories)}. Add it there with its name."
        )
        raise TagstackError(msg)
    return tags.categories[str(code)]


def _by_index(path: Path, index_of: dict[str, Any]) -> list[str]:
    try:
        placed = {int(index): tag for tag, index in index_of.items()}
    except (TypeError, ValueError) as error:
        raise TagstackError(f"{path}: an index is not a number: {error}.") from error
    if sorted(placed) != list(range(len(index_of))):
        msg = (
            f"{path}: the indices of {len(index_of)} tags are not 0 to {len(index_of) - 1} once "
            f"each. Restore the tag file that belongs to the model."
        )
        raise TagstackError(msg)
    return [placed[i] for i in range(len(placed))]


def _json(path: Path, text: str) -> Any:
    return parse_json(text, str(path), advice="Restore the tag file.")


def _nested(value: Any, *keys: str) -> dict[str, Any] | None:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


_READERS: dict[str, Callable[[Path, str, Tags], list[TagRow]]] = {
    "selected_tags_csv": _selected_tags_csv,
    "tags_txt": _tags_txt,
    "camie_json": _camie_json,
    "json_list": _json_list,
    "json_index": _json_index,
    "json_records": _json_records,
    "json_categories": _json_categories,
}


def vocabulary_from_rows(rows: Sequence[TagRow], contract: Contract) -> Vocabulary:
    """Return the tags under their current names.

    Raises
    ------
    TagstackError
        If an alias names no tag of the file, or leads to a name that another row has.
    """
    unknown = set(contract.aliases) - {row.tag for row in rows}
    if unknown:
        msg = f"Tagger {contract.name!r}: [aliases] names tags it lacks: {sorted(unknown)[:5]}."
        raise TagstackError(msg)
    tags = tuple(contract.aliases.get(row.tag, row.tag) for row in rows)
    return Vocabulary(tags, tuple(row.category for row in rows))


def thresholds_from_rows(rows: Sequence[TagRow], contract: Contract) -> NDArray[np.float32]:
    """Return the published threshold of each row, shape (n_tags,), float32."""
    published = contract.threshold
    by_category = (published.per_category.get(row.category, published.default) for row in rows)
    pairs = zip(rows, by_category, strict=True)
    values = [other if row.best_threshold is None else row.best_threshold for row, other in pairs]
    return np.array(values, np.float32)


def counts_from_rows(rows: Sequence[TagRow]) -> NDArray[np.float32]:
    """Return how many training images have each tag, shape (n_tags,), float32; NaN = not said."""
    return np.array([np.nan if row.count is None else row.count for row in rows], np.float32)
