"""What an audit is asked, and the slices of images and tags that follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.settings import Settings
from tagstack.ensemble.audit.counts import JudgedPairs
from tagstack.ensemble.audit.slices import TAG_KINDS, Slice, column_slices, held_slices, tag_slices
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource
from tagstack.ensemble.tasks.audit_probes import ProbeRequest
from tagstack.ensemble.tasks.audit_refits import RefitRequest
from tagstack.ensemble.workshop.dataset.caption_text import key_of
from tagstack.ensemble.workshop.dataset.tag_groups import tag_groups


@dataclass(frozen=True, kw_only=True)
class AuditQuestion:
    """What is asked of a bundle's tags.

    Parameters
    ----------
    by : tuple of str, optional
        Label columns to slice by; by default all that part the images into a few kinds, except
        the grouping one.
    holding : tuple of str
        Tags, or patterns of tags, whose images are slices.
    parts : tuple of {"category", "frequency", "family"}
        What parts the tags.
    tag_groups : Path, optional
        TOML with families of tags, laid over the shipped ones.
    against : Path, optional
        Folder of an earlier audit, to say what got worse since.
    probes : ProbeRequest, optional
        Where the pictures are that taggers are to see in other guises.
    refits : RefitRequest, optional
        What fits are to go without; nothing by default.
    """

    by: tuple[str, ...] | None = None
    holding: tuple[str, ...] = ()
    parts: tuple[str, ...] = TAG_KINDS
    tag_groups: Path | None = None
    against: Path | None = None
    probes: ProbeRequest | None = None
    refits: RefitRequest | None = None


def families_of(bundle: Bundle, own: Path | None) -> dict[str, NDArray[np.bool_]]:
    """Return the tags of each family with two or more: groups of the rules, shipped, one's own.

    Masks of shape (n_tags,), bool.
    """
    keys = [key_of(tag) for tag in bundle.vocabulary.tags]
    named = {name: {key_of(tag) for tag in tags} for name, tags in bundle.rules.groups.items()}
    masks = {
        name: np.array([key in members for key in keys], bool)
        for name, members in (named | tag_groups(own)).items()
    }
    return {name: mask for name, mask in sorted(masks.items()) if mask.sum() > 1}


def asked_slices(
    question: AuditQuestion,
    source: DatasetSource,
    dataset: Dataset,
    judged: JudgedPairs,
    families: Mapping[str, NDArray[np.bool_]],
    settings: Settings,
) -> tuple[tuple[Slice, ...], tuple[str, ...]]:
    """Return all slices that are asked for, and notices about those that are none."""
    least, vocabulary = settings.audit.least_images, dataset.scores.vocabulary
    by = question.by
    if by is None:
        by = tuple(sorted(set(dataset.kinds()) - {source.group or "", "id"}))
    columns, said = column_slices(
        dataset.columns, by, most_values=settings.compare.max_slice_values, least_images=least
    )
    held, said_of_tags = held_slices(
        question.holding, dataset.labels, vocabulary, least_images=least
    )
    tags = tag_slices(
        question.parts,
        vocabulary,
        dataset.labels,
        judged.evidence(),
        families,
        bands=settings.compare.frequency_bands,
        least_pairs=settings.audit.least_pairs,
    )
    return (*columns, *held, *tags), (*said, *said_of_tags)
