"""From scores and labels to a bundle: the stack, the rules, the thresholds and the evidence."""

import hashlib
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.base_models.threads import thread_count
from tagstack.configs.errors import TagstackError
from tagstack.configs.json_values import plain
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle, BundleMember
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.ensemble.bundle.files import refuse_existing, refuse_other_content, save_bundle
from tagstack.ensemble.bundle.fitted_images import FittedImages
from tagstack.ensemble.bundle.fitted_labels import FittedLabels
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.bundle.overlaps import overlaps_of
from tagstack.ensemble.bundle.start import rival_worth, scored_alike
from tagstack.ensemble.cluster.handing import workers_of
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.fitting.fit_evidence import fit_evidence, labels_sha256, saw_of
from tagstack.ensemble.fitting.fit_stages import FitStages, fit_stages
from tagstack.ensemble.fitting.floor import held_against_start, start_thresholds
from tagstack.ensemble.fitting.threshold_fit import ThresholdFit
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.ensemble.rules.hygiene import canonical_names
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.thresholds.plan import assignments, worths_of
from tagstack.ensemble.thresholds.rung_tables import rung_tables
from tagstack.meta.metrics.utility import utility_of
from tagstack.meta.stack.rung_spec import START
from tagstack.meta.stack.stacker import Stacker
from tagstack.meta.start.published import Published
from tagstack.meta.start.unlabelled import adapted_answer


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What to fit on, and where the bundle goes.

    Parameters
    ----------
    source : DatasetSource
    bundle : Path
    rules : str, optional
        Name of a shipped rule file, a TOML file or a tags table; no rules by default.
    overwrite : bool
        Whether an existing bundle is replaced.
    cascade : bool
        Whether to learn which tagger is needed for which picture as well.
    ray : str, optional
        Address of a Ray cluster whose workers fit what splits; the bundle is the same.
    """

    source: DatasetSource
    bundle: Path
    rules: str | None = None
    overwrite: bool = False
    cascade: bool = False
    ray: str | None = None


def fit_bundle(request: FitRequest, settings: Settings, progress: Progress) -> Bundle:
    """Fit a stack, write it to ``request.bundle`` and return it.

    Tuning trials are stored beside the bundle until it is written, so that the same command goes
    on where it was interrupted.

    Raises
    ------
    TagstackError
        If scores, labels or rules cannot be used, or the bundle exists or cannot be written.
    """
    refuse_existing(request.bundle, overwrite=request.overwrite)
    refuse_other_content(request.bundle)
    rules = Rules.none() if request.rules is None else load_rules(request.rules)
    dataset = fit_images(
        request.source, rules, settings, progress, Spill(_there_already(request.bundle))
    )
    workspace = workspace_of(request.bundle, _digest(dataset, rules, settings))
    with workers_of(request.ray, settings):
        bundle = fit_dataset(dataset, rules, settings, workspace, progress, cascade=request.cascade)
    save_bundle(bundle, request.bundle, overwrite=request.overwrite)
    shutil.rmtree(workspace.parent)
    return bundle


def _there_already(bundle: Path) -> Path:
    """Return the nearest folder above the bundle that is there: its disk is the bundle's."""
    return next(folder for folder in bundle.absolute().parents if folder.is_dir())


def fit_images(
    source: DatasetSource,
    rules: Rules,
    settings: Settings,
    progress: Progress,
    spill: Spill = IN_MEMORY,
) -> Dataset:
    """Return the labelled images to fit on, after saying what of them could not be used.

    ``spill`` says where their scores lie.
    """
    dataset = load_dataset(
        source,
        aliases=canonical_names(rules.aliases),
        groups=rules.groups,
        labels=settings.labels,
        near_duplicates=settings.score.near_duplicates,
        probe=settings.stack.probe,
        spill=spill,
    )
    for notice in dataset.notices:
        progress.notice(notice)
    return dataset


def broken_exclusions(rules: BoundRules, labels: sparse.csr_array) -> str:
    """Return how many images' labels hold tags that exclude each other; nothing for none.

    Parameters
    ----------
    rules : BoundRules
    labels : sparse array of shape (n_images, n_tags), bool
    """
    found = rules.violations(labels)
    exclusions = {rule.id for rule in rules.exclusives}
    columns = [i for i, rule in enumerate(found.rules) if rule in exclusions]
    counts = sparse.csc_array(found.counts)[:, columns]
    n_images = len(np.unique(counts.nonzero()[0]))
    if not n_images:
        return ""
    totals = np.asarray(counts.sum(axis=0)).ravel()
    worst = np.argsort(-totals, kind="stable")[:3]
    names = [f"{found.rules[columns[i]]} ({totals[i]})" for i in worst if totals[i]]
    return (
        f"{n_images} of {labels.shape[0]} images have labels that exclude each other by the rules, "
        f"most of them by {', '.join(names)}. No tags of ours will ever hold both, so these labels "
        f"count as missed: correct them, or leave the rule out (`tagstack rules audit` has them "
        f"all)."
    )


def fit_dataset(
    dataset: Dataset,
    rules: Rules,
    settings: Settings,
    workspace: Path | None,
    progress: Progress,
    *,
    cascade: bool = False,
) -> Bundle:
    """Return a bundle fitted on a dataset, in memory.

    Parameters
    ----------
    dataset : Dataset
    rules : Rules
    settings : Settings
    workspace : Path or None
        Folder that keeps what a resumed fit can reuse; nothing is written without it.
    progress : Progress
    cascade : bool
        Whether to learn which tagger is needed for which picture as well.
    """
    settings = scored_alike(dataset.members, settings)
    _check_utility(dataset, settings)  # a misspelt tag is found before the work
    balance = dataset.balance(settings.stack)
    weight = None if balance is None else balance.weight
    stages = fit_stages(settings, dataset.scores.n_images, rules=len(rules) > 0)
    progress = FitStages(progress, stages, len(dataset.scores.pairs))
    overlaps = overlaps_of(dataset, settings.seed)
    for overlap in overlaps:
        progress.notice(overlap.notice)
    rules = rules.within(dataset.scores.vocabulary)  # a booru's dump is mostly about other tags
    bound = rules.bind(dataset.scores.vocabulary)
    if broken := broken_exclusions(bound, dataset.labels):
        progress.notice(broken)
    published = Published.of(dataset.members, dataset.scores.vocabulary)
    adapted = adapted_answer(published, dataset.scores, settings.start)
    stacker = Stacker(settings.stack, seed=settings.seed, threads=thread_count(settings.threads))
    stacker.fit(
        dataset.scores,
        dataset.labels,
        dataset.groups,
        bound.relations(),
        unknown=dataset.unknown,
        image_weight=weight,
        start=adapted.answer,
        study_dir=workspace,
        scratch_dir=workspace,
        progress=progress.stage,
    )
    decoder = Decoder(bound, settings.decoder)

    fitted = ThresholdFit(
        dataset=dataset,
        folds=stacker.folds_,
        settings=settings.thresholds,
        stacker=stacker,
        start=stacker.out_of_fold(START),
        anchor_positives=settings.start.anchor_positives,
        image_weight=weight,
    )

    def told(done: int, total: int) -> None:
        progress.stage("thresholds of every rung", done, total)

    floor = None
    if dataset.scores.n_images <= settings.start.floor_images:
        progress.stage("holding against the start")
        floor = held_against_start(fitted, stacker)
        if not floor.holds:
            stacker.fall_back(
                f"what was fitted is not ahead of it on left-out images ({floor.text})"
            )
    probas = {rung: stacker.out_of_fold(rung) for rung in stacker.rungs_}
    of_chosen = fitted.of(stacker.chosen_, probas[stacker.chosen_])
    fit_of = fitted.each(probas, {stacker.chosen_: of_chosen})
    ruled = decoder if len(rules) else None
    rungs = rung_tables(stacker.rungs_, stacker.chosen_, fit_of, ruled, told)

    def drawing(done: int, total: int) -> None:
        progress.stage("macro against micro", done, total)

    drawn = None
    if floor is None or floor.holds:
        drawn = of_chosen.frontier(decoder, drawing)
    thresholds = of_chosen(decoder)
    if floor is not None and not floor.holds:
        thresholds = start_thresholds(thresholds, stacker, rival_worth(published, settings.start))
        rungs[START] = thresholds.value
    chosen = probas[stacker.chosen_]
    fitted_bundle = Bundle(
        members=tuple(
            BundleMember(name=member.name, fingerprint=member.fingerprint, source=member.source)
            for member in dataset.members
        ),
        vocabulary=dataset.scores.vocabulary,
        stacker=stacker,
        rules=rules,
        thresholds=thresholds,
        rung_thresholds=rungs,
        rung_image_cut=thresholds.image_cut,
        out_of_fold=OutOfFold.of(
            dataset.contents,
            stacker.chosen_,
            probas,
            FittedLabels(labels=dataset.labels, unknown=dataset.unknown, groups=dataset.groups),
        )
        if settings.thresholds.keep_out_of_fold
        else None,
        settings=settings,
        fitted_images=FittedImages.of(dataset, settings.score.near_duplicates),
        evidence={
            **fit_evidence(dataset, overlaps, stacker, settings),
            "balance": None if balance is None else plain(balance.facts()),
            "floor": None if floor is None else asdict(floor),
            "frontier": None if drawn is None else asdict(drawn),
            "saw": saw_of(dataset, thresholds, thresholds.cutting.decoded(chosen, decoder).nnz),
        },
    )
    if not cascade:
        return fitted_bundle
    from tagstack.ensemble.cascade.fitting import fit_cascade

    with_cascade = fit_cascade(fitted_bundle, dataset, adapted.answer, settings, progress)
    learnt = None if with_cascade.cascade is None else with_cascade.cascade.facts()
    return replace(with_cascade, evidence={**with_cascade.evidence, "cascade": plain(learnt)})


def workspace_of(bundle: Path, digest: str) -> Path:
    """Return the folder for resumable work; work on other inputs is thrown away.

    Raises
    ------
    TagstackError
        If the system refuses to write beside the bundle.
    """
    folder = bundle.parent / f".{bundle.name}.fitting"
    workspace = folder / digest
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        for stale in folder.iterdir():
            if stale.name != digest:
                shutil.rmtree(stale)
    except OSError as error:
        msg = (
            f"Cannot write beside the bundle {bundle}: {error.strerror or error}. Choose another "
            "folder for it, or mend that (space, permissions)."
        )
        raise TagstackError(msg) from error
    return workspace


def _digest(dataset: Dataset, rules: Rules, settings: Settings) -> str:
    """Return a short hash of everything that a fit depends on."""
    state = hashlib.sha256()
    for text in (*(member.fingerprint for member in dataset.members), rules.to_toml()):
        state.update(text.encode())
    state.update(settings.model_dump_json().encode())
    state.update(labels_sha256(dataset).encode())
    state.update(np.ascontiguousarray(dataset.groups).tobytes())
    if (balance := dataset.balance(settings.stack)) is not None:
        state.update(balance.weight.tobytes())
    for worths in _check_utility(dataset, settings):
        state.update(b"" if worths is None else worths.tobytes())
    return state.hexdigest()[:16]


def _check_utility(dataset: Dataset, settings: Settings) -> tuple[NDArray[np.float64] | None, ...]:
    """Return what decisions are worth to the gate and to the thresholds, if tables say so.

    Raises
    ------
    TagstackError
        If a table cannot be used for these tags.
    """
    vocabulary = dataset.scores.vocabulary
    assignments(vocabulary, settings.thresholds, ())
    return (
        utility_of(settings.stack.utility_table, vocabulary),
        worths_of(settings.thresholds, vocabulary),
    )
