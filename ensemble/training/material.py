"""Parts pictures and labels into those that teach a tagger and those that judge it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.labels.label_files import LabelTable
from tagstack.meta.labels.labels import AlignedLabels, group_numbers
from tagstack.meta.labels.near_duplicates import near_duplicate_groups

if TYPE_CHECKING:
    from tagstack.base_models.training.adversary import Column
    from tagstack.base_models.training.loop import Material
    from tagstack.base_models.training.pixels import FramedImages

NAMED = 5  # examples in a notice
_LEAST_OF_VALUE = 5  # pictures of a column's value, below which nothing is trained against it


@dataclass(frozen=True, kw_only=True)
class Parted:
    """Pictures that teach, pictures that judge, and what to say of them.

    Parameters
    ----------
    material : Material
    groups : array of shape (n_left_out,), int64
        Of the pictures that judge.
    notices : tuple of str
    """

    material: "Material"
    groups: NDArray[np.int64]
    notices: tuple[str, ...]


def parted_material(
    table: LabelTable,
    framed: "FramedImages",
    aligned: AlignedLabels,
    settings: Settings,
    *,
    group: str | None,
    left_out: str | None,
    against: str | None,
) -> Parted:
    """Return pictures parted into those that teach and those that judge.

    Parameters
    ----------
    table : LabelTable
        Named where a column is missing.
    framed : FramedImages
    aligned : AlignedLabels
        One row for each labelled picture.
    settings : Settings
    group : str or None
        Column whose equal values no split may part.
    left_out : str or None
        ``COLUMN=VALUE``: the rows that judge; without, whole groups are drawn.
    against : str or None
        Column that the features must not tell.
    """
    from tagstack.base_models.training.loop import Material

    rows = aligned.rows
    titles = aligned.columns[_column(group, aligned, table)] if group else None
    contents = [framed.contents[i] for i in rows]
    hashes = framed.hashes.take(rows.astype(np.intp))
    alike = near_duplicate_groups(hashes, settings.score.near_duplicates)
    groups = group_numbers(titles or ("",) * len(rows), [contents[i] for i in alike])
    names = [framed.names[i] for i in rows]
    notices = list(_alike_notices(alike, names))
    if left_out is None:
        judges = _drawn(aligned, groups, settings)
    else:
        judges = _asked(left_out, aligned, table)
        crossing = ~judges & np.isin(groups, groups[judges])
        notices += _crossing_notices(crossing, judges, groups, names)
        rows, judges, groups = rows[~crossing], judges[~crossing], groups[~crossing]
        keep = np.flatnonzero(~crossing)
        aligned = _kept(aligned, keep)
    left = np.flatnonzero(judges)
    most = settings.train.judged_images
    if len(left) > most:
        drawn = np.random.default_rng(settings.seed).permutation(len(left))[:most]
        left = np.sort(left[drawn])
    _check_sides(int((~judges).sum()), len(left))
    labels = _over_all(aligned.matrix, rows, len(framed.names))
    unknown = _over_all(aligned.unknown, rows, len(framed.names))
    material = Material(
        pixels=framed.pixels,
        labels=labels,
        unknown=unknown,
        training=rows[~judges],
        left_out=rows[left],
        column=_against(against, aligned, table, rows, judges, len(framed.names)),
    )
    return Parted(material=material, groups=groups[left], notices=tuple(notices))


def _against(
    name: str | None,
    aligned: AlignedLabels,
    table: LabelTable,
    rows: NDArray[np.int64],
    judges: NDArray[np.bool_],
    n_images: int,
) -> "Column | None":
    """Return the column that must not be told; rare and empty values are unknown."""
    from tagstack.base_models.training.adversary import UNKNOWN, Column

    if name is None:
        return None
    own = np.array(aligned.columns[_column(name, aligned, table)], object)
    counts = Counter(own[~judges].tolist())
    names = sorted(v for v, n in counts.items() if v and n >= _LEAST_OF_VALUE)
    if len(names) < 2:
        msg = (
            f"--against {name}: {len(names)} values are on {_LEAST_OF_VALUE} pictures or more that "
            "are learnt from; expected at least 2, or there is nothing to train against."
        )
        raise TagstackError(msg)
    place = {value: i for i, value in enumerate(names)}
    values = np.full(n_images, UNKNOWN, np.int64)
    values[rows] = [place.get(value, UNKNOWN) for value in own.tolist()]
    return Column(values=values, names=tuple(names))


def _column(name: str, aligned: AlignedLabels, table: LabelTable) -> str:
    if name not in aligned.columns:
        msg = f"{table.source} has no column {name!r}. Columns there: {sorted(aligned.columns)}."
        raise TagstackError(msg)
    return name


def _drawn(
    aligned: AlignedLabels, groups: NDArray[np.int64], settings: Settings
) -> NDArray[np.bool_]:
    """Return which pictures judge: whole groups, about as many as asked."""
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        msg = (
            f"{len(groups)} labelled pictures are one group, for they look alike or share its "
            "value; expected at least 2, one to learn from and one to judge by. Label other "
            "pictures, or group by another column."
        )
        raise TagstackError(msg)
    n_folds = min(max(2, round(1 / settings.train.left_out)), n_groups)
    folds = stratified_group_folds(aligned.matrix, groups, n_folds, settings.seed)
    return np.asarray(folds == 0, bool)


def _asked(condition: str, aligned: AlignedLabels, table: LabelTable) -> NDArray[np.bool_]:
    column, equals, value = condition.partition("=")
    if not equals:
        raise TagstackError(f"--left-out {condition!r} has no '='. Expected COLUMN=VALUE.")
    own = aligned.columns[_column(column, aligned, table)]
    return np.array([cell == value for cell in own], bool)


def _kept(aligned: AlignedLabels, keep: NDArray[np.intp]) -> AlignedLabels:
    return AlignedLabels(
        rows=aligned.rows[keep],
        matrix=aligned.matrix[keep],
        unknown=aligned.unknown[keep],
        columns={name: tuple(own[i] for i in keep) for name, own in aligned.columns.items()},
        notices=aligned.notices,
    )


def _alike_notices(alike: NDArray[np.int64], names: list[str]) -> Iterator[str]:
    _, inverse, counts = np.unique(alike, return_inverse=True, return_counts=True)
    several = np.flatnonzero(counts[inverse] > 1)
    if len(several):
        first = [names[i] for i in several if alike[i] == alike[several[0]]][:2]
        yield (
            f"{len(several)} pictures look like another one, such as {' and '.join(first)}; they "
            "stay on one side, learnt from or judging"
        )


def _crossing_notices(
    crossing: NDArray[np.bool_],
    judges: NDArray[np.bool_],
    groups: NDArray[np.int64],
    names: list[str],
) -> Iterator[str]:
    rows = np.flatnonzero(crossing)
    if not len(rows):
        return
    pairs = []
    for row in rows[:NAMED]:
        other = np.flatnonzero(judges & (groups == groups[row]))[0]
        pairs.append(f"{names[row]} ({names[other]})")
    yield (
        f"{len(rows)} pictures are not learnt from, since they look like a left-out one or share "
        f"its group: {', '.join(pairs)}{', ...' if len(rows) > NAMED else ''}"
    )


def _check_sides(n_training: int, n_left_out: int) -> None:
    if n_training < 2 or n_left_out < 1:
        msg = (
            f"{n_training} pictures to learn from and {n_left_out} to judge by; expected at least "
            "2 and 1. Label more pictures, or leave out others."
        )
        raise TagstackError(msg)


def _over_all(matrix: sparse.csr_array, rows: NDArray[np.int64], n_images: int) -> sparse.csr_array:
    """Return a matrix of some images as one of all, shape (n_images, n_tags)."""
    place = (np.ones(len(rows), bool), (rows, np.arange(len(rows))))
    return sparse.csr_array(sparse.csr_array(place, shape=(n_images, len(rows))) @ matrix)
