"""What a bundle's tags favour: slices against the rest, and tags given for company."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.pairs import PairProba
from tagstack.configs.settings import Settings
from tagstack.ensemble.audit.companions import STACK, companions_of
from tagstack.ensemble.audit.counts import FIGURES, JudgedPairs, figures_of
from tagstack.ensemble.audit.files import AUDIT, Audited
from tagstack.ensemble.audit.history import (
    Changes,
    KeptCounts,
    changes_since,
    label_digests,
)
from tagstack.ensemble.audit.looks import Resampled
from tagstack.ensemble.audit.results import Audit, Pooled
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
from tagstack.ensemble.tasks.audit_probes import ProbeRequest, probed
from tagstack.ensemble.tasks.audit_refits import RefitRequest, refitted
from tagstack.ensemble.tasks.honest_ground import Ground, honest_ground
from tagstack.ensemble.thresholds.rung_tables import cutting_of
from tagstack.ensemble.workshop.dataset.caption_text import key_of
from tagstack.ensemble.workshop.dataset.tag_groups import tag_groups
from tagstack.meta.metrics.bootstrap import Weightings
from tagstack.meta.stack.rung_spec import single_spec


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


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to audit on which images.

    Parameters
    ----------
    bundle : Path
    source : DatasetSource
    question : AuditQuestion
    out : Path
        Folder for the results.
    overwrite : bool
    """

    bundle: Path
    source: DatasetSource
    out: Path
    question: AuditQuestion = AuditQuestion()
    overwrite: bool = False


def audit_bundle(request: AuditRequest, settings: Settings, progress: Progress) -> Audit:
    """Write ``audit.html``, ``audit.json`` and tables of what was found into a folder.

    Raises
    ------
    TagstackError
        If bundle, scores, labels, a column or a tag cannot be used, no image is left, or the audit
        exists.
    """
    refuse_existing(request.out / AUDIT, overwrite=request.overwrite)
    bundle, kept = load_bundle(request.bundle), out_of_fold_of(request.bundle)
    digest = file_sha256(request.bundle / MANIFEST)[:12]
    own = audited(bundle, kept, request.source, request.question, settings, progress, digest)
    own.write(request.out)
    return own.found


def audited(
    bundle: Bundle,
    kept: OutOfFold | None,
    source: DatasetSource,
    question: AuditQuestion,
    settings: Settings,
    progress: Progress,
    digest: str,
) -> Audited:
    """Return what a bundle's tags favour on some images; nothing is written.

    Parameters
    ----------
    bundle : Bundle
    kept : OutOfFold or None
        What the fit said out of fold of its images.
    source : DatasetSource
    question : AuditQuestion
    settings : Settings
    progress : Progress
    digest : str
        What the bundle is called.

    Raises
    ------
    TagstackError
        If scores, labels, a column or a tag cannot be used, or no image is left.
    """
    old = None if question.against is None else KeptCounts.load(question.against)
    families = _families(bundle, question.tag_groups)
    ground = honest_ground(bundle, kept, source, progress)
    dataset, compare = ground.dataset, settings.compare
    progress.stage("deciding")
    decided = _decided(bundle, ground.proba)
    judged = JudgedPairs.of(ground.proba, decided, dataset.labels, dataset.unknown)
    slices, said = _slices(question, source, dataset, judged, families, settings)
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
    probes = (
        None
        if question.probes is None
        else probed(question.probes, bundle, ground, _decoder(bundle), settings, progress)
    )
    refits = (
        ()
        if question.refits is None
        else refitted(question.refits, bundle, dataset, slices, settings, progress)
    )
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
        probes=probes,
        refits=refits,
        asked=tuple(asked),
        notices=(*ground.notices, *said),
        **rate,
    )
    provenance = {"bundle": digest, **_provenance(bundle, source, settings.seed)}
    return Audited(found=found, counts=new, provenance=provenance)


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
