"""Scores joined with labels: what fitting and comparing start from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.pictures.picture_hash import PictureHashes
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.labels import LabelSettings
from tagstack.configs.level1 import NearDuplicateSettings
from tagstack.configs.stack import ProbeSettings, StackSettings
from tagstack.meta.labels.balance import Balance, balance_of
from tagstack.meta.labels.label_files import LabelTable, read_labels
from tagstack.meta.labels.labels import AlignedLabels, align_labels, group_numbers
from tagstack.meta.labels.near_duplicates import near_duplicate_groups
from tagstack.meta.labels.own_tags import OwnTags, own_tags
from tagstack.meta.probe.probe import over_vocabulary

if TYPE_CHECKING:
    from tagstack.ensemble.bundle.bundle import Bundle

# A column with more values is an identity (a title, a date), and parts images only where asked to.
MOST_KINDS = 50


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled images with every member's scores.

    Parameters
    ----------
    scores : Level1Scores
        Scores of the labelled images alone.
    labels : sparse array of shape (n_images, n_tags), bool
        Nothing is true where it is unknown.
    unknown : sparse array of shape (n_images, n_tags), bool
        Pairs of which nobody says whether they hold: neither positive nor negative.
    groups : array of shape (n_images,), int64
        Images of one group share a picture, a title, an artist, or look alike: no split may part
        them.
    hashes : PictureHashes
        What each image looks like.
    contents : tuple of str
        SHA-256 of each image's bytes.
    titles : tuple of str
        Value of the grouping column for each image; empty without one.
    columns : mapping of column name to n_images values
        Further columns of the label file.
    members : tuple of MemberInfo
        The taggers, in the order of the scores; a probe, the last of a bundle's, is none.
    notices : tuple of str
        What of the labels could not be used, a line each.
    """

    scores: Level1Scores
    labels: sparse.csr_array
    unknown: sparse.csr_array
    groups: NDArray[np.int64]
    hashes: PictureHashes
    contents: tuple[str, ...]
    titles: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    members: tuple[MemberInfo, ...]
    notices: tuple[str, ...]

    def take(self, images: NDArray[np.intp]) -> "Dataset":
        """Return the images at these indices, in that order."""
        return replace(
            self,
            scores=self.scores.take(images),
            labels=self.labels[images],
            unknown=self.unknown[images],
            groups=self.groups[images],
            hashes=self.hashes.take(images),
            contents=tuple(self.contents[i] for i in images),
            titles=tuple(self.titles[i] for i in images),
            columns={name: tuple(own[i] for i in images) for name, own in self.columns.items()},
        )

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Return the label columns that part the images into a few kinds, the grouping one aside.

        By name, the value of each image.
        """
        return {
            name: values
            for name, values in self.columns.items()
            if values != self.titles and 1 < len(set(values)) <= MOST_KINDS
        }

    def balance(self, settings: StackSettings) -> Balance | None:
        """Return what images count where ``stack.balance`` names a column; None without one.

        Raises
        ------
        TagstackError
            If the labels have no such column, or one value of it.
        """
        if not settings.balance:
            return None
        return balance_of(settings.balance, self.columns, self.groups, settings.balance_most)


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """Where a dataset comes from.

    Parameters
    ----------
    scores : Path or ScoreReader
        Folder of a score store, or what reads scores elsewhere, such as from memory.
    labels : Path or LabelTable
        CSV, JSONL or a folder of sidecars, or their rows.
    where : str, optional
        ``COLUMN=VALUE``: only these rows of the labels.
    group : str, optional
        Column whose equal values form a group. Copies of one picture always do.
    unknown_if_absent : tuple of str, optional
        Families of tags that are unknown for an image with none of them; as the settings or the
        bundle say when not given.
    sidecars : tuple of str, optional
        Endings of the texts in a folder of labels; as the settings or the bundle say when not
        given.
    """

    scores: Path | ScoreReader
    labels: Path | LabelTable
    where: str | None = None
    group: str | None = None
    unknown_if_absent: tuple[str, ...] | None = None
    sidecars: tuple[str, ...] | None = None

    def reader(self) -> ScoreReader:
        """Return what reads the scores."""
        return ScoreStore(self.scores) if isinstance(self.scores, Path) else self.scores

    def read(self, settings: LabelSettings) -> LabelTable:
        """Return the label rows that are meant."""
        table = self.labels
        if isinstance(table, Path):
            sidecars = self.sidecars or settings.sidecar_extensions
            return read_labels(table, sidecars=sidecars, where=self.where)
        return table.where(self.where)


def load_dataset(
    source: DatasetSource,
    *,
    aliases: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
    labels: LabelSettings,
    near_duplicates: NearDuplicateSettings | None = None,
    bundle: "Bundle | None" = None,
    probe: ProbeSettings | None = None,
    spill: Spill = IN_MEMORY,
) -> Dataset:
    """Return the labelled images of a score store.

    For a bundle, the scores are of its members and as it predicts from them. For a fit with a
    probe, they have features, and the vocabulary ends in the labels' tags that no tagger knows.

    Parameters
    ----------
    source : DatasetSource
    aliases : mapping of str to str
        Outdated tag names in the labels to current ones.
    groups : mapping of name to tag names
        Exclusive groups, by whose names families of tags may be called unknown.
    labels : LabelSettings
        What holds where ``source`` does not say.
    near_duplicates : NearDuplicateSettings, optional
        When images that look alike form a group; without it, only equal files do.
    bundle : Bundle, optional
        Whose members are used, in its order; all of the store by default.
    probe : ProbeSettings, optional
        Of a fit; heeded where the store has features.
    spill : Spill, optional
        Where the logits lie.

    Raises
    ------
    TagstackError
        If scores or labels cannot be read, or no scored image is labelled.
    """
    store = source.reader()
    by_name = {member.name: member for member in store.members()}
    scores = _scores(store, by_name, bundle, probe, spill)
    table = source.read(labels)
    records = store.records()
    asked = source.unknown_if_absent
    align = partial(
        align_labels,
        table,
        scores.images,
        aliases=aliases,
        groups=groups,
        unknown_if_absent=labels.unknown_if_absent if asked is None else asked,
        roots=sorted({record.root for record in records if record.root}),
    )
    own = OwnTags.none()
    if probe is not None and any(own.shape[1] for own in scores.features):
        own = own_tags(align(scores.vocabulary).foreign, scores.vocabulary, probe.own_positives)
        scores = over_vocabulary(scores, own.added_to(scores.vocabulary))
    aligned = align(scores.vocabulary, least_understood=labels.least_understood)
    _check_known(aligned, table, scores.vocabulary)
    every = np.array_equal(aligned.rows, np.arange(scores.n_images))
    taken = scores if every else scores.take(aligned.rows, spill)
    content = {record.path: record.sha256 for record in records}
    contents = tuple(content[image] for image in taken.images)
    titles = _titles(source.group, table.source, aligned)
    hashes = store.picture_hashes(taken.images)
    alike, said = _alike(hashes, near_duplicates)
    return Dataset(
        scores=taken,
        labels=aligned.matrix,
        unknown=aligned.unknown,
        groups=group_numbers(titles, [contents[i] for i in alike]),
        hashes=hashes,
        contents=contents,
        titles=titles,
        columns=aligned.columns,
        members=tuple(by_name[name] for name in scores.members if name in by_name),
        notices=(*aligned.notices, *own.notices(), *said),
    )


def _check_known(aligned: AlignedLabels, table: LabelTable, vocabulary: Vocabulary) -> None:
    """Refuse labels of which no tagger knows a single one."""
    if not aligned.matrix.nnz:
        found = sorted({tag for row in table.rows for tag in row.tags})[:5]
        msg = (
            f"{table.source} names no tag that a tagger knows on any scored image; its tags are "
            f"{found or 'none at all'}. Expected tags as the taggers write them, such as "
            f"{list(vocabulary.tags[:3])}."
        )
        raise TagstackError(msg)


def _scores(
    store: ScoreReader,
    by_name: Mapping[str, MemberInfo],
    bundle: "Bundle | None",
    probe: ProbeSettings | None,
    spill: Spill,
) -> Level1Scores:
    """Return all scores of a store, as a bundle or a fit wants them."""
    if bundle is None:
        wanted = probe is not None and probe.enabled
        has = any(member.n_features for member in by_name.values())
        return store.load(members=tuple(by_name), features=wanted and has, spill=spill)
    bundle.check_members(by_name.values())
    return bundle.scores(store)


def _alike(
    hashes: PictureHashes, settings: NearDuplicateSettings | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return for each image the first that it looks like, and notices about that."""
    n_images = len(hashes.known)
    if settings is None or not settings.enabled:
        return np.arange(n_images, dtype=np.int64), ()
    first = near_duplicate_groups(hashes, settings)
    _, counts = np.unique(first, return_counts=True)
    notices = []
    if (counts > 1).any():
        notices.append(
            f"{counts[counts > 1].sum()} images look like another one, in {(counts > 1).sum()} "
            f"groups of up to {counts.max()}; a group is never parted"
        )
    if not hashes.known.all():
        notices.append(
            f"what {n_images - hashes.known.sum()} of {n_images} images look like is not known, "
            f"so near-duplicates among them are not; `tagstack score` over them finds out, "
            f"without running a tagger again"
        )
    return first, tuple(notices)


def _titles(group: str | None, labels: str, aligned: AlignedLabels) -> tuple[str, ...]:
    if group is None:
        return ("",) * len(aligned.rows)
    if group not in aligned.columns:
        msg = (
            f"{labels} has no column {group!r} to group by. "
            f"Columns there: {sorted(aligned.columns)}."
        )
        raise TagstackError(msg)
    return aligned.columns[group]
