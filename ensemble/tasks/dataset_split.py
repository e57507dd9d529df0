"""Folds of a training folder as a table: tags spread evenly, groups and near-duplicates whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.atomic import written_whole
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.bundle.files import refuse_existing
from tagstack.ensemble.outputs.format import printable
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.tasks.dataset_filter import columns_of
from tagstack.ensemble.workshop.dataset.folder import CaptionFolder
from tagstack.ensemble.workshop.dataset.pictures import MeasuredPictures
from tagstack.ensemble.workshop.dataset.reading import tags_of_pictures, writing_of
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.labels.labels import group_numbers


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """What is asked.

    Parameters
    ----------
    folder : Path
    out : Path
        CSV with the columns ``image,tags,fold``, as `fit --labels` reads it.
    folds : int
    table : Path, optional
        CSV with a column ``image`` and the one that ``group`` names.
    group : str, optional
        Column whose equal values stay together, such as an artist.
    near_duplicates : bool
        Whether near-duplicates stay together, which opens every picture.
    overwrite : bool
    """

    folder: Path
    out: Path
    folds: int
    table: Path | None = None
    group: str | None = None
    near_duplicates: bool = True
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Split:
    """What was written.

    Parameters
    ----------
    n_images, n_groups, n_tags : int
    sizes : tuple of int
        Images of each fold.
    n_missing : int
        Tags on as many pictures as there are folds, or more, that some fold lacks.
    out : Path
    """

    n_images: int
    n_groups: int
    n_tags: int
    sizes: tuple[int, ...]
    n_missing: int
    out: Path


def split_pictures(request: SplitRequest, settings: Settings, progress: Progress) -> Split:
    """Write the fold of every picture of a training folder.

    Raises
    ------
    TagstackError
        If there are fewer groups than folds, or folder, table or column cannot be used.
    """
    refuse_existing(request.out, overwrite=request.overwrite)
    own = settings.dataset
    folder = CaptionFolder.of(
        request.folder, extensions=settings.score.extensions, endings=own.caption_extensions
    )
    tags = [own for _, own in tags_of_pictures(folder, writing_of(folder), progress)]
    labels = _matrix(tags)
    groups = _groups(request, folder, settings, progress)
    folds = stratified_group_folds(labels, groups, request.folds, settings.seed)
    _write(request.out, folder.images, tags, folds)
    return Split(
        n_images=len(folder.images),
        n_groups=len(np.unique(groups)),
        n_tags=labels.shape[1],
        sizes=tuple(np.bincount(folds, minlength=request.folds).tolist()),
        n_missing=_n_missing(labels, folds, request.folds),
        out=request.out,
    )


def _groups(
    request: SplitRequest, folder: CaptionFolder, settings: Settings, progress: Progress
) -> NDArray[np.int64]:
    values = [""] * len(folder.images)
    if request.group is None and request.table is not None:
        raise TagstackError("--table alone says nothing: name its column by --group.")
    if request.group is not None:
        if request.table is None:
            raise TagstackError("--group names a column; give the table that has it by --table.")
        columns = columns_of(request.table, folder)
        if not any(request.group in row for row in columns.values()):
            known = sorted(next(iter(columns.values()), {}))
            msg = f"{request.table} has no column {request.group!r} for these pictures: {known}."
            raise TagstackError(msg)
        values = [columns.get(image, {}).get(request.group, "") for image in folder.images]
    alike = np.arange(len(folder.images))
    if request.near_duplicates:
        measured = MeasuredPictures(folder, settings.score)
        alike = measured.groups(folder.images, progress)
    return group_numbers(values, [str(number) for number in alike.tolist()])


def _matrix(tags: Sequence[frozenset[str]]) -> sparse.csr_array:
    place = {tag: i for i, tag in enumerate(sorted(frozenset().union(*tags)))}
    columns = [sorted(place[tag] for tag in own) for own in tags]
    indptr = np.cumsum([0, *map(len, columns)])
    indices = np.array([column for own in columns for column in own], np.int32)
    data = (np.ones(len(indices), bool), indices, indptr)
    return sparse.csr_array(data, shape=(len(tags), len(place)))


def _n_missing(labels: sparse.csr_array, folds: NDArray[np.int64], n_folds: int) -> int:
    """Return how many tags could be in every fold by their number, and are not."""
    counts = np.stack(
        [labels[folds == fold].astype(np.int64).sum(axis=0) for fold in range(n_folds)]
    )
    return int(((counts.sum(axis=0) >= n_folds) & (counts.min(axis=0) == 0)).sum())


def _write(
    path: Path,
    images: Sequence[str],
    tags: Sequence[frozenset[str]],
    folds: NDArray[np.int64],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        written_whole(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        table = TableWriter(stream)
        table.writerow(("image", "tags", "fold"))
        for image, own, fold in zip(images, tags, folds.tolist(), strict=True):
            table.writerow((printable(image), ", ".join(map(printable, sorted(own))), fold))
