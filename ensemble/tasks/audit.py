"""What a bundle's tags favour: slices against the rest, and tags given for company."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scipy import sparse

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.pairs import PairProba
from tagstack.configs.settings import Settings
from tagstack.ensemble.audit.companions import STACK, Companions, companions_of
from tagstack.ensemble.audit.counts import FIGURES, JudgedPairs, figures_of
from tagstack.ensemble.audit.files import AUDIT, Audited
from tagstack.ensemble.audit.history import (
    FigureChanges,
    KeptCounts,
    changes_since,
    label_digests,
)
from tagstack.ensemble.audit.looks import Resampled
from tagstack.ensemble.audit.probes import Probes
from tagstack.ensemble.audit.refits import Refit
from tagstack.ensemble.audit.results import Audit, Pooled
from tagstack.ensemble.audit.shifts import Judging, Shift, ShiftedCounts, shifts_of
from tagstack.ensemble.audit.slices import (
    COLUMN,
    Slice,
)
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource
from tagstack.ensemble.bundle.files import MANIFEST, load_bundle, out_of_fold_of, refuse_existing
from tagstack.ensemble.bundle.honest_ground import HonestGround, honest_ground
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.tasks.audit_probes import probed
from tagstack.ensemble.tasks.audit_question import AuditQuestion, asked_slices, families_of
from tagstack.ensemble.tasks.audit_refits import refitted
from tagstack.ensemble.thresholds.rung_tables import cutting_of
from tagstack.meta.metrics.bootstrap import Weightings
from tagstack.meta.stack.rung_spec import single_spec


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
    question: AuditQuestion = field(default_factory=AuditQuestion)
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
    families = families_of(bundle, question.tag_groups)
    ground = honest_ground(bundle, kept, source, progress)
    dataset, compare = ground.dataset, settings.compare
    progress.stage("deciding")
    decided = _decided(bundle, ground.proba)
    judged = JudgedPairs.of(ground.proba, decided, dataset.labels, dataset.unknown)
    slices, said = asked_slices(question, source, dataset, judged, families, settings)
    for notice in said:
        progress.notice(notice)
    progress.stage("resampling")
    resampled = _resampled(slices, judged, dataset, settings)
    shifts = _shifts(bundle, ground, slices, settings, progress)
    progress.stage("looking for companions")
    asked = {STACK: decided, **_by_members(bundle, kept, ground)}
    met = _companions(asked, dataset, settings)
    probes, refits = _asked_for(question, bundle, ground, slices, settings, progress)
    new = _kept_counts(bundle, judged, slices, dataset, digest)
    able = {"confidence": compare.confidence, "least_groups": settings.audit.least_groups}
    rate = {"false_discovery_rate": compare.false_discovery_rate}
    found = Audit(
        bundle=digest,
        n_images=dataset.scores.n_images,
        n_groups=len(set(dataset.groups.tolist())),
        n_out_of_fold=ground.n_out_of_fold,
        thresholds=bundle.threshold_version,
        confidence=compare.confidence,
        least_groups=settings.audit.least_groups,
        overall=_overall(judged),
        looks=resampled.looks(**able, **rate),
        disparities=resampled.disparities(**able),
        shifts=shifts,
        pooled=_pooled(slices),
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


def _overall(judged: JudgedPairs) -> dict[str, float]:
    values = figures_of(judged.counts().sum(axis=1))
    return dict(zip(FIGURES, values.tolist(), strict=True))


def _pooled(slices: Sequence[Slice]) -> tuple[Pooled, ...]:
    """Return which values of a column were looked at together."""
    return tuple(
        Pooled(kind=own.kind, column=own.column, values=own.pooled) for own in slices if own.pooled
    )


def _resampled(
    slices: Sequence[Slice], judged: JudgedPairs, dataset: Dataset, settings: Settings
) -> Resampled:
    resamples = settings.compare.resamples
    weightings = Weightings(dataset.groups, resamples=resamples, seed=settings.seed)
    return Resampled.of(slices, judged, dataset.groups, weightings)


def _companions(
    asked: Mapping[str, sparse.csr_array], dataset: Dataset, settings: Settings
) -> Companions:
    """Return the tags that each of those that are asked gives for company."""
    return companions_of(
        asked,
        dataset.labels,
        dataset.unknown,
        dataset.groups,
        dataset.scores.vocabulary,
        fewest_wrong=settings.audit.fewest_wrong,
        confidence=settings.compare.confidence,
        false_discovery_rate=settings.compare.false_discovery_rate,
    )


def _asked_for(
    question: AuditQuestion,
    bundle: Bundle,
    ground: HonestGround,
    slices: Sequence[Slice],
    settings: Settings,
    progress: Progress,
) -> tuple[Probes | None, tuple[Refit, ...]]:
    """Return what taggers or fits have to work for, where it is asked for."""
    probes: Probes | None = None
    refits: tuple[Refit, ...] = ()
    if question.probes is not None:
        probes = probed(question.probes, bundle, ground, _decoder(bundle), settings, progress)
    if question.refits is not None:
        refits = refitted(question.refits, bundle, ground.dataset, slices, settings, progress)
    return probes, refits


def _kept_counts(
    bundle: Bundle, judged: JudgedPairs, slices: Sequence[Slice], dataset: Dataset, digest: str
) -> KeptCounts:
    """Return what a later audit can be held against."""
    vocabulary = dataset.scores.vocabulary
    return KeptCounts.of(
        judged,
        slices,
        dataset.contents,
        label_digests(dataset.labels, dataset.unknown, vocabulary),
        vocabulary,
        bundle=digest,
        thresholds=bundle.threshold_version,
    )


def _decided(bundle: Bundle, proba: PairProba) -> sparse.csr_array:
    return bundle.thresholds.cutting.decoded(proba, _decoder(bundle))


def _decoder(bundle: Bundle) -> Decoder:
    return Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)


def _shifts(
    bundle: Bundle,
    ground: HonestGround,
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


def _by_members(
    bundle: Bundle, kept: OutOfFold | None, ground: HonestGround
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
) -> FigureChanges:
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
