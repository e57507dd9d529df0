"""New thresholds for a fitted stack: fitted on labelled images, written as a new version.

Images that the stack was fitted on are judged by their out-of-fold probabilities, which the bundle
keeps; where it keeps none they are left out, since predictions for them are too good to be true.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack import __version__
from tagstack.base_models.pairs import PairProba
from tagstack.base_models.tag_names import TagNames
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource
from tagstack.ensemble.bundle.files import load_bundle, out_of_fold_of
from tagstack.ensemble.bundle.honest_ground import HonestGround, honest_ground
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.fitting.threshold_fit import ThresholdFit
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.thresholds.objectives import (
    objective_text,
    parse_objective,
    parse_tag_objective,
)
from tagstack.ensemble.thresholds.overrides import read_overrides
from tagstack.ensemble.thresholds.plan import assignments, worths_of
from tagstack.ensemble.thresholds.rung_tables import RungTables, rung_tables
from tagstack.ensemble.thresholds.table import Thresholds
from tagstack.ensemble.thresholds.versions import ThresholdVersions
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.stack.rung_spec import START

_STACK_ALONE = (
    "this bundle keeps no out-of-fold probabilities of the other rungs: they keep their "
    "thresholds, and stand beside the stack under another strategy; fit again to judge all alike"
)


@dataclass(frozen=True, kw_only=True)
class CalibrateRequest:
    """What to calibrate, on which images, and for what.

    Parameters
    ----------
    bundle : Path
    source : DatasetSource
    objective : str, optional
        As `objectives.parse_objective` reads it; that of the settings by default.
    by_tag : tuple of str
        ``PATTERN=OBJECTIVE`` each; the last pattern that matches a tag wins.
    overrides : Path, optional
        CSV of thresholds set by hand; they win over all.
    """

    bundle: Path
    source: DatasetSource
    objective: str | None = None
    by_tag: tuple[str, ...] = ()
    overrides: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a calibration wrote.

    Parameters
    ----------
    version : str
    thresholds : Thresholds
    n_images, n_out_of_fold : int
        Images used, and those of them that the stack was fitted on.
    states : mapping of state to number of tags
    tags_per_image : tuple of float
        On these images after the rules: with the thresholds before, and with the new ones.
    ignored : tuple of str
        Tags of the overrides that the bundle does not know.
    notices : tuple of str
    """

    version: str
    thresholds: Thresholds
    n_images: int
    n_out_of_fold: int
    states: Mapping[str, int]
    tags_per_image: tuple[float, float]
    ignored: tuple[str, ...]
    notices: tuple[str, ...]


def calibrate_bundle(
    request: CalibrateRequest, settings: Settings, progress: Progress
) -> Calibration:
    """Fit thresholds for an objective, put them in use as a new version of the bundle's.

    Raises
    ------
    TagstackError
        If bundle, scores, labels or an objective cannot be used, or no image is left.
    """
    overrides = {} if request.overrides is None else read_overrides(request.overrides)
    goal = Goal.of(request.objective, request.by_tag, settings.thresholds)
    bundle = load_bundle(request.bundle)
    goal.check(bundle)  # a typo is found before the work
    kept = out_of_fold_of(request.bundle)
    found = calibrated(bundle, kept, request.source, goal, settings, progress, overrides=overrides)
    about = _about(request, bundle, goal.plain, found.ground, settings)
    version = ThresholdVersions(request.bundle).add(found.thresholds, about, found.rungs)
    ground, before = found.ground, bundle.thresholds
    return Calibration(
        version=version,
        thresholds=found.thresholds,
        n_images=ground.dataset.scores.n_images,
        n_out_of_fold=ground.n_out_of_fold,
        states=dict(Counter(found.thresholds.state)),
        tags_per_image=_tags_per_image(ground.proba, _decoder(bundle), (before, found.thresholds)),
        ignored=TagNames(bundle.vocabulary).unknown(overrides),
        notices=ground.notices,
    )


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What thresholds are fitted for: one objective, and others for the tags of patterns."""

    plain: ThresholdSettings
    by_tag: tuple[tuple[str, ThresholdSettings], ...]

    @classmethod
    def of(
        cls, objective: str | None, by_tag: Sequence[str], settings: ThresholdSettings
    ) -> "Goal":
        """Return the goal that texts name; that of the settings for None."""
        named = (parse_tag_objective(text) for text in by_tag)
        return cls(
            plain=settings if objective is None else parse_objective(objective, settings),
            by_tag=tuple((pattern, parse_objective(text, settings)) for pattern, text in named),
        )

    def check(self, bundle: Bundle) -> None:
        """Raise a `TagstackError` if a pattern means no tag of the bundle."""
        assignments(bundle.vocabulary, self.plain, self.by_tag)


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """New thresholds in memory, and the images that they were fitted on.

    Parameters
    ----------
    thresholds : Thresholds
    rungs : RungTables or None
        New thresholds of every rung; None where a bundle of before keeps the chosen one's
        out-of-fold probabilities alone and some of the images are those it was fitted on.
    ground : HonestGround
    """

    thresholds: Thresholds
    rungs: RungTables | None
    ground: "HonestGround"

    def used(self, bundle: Bundle, version: str) -> Bundle:
        """Return a bundle with these thresholds in use."""
        own = replace(bundle, thresholds=self.thresholds, threshold_version=version)
        if self.rungs is None:
            return own
        return replace(own, rung_thresholds=self.rungs, rung_image_cut=self.thresholds.image_cut)


def calibrated(
    bundle: Bundle,
    kept: OutOfFold | None,
    source: DatasetSource,
    goal: Goal,
    settings: Settings,
    progress: Progress,
    *,
    overrides: Mapping[str, float] | None = None,
) -> Calibrated:
    """Return thresholds fitted for a goal; nothing is written.

    Parameters
    ----------
    bundle : Bundle
    kept : OutOfFold or None
        Probabilities of the images that it was fitted on.
    source : DatasetSource
    goal : Goal
    settings : Settings
    progress : Progress
    overrides : mapping of tag to threshold, optional
        They win over all.

    Raises
    ------
    TagstackError
        If scores or labels cannot be used, or no image is left.
    """
    goal.check(bundle)
    ground = honest_ground(bundle, kept, source, progress)
    dataset, labels = ground.dataset, ground.dataset.labels
    probas = ground.rung_probas(bundle, kept)
    fitted = ThresholdFit(
        dataset=dataset,
        folds=stratified_group_folds(labels, dataset.groups, settings.stack.folds, settings.seed),
        settings=goal.plain,
        by_tag=goal.by_tag,
        stacker=bundle.stacker,
        start=(probas or {}).get(START),
        anchor_positives=settings.start.anchor_positives,
        image_weight=_image_weight(bundle, dataset, progress),
    )

    def told(done: int, total: int) -> None:
        progress.stage("thresholds of every rung", done, total)

    decoder, chosen = _decoder(bundle), bundle.stacker.chosen_
    of_chosen = fitted.of(chosen, ground.proba)
    thresholds = of_chosen(decoder).overridden(overrides or {})
    if probas is None:
        progress.notice(_STACK_ALONE)
        return Calibrated(thresholds=thresholds, rungs=None, ground=ground)
    ruled = decoder if len(bundle.rules) else None
    fit_of = fitted.each(probas, {chosen: of_chosen})
    rungs = rung_tables(list(probas), chosen, fit_of, ruled, told)
    return Calibrated(thresholds=thresholds, rungs=rungs, ground=ground)


def _image_weight(
    bundle: Bundle, dataset: Dataset, progress: Progress
) -> NDArray[np.float64] | None:
    """Return what images count, as in the fit; where these labels cannot say it, all alike."""
    column = bundle.settings.stack.balance
    if not column:
        return None
    if len(set(dataset.columns.get(column, ()))) < 2:
        progress.notice(
            f"the bundle was fitted so that the values of {column} count alike, which these labels "
            f"do not tell apart: every image counts the same here"
        )
        return None
    balance = dataset.balance(bundle.settings.stack)
    return None if balance is None else balance.weight


def _decoder(bundle: Bundle) -> Decoder:
    return Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)


def _tags_per_image(
    proba: PairProba, decoder: Decoder, tables: tuple[Thresholds, Thresholds]
) -> tuple[float, float]:
    counts = [table.cutting.decoded(proba, decoder).nnz / proba.pairs.n_images for table in tables]
    return counts[0], counts[1]


def _digest_of(worths: NDArray[np.float64] | None) -> str | None:
    return None if worths is None else hashlib.sha256(worths.tobytes()).hexdigest()


def _about(
    request: CalibrateRequest,
    bundle: Bundle,
    plain: ThresholdSettings,
    ground: HonestGround,
    settings: Settings,
) -> dict[str, Any]:
    """Return where a version came from; the same input gives the same."""
    return {
        "tagstack": __version__,
        "made_by": "calibrate",
        "objective": objective_text(plain),
        "by_tag": list(request.by_tag),
        "overrides": None if request.overrides is None else request.overrides.name,
        "where": request.source.where,
        "group": request.source.group,
        "n_images": ground.dataset.scores.n_images,
        "n_out_of_fold": ground.n_out_of_fold,
        "seed": settings.seed,
        "before": bundle.threshold_version,
        "settings": plain.model_dump(mode="json"),
        "utility_sha256": _digest_of(worths_of(plain, bundle.vocabulary)),
        "notices": list(ground.notices),
    }
