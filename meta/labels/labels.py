"""Labels aligned with scored images, and the groups that a split must keep whole.

Nothing is dropped in silence: `AlignedLabels.notices` counts and names every tag, image and row
that could not be used.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.tag_names import TagNames, booru_form
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.meta.labels.image_names import match_names
from tagstack.meta.labels.label_table import LabelRow, LabelTable, union_of
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
        One line for each kind of thing that could not be used, or was understood by overlooking
        something, with count and examples.
    foreign : Counter of str
        On how many of the images there are tags that the vocabulary does not know.
    """

    rows: NDArray[np.int64]
    matrix: sparse.csr_array
    unknown: sparse.csr_array
    columns: Mapping[str, tuple[str, ...]]
    notices: tuple[str, ...]
    foreign: Counter[str] = field(default_factory=Counter)


def align_labels(
    table: LabelTable,
    images: Sequence[str],
    vocabulary: Vocabulary,
    aliases: Mapping[str, str] | None = None,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    unknown_if_absent: Sequence[str] = (),
    roots: Sequence[str] = (),
    least_understood: float = 0.0,
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
    roots : sequence of str
        Folders that the images were scored below; labels may name images from there.
    least_understood : float, in [0, 1]
        Share of the labels' tags that the vocabulary must know.

    Raises
    ------
    TagstackError
        If not one scored image has labels, too few tags are understood, or such a family has
        fewer than two tags.
    """
    found, notices = rows_of_images(table, images, roots)
    if not found:
        msg = (
            f"None of the {len(table.rows)} images in {table.source} was scored: it names "
            f"{table.rows[0].image!r}, the scores {images[0] if images else 'no image'!r}. "
            "Write paths relative to the scored folder."
        )
        raise TagstackError(msg)
    ordered = sorted(found)
    rows = [found[i] for i in ordered]
    names = TagNames(vocabulary, aliases or {}, marked=True)
    tags = [_understood(row, names) for row in rows]
    stated, foreign = _matrix(tags, names)
    _check_understood(tags, foreign, least_understood, table.source)
    families = TagFamilies(vocabulary, groups or {}, aliases or {})
    unknown, idle = unknown_pairs(
        stated,
        [row.unknown for row in rows],
        unknown_if_absent,
        families,
        known=[row.known for row in rows],
    )
    matrix = known_labels(stated, unknown)
    overlooked = names.overlooked(tag for own in tags for tag in own)
    for what, written in overlooked.items():
        notices.append(_notice(f"label tags were understood in spite of {what}", written))
    bare = [images[i] for i, n in zip(ordered, np.diff(stated.indptr), strict=True) if not n]
    if bare:
        what = "labelled images have no tag that a tagger knows, and count as images without any"
        notices.append(_notice(what, bare))
    if foreign:
        notices.append(_notice("label tags are known to no tagger and are ignored", foreign))
    notices += _unknown_notices(stated, matrix, unknown, idle)
    return AlignedLabels(
        rows=np.array(ordered, np.int64),
        matrix=matrix,
        unknown=unknown,
        columns=_common_columns(rows),
        notices=tuple(notices),
        foreign=foreign,
    )


def rows_of_images(
    table: LabelTable, images: Sequence[str], roots: Sequence[str] = ()
) -> tuple[dict[int, LabelRow], list[str]]:
    """Return the row that each of some images has in a table, and what there is to say of it.

    Parameters
    ----------
    table : LabelTable
    images : sequence of str
        Paths relative to their folder.
    roots : sequence of str
        Folders that the images lie below; labels may name images from there.

    Returns
    -------
    dict of int to LabelRow
        By the image's index; images without a row are left out.
    list of str
        A line for each kind of thing that was overlooked or is missing.
    """
    stems = _stems(images, {row.image for row in table.rows}) if table.by_stem else {}
    rest = [row.image for row in table.rows if row.image not in stems]
    matched = match_names(rest, images, roots=roots)
    meant = {**matched.found, **stems}
    rows: defaultdict[int, list[LabelRow]] = defaultdict(list)
    doubled = set(table.joined)
    missing = [row.image for row in table.rows if row.image not in meant]
    for row in table.rows:
        for i in meant.get(row.image, ()):
            rows[i].append(row)
    found = {i: union_of(own) for i, own in rows.items()}
    several = [name for name in table.joined if name not in meant]
    several += [images[i] for i in sorted(rows) if len(rows[i]) > 1 or rows[i][0].image in doubled]
    without = [image for i, image in enumerate(images) if i not in found]
    kinds = {
        "labelled images have no scores": missing,
        "images have several rows, which are joined": several,
        "further columns differ between rows of one image; the first row counts": table.differing,
        "scored images have no labels": [] if table.filtered else without,
    }
    steps = [f"{n} image names matched but for {step}" for step, n in matched.steps.items()]
    return found, steps + [_notice(what, names) for what, names in kinds.items() if names]


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
        notices.append(_notice("words of the columns 'unknown' and 'known' stand for no tag", idle))
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


def _stems(images: Sequence[str], named: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Return every image that a stem means, those with a sidecar of their whole name left out."""
    whole = frozenset(images)
    meant: defaultdict[str, list[int]] = defaultdict(list)
    for i, image in enumerate(images):
        stem = PurePosixPath(image).with_suffix("").as_posix()
        if image not in named and stem not in whole and stem in named:
            meant[stem].append(i)
    return {stem: tuple(own) for stem, own in meant.items()}


def _understood(row: LabelRow, names: TagNames) -> tuple[str, ...]:
    """Return a row's tags; a text of several words is what the vocabulary knows of the two."""
    tags = row.tags
    for text in row.unsure:
        whole, parts = booru_form(text), tuple(map(booru_form, text.split()))
        known, of_parts = (
            names.find(whole) is not None,
            all(names.find(p) is not None for p in parts),
        )
        if whole in row.tags:  # the file's mark is no space: one tag, unless only its words are
            if of_parts and not known:
                tags = (*(tag for tag in tags if tag != whole), *parts)
        elif known and (row.sure or not of_parts):  # rows of one image: a tag in each
            tags = (*(tag for tag in tags if tag not in parts or tag in row.sure), whole)
    return tuple(dict.fromkeys(tags))


def _check_understood(
    tags: Sequence[Sequence[str]], foreign: Counter[str], least: float, source: str
) -> None:
    n_tags = sum(map(len, tags))
    share = 1 - foreign.total() / n_tags if n_tags else 1.0
    if share >= least:
        return
    shown = [tag for tag, _ in foreign.most_common(3)]
    msg = (
        f"Only {share:.0%} of the tags in {source} are understood, expected at least {least:.0%}; "
        f"not understood are {shown}. {_likely_cause(shown)} "
        f"Or lower labels.least_understood, if most tags are not the taggers'."
    )
    raise TagstackError(msg)


def _likely_cause(shown: Sequence[str]) -> str:
    for mark, name in ((";", "semicolons"), ("|", "bars"), (",", "commas"), ("/", "slashes")):
        if sum(mark in tag.strip(mark) for tag in shown) * 2 > len(shown):
            return f"Tags seem to be separated by {name}; separate them by commas."
    if sum(tag.count("_") > 3 for tag in shown) * 2 > len(shown):
        return "Whole captions seem to stand for one tag each; separate tags by commas."
    return "Expected tags as the taggers write them, separated by commas or spaces."


def _notice(what: str, names: Iterable[str] | Counter[str]) -> str:
    counts = Counter(names)
    top = [f"{name} ({n})" if n > 1 else name for name, n in counts.most_common(_NAMED)]
    dots = ", ..." if len(counts) > _NAMED else ""
    return f"{len(counts)} {what}: {', '.join(top)}{dots}"


def _matrix(
    tags: Sequence[Sequence[str]], names: TagNames
) -> tuple[sparse.csr_array, Counter[str]]:
    foreign: Counter[str] = Counter()
    columns: list[int] = []
    indptr = [0]
    for own in tags:
        places = {tag: names.find(tag) for tag in own}
        foreign.update(names.aliases.get(tag, tag) for tag, at in places.items() if at is None)
        columns += sorted({at for at in places.values() if at is not None})
        indptr.append(len(columns))
    data = (np.ones(len(columns), bool), np.array(columns, np.int32), np.array(indptr))
    return sparse.csr_array(data, shape=(len(tags), len(names.vocabulary))), foreign


def _common_columns(rows: Sequence[LabelRow]) -> dict[str, tuple[str, ...]]:
    names = set.intersection(*(set(row.columns) for row in rows))
    return {name: tuple(row.columns[name] for row in rows) for name in sorted(names)}
