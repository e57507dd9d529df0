"""What a bundle's tags favour: slices against the rest, and tags given for company."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.atomic import file_sha256, write_text
from tagstack.base_models.pairs import PairProba
from tagstack.configs.settings import Settings
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.audit.companions import STACK, Companion, companions_of
from tagstack.ensemble.audit.counts import FIGURES, JudgedPairs, figures_of
from tagstack.ensemble.audit.history import FILE as KEPT
from tagstack.ensemble.audit.history import (
    Change,
    Changes,
    KeptCounts,
    changes_since,
    label_digests,
)
from tagstack.ensemble.audit.looks import Disparity, Look, Resampled
from tagstack.ensemble.audit.page import render_page
from tagstack.ensemble.audit.results import Audit, Pooled, Row, plain_row
from tagstack.ensemble.audit.shifts import Judging, Shift, ShiftedCounts, shifts_of
from tagstack.ensemble.audit.slices import (
    COLUMN,
    TAG_KINDS,
    Slice,
    column_slices,
    held_slices,
    tag_slices,
)
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource
from tagstack.ensemble.bundle.files import MANIFEST, load_bundle, out_of_fold_of, refuse_existing
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.tasks.calibrate import Ground, honest_ground
from tagstack.ensemble.thresholds.rung_tables import cutting_of
from tagstack.ensemble.workshop.dataset.caption_text import key_of
from tagstack.ensemble.workshop.dataset.tag_groups import tag_groups
from tagstack.meta.metrics.bootstrap import Weightings
from tagstack.meta.stack.rung_spec import single_spec

AUDIT, PAGE = "audit.json", "audit.html"
SLICES, DISPARITIES, COMPANIONS = "slices.csv", "disparities.csv", "companions.csv"
SHIFTS, CHANGES = "shifts.csv", "changes.csv"


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to audit on which images.

    Parameters
    ----------
    bundle : Path
    source : DatasetSource
    by : tuple of str, optional
        Label columns to slice by; all by default, except the grouping one.
    holding : tuple of str
        Tags, or patterns of tags, whose images are slices.
    parts : tuple of {"category", "frequency", "family"}
        What parts the tags.
    tag_groups : Path, optional
        TOML with families of tags, laid over the shipped ones.
    against : Path, optional
        Folder of an earlier audit, to say what got worse since.
    out : Path
        Folder for the results.
    overwrite : bool
    """

    bundle: Path
    source: DatasetSource
    out: Path
    by: tuple[str, ...] | None = None
    holding: tuple[str, ...] = ()
    parts: tuple[str, ...] = TAG_KINDS
    tag_groups: Path | None = None
    against: Path | None = None
    overwrite: bool = False


def audit_bundle(request: AuditRequest, settings: Settings, progress: Progress) -> Audit:
    """Write ``audit.html``, ``audit.json`` and tables of slices and companions into a folder.

    Raises
    ------
    TagstackError
        If bundle, scores, labels, a column or a tag cannot be used, no image is left, or the audit
        exists.
    """
    refuse_existing(request.out / AUDIT, overwrite=request.overwrite)
    old = None if request.against is None else KeptCounts.load(request.against)
    bundle, kept = load_bundle(request.bundle), out_of_fold_of(request.bundle)
    families = _families(bundle, request.tag_groups)
    ground = honest_ground(bundle, kept, request.source, progress)
    dataset, compare = ground.dataset, settings.compare
    progress.stage("deciding")
    decided = _decided(bundle, ground.proba)
    judged = JudgedPairs.of(ground.proba, decided, dataset.labels, dataset.unknown)
    slices, said = _slices(request, dataset, judged, families, settings)
    for notice in said:
        progress.notice(notice)
    progress.stage("resampling")
    weightings = Weightings(dataset.groups, resamples=compare.resamples, seed=settings.seed)
    resampled = Resampled.of(slices, judged, dataset.groups, weightings)
    rate = {"false_discovery_rate": compare.false_discovery_rate}
    able = {"confidence": compare.confidence, "least_groups": settings.audit.least_groups}
    shifts = _shifts(bundle, ground, slices, settings, progress)
    progress.stage("looking for companions")
    asked = {STACK: decided, **_by_members(bundle, kept, ground)}
    met = companions_of(
        asked,
        dataset.labels,
        dataset.unknown,
        dataset.groups,
        dataset.scores.vocabulary,
        fewest_wrong=settings.audit.fewest_wrong,
        confidence=compare.confidence,
        **rate,
    )
    digest = file_sha256(request.bundle / MANIFEST)[:12]
    new = KeptCounts.of(
        judged,
        slices,
        dataset.contents,
        label_digests(dataset.labels, dataset.unknown, dataset.scores.vocabulary),
        dataset.scores.vocabulary,
        bundle=digest,
        thresholds=bundle.threshold_version,
    )
    overall = figures_of(judged.counts().sum(axis=1))
    found = Audit(
        bundle=digest,
        n_images=dataset.scores.n_images,
        n_groups=len(set(dataset.groups.tolist())),
        n_out_of_fold=ground.n_out_of_fold,
        thresholds=bundle.threshold_version,
        confidence=compare.confidence,
        least_groups=settings.audit.least_groups,
        overall=dict(zip(FIGURES, overall.tolist(), strict=True)),
        looks=resampled.looks(**able, **rate),
        disparities=resampled.disparities(**able),
        shifts=shifts,
        pooled=tuple(
            Pooled(kind=own.kind, column=own.column, values=own.pooled)
            for own in slices
            if own.pooled
        ),
        changes=None if old is None else _changes(old, new, slices, dataset, settings),
        companions=met.found,
        n_pairs=met.n_tested,
        asked=tuple(asked),
        notices=(*ground.notices, *said),
        out=request.out,
        **rate,
    )
    provenance = {"bundle": digest, **_provenance(bundle, request.source, settings.seed)}
    _write(found, new, provenance)
    return found


def _decided(bundle: Bundle, proba: PairProba) -> sparse.csr_array:
    return bundle.thresholds.cutting.decoded(proba, _decoder(bundle))


def _decoder(bundle: Bundle) -> Decoder:
    return Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)


def _shifts(
    bundle: Bundle,
    ground: Ground,
    slices: Sequence[Slice],
    settings: Settings,
    progress: Progress,
) -> tuple[Shift, ...]:
    """Return what thresholds of their own do for the images by label columns.

    Only there: who tags a new picture can know its rating or year, but not which tags hold.
    """
    own = [one for one in slices if one.kind == COLUMN]
    audit, compare = settings.audit, settings.compare
    if not (own and audit.shifts):
        return ()
    decoder, dataset = _decoder(bundle), ground.dataset
    counts = ShiftedCounts.of(
        bundle.thresholds.cutting,
        ground.proba,
        lambda cutting: cutting.decoded(ground.proba, decoder),
        dataset.labels,
        dataset.unknown,
        shifts=audit.shifts,
        told=lambda done, total: progress.stage("trying other thresholds", done, total),
    )
    judging = Judging(
        folds=audit.folds,
        resamples=compare.resamples,
        seed=settings.seed,
        beta=compare.beta,
        confidence=compare.confidence,
        false_discovery_rate=compare.false_discovery_rate,
    )
    return shifts_of(own, counts, dataset.groups, judging)


def _families(bundle: Bundle, own: Path | None) -> dict[str, NDArray[np.bool_]]:
    """Return the tags of each family with two or more: groups of the rules, shipped, one's own."""
    keys = [key_of(tag) for tag in bundle.vocabulary.tags]
    named = {name: {key_of(tag) for tag in tags} for name, tags in bundle.rules.groups.items()}
    masks = {
        name: np.array([key in members for key in keys], bool)
        for name, members in (named | tag_groups(own)).items()
    }
    return {name: mask for name, mask in sorted(masks.items()) if mask.sum() > 1}


def _slices(
    request: AuditRequest,
    dataset: Dataset,
    judged: JudgedPairs,
    families: Mapping[str, NDArray[np.bool_]],
    settings: Settings,
) -> tuple[tuple[Slice, ...], tuple[str, ...]]:
    """Return all slices that are asked for, and notices about those that are none."""
    least, vocabulary = settings.audit.least_images, dataset.scores.vocabulary
    by = request.by
    if by is None:
        by = tuple(sorted(set(dataset.columns) - {request.source.group or "", "id"}))
    columns, said = column_slices(
        dataset.columns, by, most_values=settings.compare.max_slice_values, least_images=least
    )
    held, said_of_tags = held_slices(
        request.holding, dataset.labels, vocabulary, least_images=least
    )
    tags = tag_slices(
        request.parts,
        vocabulary,
        dataset.labels,
        judged.evidence(),
        families,
        bands=settings.compare.frequency_bands,
        least_pairs=settings.audit.least_pairs,
    )
    return (*columns, *held, *tags), (*said, *said_of_tags)


def _by_members(
    bundle: Bundle, kept: OutOfFold | None, ground: Ground
) -> dict[str, sparse.csr_array]:
    """Return what each tagger alone gives, with thresholds fitted like the stack's, unruled.

    Empty where the bundle has no thresholds for its taggers, or does not keep what they said out
    of fold of images that it was fitted on.
    """
    rungs = {
        name: rung
        for name in bundle.member_names
        if (rung := single_spec(name).name) in bundle.rung_thresholds
    }
    probas = ground.rung_probas(bundle, kept, tuple(rungs.values())) if rungs else None
    return {
        name: cutting_of(bundle.rung_thresholds[rung], bundle.rung_image_cut).decided(probas[rung])
        for name, rung in rungs.items()
        if probas is not None
    }


def _changes(
    old: KeptCounts,
    new: KeptCounts,
    slices: Sequence[Slice],
    dataset: Dataset,
    settings: Settings,
) -> Changes:
    compare = settings.compare
    return changes_since(
        old,
        new,
        slices,
        dataset.groups,
        dataset.scores.vocabulary,
        resamples=compare.resamples,
        seed=settings.seed,
        confidence=compare.confidence,
        false_discovery_rate=compare.false_discovery_rate,
    )


def _provenance(bundle: Bundle, source: DatasetSource, seed: int) -> dict[str, str]:
    taggers = (f"{member.name} {member.fingerprint[:12]}" for member in bundle.members)
    return {
        "taggers": ", ".join(taggers),
        "rung chosen at fit time": bundle.stacker.chosen_,
        "thresholds": bundle.threshold_version,
        "audited where": source.where or "all labelled images",
        "grouped by": source.group or "equal files alone",
        "seed": str(seed),
    }


def _write(found: Audit, kept: KeptCounts, provenance: Mapping[str, str]) -> None:
    found.out.mkdir(parents=True, exist_ok=True)
    kept.save(found.out / KEPT)
    for name, kind, rows in _tables(found):
        write_text(found.out / name, _csv([field.name for field in fields(kind)], rows))
    write_text(found.out / PAGE, render_page(found, provenance))
    # Written last: without it, the folder is what an interrupted run left.
    text = json.dumps(found.plain(), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(found.out / AUDIT, text + "\n")


def _tables(found: Audit) -> Iterator[tuple[str, Any, Sequence[Row]]]:
    yield SLICES, Look, found.looks
    yield DISPARITIES, Disparity, found.disparities
    yield SHIFTS, Shift, found.shifts
    yield CHANGES, Change, () if found.changes is None else found.changes.found
    yield COMPANIONS, Companion, found.companions


def _csv(names: Sequence[str], rows: Sequence[Row]) -> str:
    stream = io.StringIO()
    table = TableWriter(stream)
    table.writerow(names)
    for row in rows:
        own = plain_row(row).values()
        table.writerow(f"{v:.6g}" if isinstance(v, float) else "" if v is None else v for v in own)
    return stream.getvalue()
