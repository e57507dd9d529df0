"""The ladder: every rung on the same images, tags and resamples, and what separates them.

One pass over the resamples scores all rungs, so every difference is paired. A pair without a
probability (a tagger that lacks the tag) is not tagged and ranks last; how many tags a rung votes
on, and the scores on the tags that all rungs know, stand beside it.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.comparing import CompareSettings
from tagstack.ensemble.comparison.bootstrap import BETTER, WORSE, difference, interval
from tagstack.ensemble.comparison.calibration_error import (
    blocks_of,
    probability_scores,
    reliability,
)
from tagstack.ensemble.comparison.images import confusion_in, decision_changes, worst_images
from tagstack.ensemble.comparison.label_ranking import label_ranking
from tagstack.ensemble.comparison.metrics import canonical, decision_scores
from tagstack.ensemble.comparison.resamples import Resamples, resample, tag_scopes
from tagstack.ensemble.comparison.results import (
    Comparison,
    DecisionChanges,
    RungResult,
    ScopeResult,
    TagVerdicts,
)
from tagstack.ensemble.comparison.rungs import (
    Rung,
    check_rungs,
    rival_of,
    same_proba,
    shared_tags,
)
from tagstack.ensemble.comparison.significance import TagTests, compare_tags
from tagstack.ensemble.comparison.tags import curves_of, tag_table
from tagstack.meta.truth import positives_per_tag

__all__ = ["Comparison", "Rung", "compare"]

_Value = TypeVar("_Value")


def compare(
    rungs: Sequence[Rung],
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    groups: NDArray[np.integer],
    *,
    reference: str,
    settings: CompareSettings,
    seed: int,
    images: Sequence[str],
    violations: Mapping[str, NDArray[np.integer]] | None = None,
    slices: Mapping[str, Sequence[str]] | None = None,
    exclusive_groups: Mapping[str, Sequence[int]] | None = None,
) -> Comparison:
    """Return every score of every rung and the reference's paired differences to the others.

    Parameters
    ----------
    rungs : sequence of Rung
        In the order of the ladder.
    labels : csr_array of shape (n_images, n_tags), bool
    vocabulary : Vocabulary
    groups : array of shape (n_images,), integer
        Images with the same number are resampled together.
    reference : str
        Name of the rung that the others are compared with.
    settings : CompareSettings
    seed : int
    images : sequence of str
        Name of each image.
    violations : mapping of rung name to array of shape (n_images,), optional
        Contradictions in each image's decided tags.
    slices : mapping of column name to one value per image, optional
        Parts of the test set to compare on separately.
    exclusive_groups : mapping of group name to tag indices, optional
        For the confusion inside each.

    Raises
    ------
    TagstackError
        If names repeat, the reference is no rung, or shapes do not fit.
    """
    labels = canonical(labels)
    check_rungs(rungs, labels, vocabulary, groups, images, reference)
    ours = next(rung for rung in rungs if rung.name == reference)
    scopes = tag_scopes(rungs, labels, vocabulary, settings)
    rival = rival_of(rungs, ours, labels, settings.beta)
    found = resample(
        rungs,
        labels,
        groups,
        scopes,
        slices or {},
        pair=(ours, rival),
        settings=settings,
        seed=seed,
    )
    tests = compare_tags(
        ours.decided,
        rival.decided,
        labels,
        false_discovery_rate=settings.false_discovery_rate,
    )
    positives = positives_per_tag(labels)
    return Comparison(
        n_images=labels.shape[0],
        n_groups=len(np.unique(groups)),
        n_tags=len(vocabulary),
        n_labels=labels.nnz,
        n_shared_tags=int(shared_tags(rungs).sum()),
        n_supported_tags=int((positives >= settings.min_positives).sum()),
        n_tags_without_positives=int((positives == 0).sum()),
        min_positives=settings.min_positives,
        resamples=settings.resamples * settings.seeds,
        seed=seed,
        seeds=settings.seeds,
        confidence=settings.confidence,
        beta=settings.beta,
        false_discovery_rate=settings.false_discovery_rate,
        calibration_floor=settings.calibration_floor,
        reference=reference,
        rival=rival.name if rival is not ours else "",
        best_single=_best_single(rungs, found),
        scopes={
            scope.key: (scope.title, int(scope.tags.sum()))
            for scope in scopes
            if scope.kind == "vocabulary"
        },
        rungs=tuple(
            _rung_result(rung, ours, found, labels, settings, violations or {}) for rung in rungs
        ),
        parts=_parts(found, ours.name, rival.name, settings),
        tags=tag_table(ours, rival, labels, vocabulary, tests, found, settings),
        verdicts=_verdicts(tests),
        curves=curves_of(ours.proba, labels, settings.curve_points),
        rival_curves=curves_of(rival.proba, labels, settings.curve_points),
        confusions=tuple(
            confusion_in(name, np.asarray(tags, np.intp), ours.decided, labels, vocabulary)
            for name, tags in (exclusive_groups or {}).items()
        ),
        changes=_changes(rungs, ours, labels, vocabulary),
        worst=worst_images(
            ours.proba, ours.decided, labels, vocabulary, images, settings.worst_images
        ),
        thumbnail_px=settings.thumbnail_px,
    )


def _best_single(rungs: Sequence[Rung], found: Resamples) -> str:
    singles = [rung.name for rung in rungs if rung.is_single]
    score = found.scores
    return max(
        singles,
        key=lambda name: np.nan_to_num(score[name]["all", "macro_f"][0]),
        default="",
    )


def _rung_result(
    rung: Rung,
    ours: Rung,
    found: Resamples,
    labels: sparse.csr_array,
    settings: CompareSettings,
    violations: Mapping[str, NDArray[np.integer]],
) -> RungResult:
    theirs = found.scores[rung.name]
    blocks = blocks_of(rung.proba, labels)
    counts = np.asarray(violations.get(rung.name, [np.nan]), float)
    return RungResult(
        name=rung.name,
        title=rung.title,
        note=rung.note,
        votes_on=int((~np.isnan(rung.proba.base)).sum()),
        same_proba=same_proba(rung.proba, ours.proba),
        scores=_by_scope(
            {key: interval(values, settings.confidence) for key, values in theirs.items()}
        ),
        differences=_by_scope(
            {
                key: difference(values, theirs[key], settings.confidence)
                for key, values in found.scores[ours.name].items()
            }
        ),
        decisions=decision_scores(rung.decided, labels, beta=settings.beta),
        probabilities=probability_scores(
            blocks,
            positives_per_tag(labels),
            n_bins=settings.calibration_bins,
            floor=settings.calibration_floor,
            min_positives=settings.min_positives,
        ),
        ranking=label_ranking(rung.proba, labels),
        reliability=reliability(
            blocks, n_bins=settings.calibration_bins, floor=settings.calibration_floor
        ),
        contradictions=float(counts.mean()),
        contradicting_images=float(np.where(np.isnan(counts), np.nan, counts > 0).mean()),
    )


def _by_scope(samples: Mapping[tuple[str, str], _Value]) -> dict[str, dict[str, _Value]]:
    nested: dict[str, dict[str, _Value]] = {}
    for (scope, name), value in samples.items():
        nested.setdefault(scope, {})[name] = value
    return nested


def _parts(
    found: Resamples, ours: str, rival: str, settings: CompareSettings
) -> tuple[ScopeResult, ...]:
    parts = []
    for part in found.parts:
        keys = [key for key in part.ours if key[0] == part.key]
        parts.append(
            ScopeResult(
                kind=part.kind,
                title=part.title,
                n_tags=part.n_tags,
                n_images=part.n_images,
                reference={n: interval(part.ours[k, n], settings.confidence) for k, n in keys},
                rival={n: interval(part.theirs[k, n], settings.confidence) for k, n in keys},
                differences={
                    n: difference(part.ours[k, n], part.theirs[k, n], settings.confidence)
                    for k, n in keys
                },
            )
        )
    return tuple(parts)


def _verdicts(tests: TagTests) -> TagVerdicts:
    better, worse = tests.verdict.count(BETTER), tests.verdict.count(WORSE)
    return TagVerdicts(
        better=better,
        worse=worse,
        undecided=len(tests.verdict) - better - worse,
        tested=int((~np.isnan(tests.p_value)).sum()),
    )


def _changes(
    rungs: Sequence[Rung], ours: Rung, labels: sparse.csr_array, vocabulary: Vocabulary
) -> DecisionChanges | None:
    """Return what the last step among the rungs with the reference's probabilities changed."""
    steps = [rung for rung in rungs if same_proba(rung.proba, ours.proba)]
    at = max(next(i for i, rung in enumerate(steps) if rung is ours), 1)
    if len(steps) < 2:
        return None
    before, after = steps[at - 1], steps[at]
    return decision_changes(
        before.title, after.title, before.decided, after.decided, labels, vocabulary
    )
