"""Labels aligned with scored images, and the groups that a split must keep whole.

Nothing is dropped in silence: `AlignedLabels.notices` counts and names every tag, image and row
that could not be used.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.meta.labels.label_files import LabelRow, LabelTable
from tagstack.meta.labels.truth import known_labels
from tagstack.meta.labels.unknown_labels import TagFamilies, unknown_pairs

_NAMED = 5  # how many offenders a notice names


@dataclass(frozen=True, kw_only=True)
class AlignedLabels:
    """Labels of the scored images that have some, over the scores' vocabulary.

    Parameters
    ----------
    rows : array of shape (n_images,), int64
        Index of each labelled image in the list of scored images, ascending.
    matrix : sparse array of shape (n_images, n_tags), bool
        Nothing is true where it is unknown.
    unknown : sparse array of shape (n_images, n_tags), bool
        Pairs that are neither positive nor negative.
    columns : mapping of column name to n_images values
        Further columns that every one of these rows has.
    notices : tuple of str
        One line for each kind of thing that could not be used, with count and examples.
    """

    rows: NDArray[np.int64]
    matrix: sparse.csr_array
    unknown: sparse.csr_array
    columns: Mapping[str, tuple[str, ...]]
    notices: tuple[str, ...]


def align_labels(
    table: LabelTable,
    images: Sequence[str],
    vocabulary: Vocabulary,
    aliases: Mapping[str, str] | None = None,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    unknown_if_absent: Sequence[str] = (),
) -> AlignedLabels:
    """Return the labels of those ``images`` that the table names.

    Parameters
    ----------
    table : LabelTable
    images : sequence of str
        Scored images, paths relative to the scored folder.
    vocabulary : Vocabulary
        The scores' vocabulary; label tags outside it are counted and named.
    aliases : mapping of str to str, optional
        Outdated tag names to current ones.
    groups : mapping of name to tag names, optional
        Exclusive groups, by whose names families of tags may be called unknown.
    unknown_if_absent : sequence of str
        Families (patterns, groups, categories) that are unknown for an image with none of their
        tags, instead of absent.

    Raises
    ------
    TagstackError
        If not one scored image has labels, or such a family has fewer than two tags.
    """
    found, notices = _match(table, images)
    if not found:
        msg = (
            f"None of the {len(table.rows)} images in {table.source} was scored: it names "
            f"{table.rows[0].image!r}, the scores {images[0] if images else 'no image'!r}. "
            "Write paths relative to the scored folder."
        )
        raise TagstackError(msg)
    ordered = sorted(found)
    rows = [found[i] for i in ordered]
    stated, foreign = _matrix([row.tags for row in rows], vocabulary, aliases or {})
    families = TagFamilies(vocabulary, groups or {}, aliases or {})
    unknown, idle = unknown_pairs(
        stated, [row.unknown for row in rows], unknown_if_absent, families
    )
    matrix = known_labels(stated, unknown)
    if foreign:
        notices.append(_notice("label tags are known to no tagger and are ignored", foreign))
    notices += _unknown_notices(stated, matrix, unknown, idle)
    return AlignedLabels(
        rows=np.array(ordered, np.int64),
        matrix=matrix,
        unknown=unknown,
        columns=_common_columns(rows),
        notices=tuple(notices),
    )


def group_numbers(values: Sequence[str], contents: Sequence[str]) -> NDArray[np.int64]:
    """Return a group number for each image; equal values or equal contents share one.

    Parameters
    ----------
    values : sequence of str
        The grouping column, such as a title or an artist; an empty value groups nothing.
    contents : sequence of str
        Hash of each image's bytes: copies of a picture must not lie on both sides of a split.

    Returns
    -------
    array of shape (n_images,), int64
    """
    from scipy.sparse.csgraph import connected_components

    keys: dict[tuple[str, str], int] = {}
    cells = []
    for i, (value, content) in enumerate(zip(values, contents, strict=True)):
        for key in (("value", value) if value else ("image", str(i)), ("content", content)):
            cells.append((i, keys.setdefault(key, len(keys))))
    image, key_number = np.array(cells, np.int64).reshape(-1, 2).T
    size = len(values) + len(keys)
    link = (np.ones(len(image), bool), (image, key_number + len(values)))
    graph = sparse.coo_array(link, shape=(size, size))
    numbers: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers[: len(values)]


def _unknown_notices(
    stated: sparse.csr_array,
    matrix: sparse.csr_array,
    unknown: sparse.csr_array,
    idle: Counter[str],
) -> list[str]:
    """Return what there is to say of unknown pairs; nothing without any."""
    notices = []
    if idle:
        notices.append(_notice("words of the column 'unknown' stand for no tag", idle))
    if unknown.nnz:
        n_images = int((np.diff(unknown.indptr) > 0).sum())
        n_tags = len(np.unique(unknown.indices))
        notices.append(
            f"{unknown.nnz} pairs of {n_images} images and {n_tags} tags are unknown: neither "
            "positive nor negative"
        )
    if stated.nnz > matrix.nnz:
        notices.append(f"{stated.nnz - matrix.nnz} labels stand at unknown pairs and are ignored")
    return notices


def _match(table: LabelTable, images: Sequence[str]) -> tuple[dict[int, LabelRow], list[str]]:
    positions: dict[str, list[int]] = defaultdict(list)
    for i, image in enumerate(images):
        positions[image].append(i)
    if table.by_stem:
        _add_stems(positions, images, {row.image for row in table.rows})
    found: dict[int, LabelRow] = {}
    missing: list[str] = []
    repeated: list[str] = []
    for row in table.rows:
        matches = positions.get(PurePosixPath(row.image).as_posix(), [])
        if not matches:
            missing.append(row.image)
        elif any(i in found for i in matches):
            repeated.append(row.image)
        else:
            found |= dict.fromkeys(matches, row)
    without = [image for i, image in enumerate(images) if i not in found]
    kinds = {
        "labelled images have no scores": missing,
        "images are labelled more than once; the first row counts": repeated,
        "scored images have no labels": [] if table.filtered else without,
    }
    return found, [_notice(what, names) for what, names in kinds.items() if names]


def _add_stems(
    positions: dict[str, list[int]], images: Sequence[str], named: Collection[str]
) -> None:
    """Let a stem mean every image with it, except those with a sidecar of their whole name."""
    whole = frozenset(images)
    for i, image in enumerate(images):
        if image not in named and _stem(image) not in whole:
            positions[_stem(image)].append(i)


def _stem(image: str) -> str:
    return PurePosixPath(image).with_suffix("").as_posix()


def _notice(what: str, names: Iterable[str] | Counter[str]) -> str:
    counts = Counter(names)
    top = [f"{name} ({n})" if n > 1 else name for name, n in counts.most_common(_NAMED)]
    dots = ", ..." if len(counts) > _NAMED else ""
    return f"{len(counts)} {what}: {', '.join(top)}{dots}"


def _matrix(
    tags: Sequence[Sequence[str]], vocabulary: Vocabulary, aliases: Mapping[str, str]
) -> tuple[sparse.csr_array, Counter[str]]:
    unknown: Counter[str] = Counter()
    columns: list[int] = []
    indptr = [0]
    for own in tags:
        current = {aliases.get(tag, tag) for tag in own}
        unknown.update(current - vocabulary.index.keys())
        columns += sorted(vocabulary.index[tag] for tag in current & vocabulary.index.keys())
        indptr.append(len(columns))
    data = (np.ones(len(columns), bool), np.array(columns, np.int32), np.array(indptr))
    return sparse.csr_array(data, shape=(len(tags), len(vocabulary))), unknown


def _common_columns(rows: Sequence[LabelRow]) -> dict[str, tuple[str, ...]]:
    names = set.intersection(*(set(row.columns) for row in rows))
    return {name: tuple(row.columns[name] for row in rows) for name in sorted(names)}
