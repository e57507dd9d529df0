"""The ladder: every rung on the same images, tags and resamples, and what separates them.

One pass over the resamples scores all rungs, so every difference is paired. A pair without a
probability (a tagger that lacks the tag) is not tagged and ranks last; how many tags a rung votes
on, and the scores on the tags that all rungs know, stand beside it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.comparing import CompareSettings
from tagstack.configs.settings import load_settings
from tagstack.ensemble.comparison.evaluator import Scope
from tagstack.ensemble.comparison.images import confusion_in, decision_changes, worst_images
from tagstack.ensemble.comparison.resamples import Resamples, resample, tag_scopes
from tagstack.ensemble.comparison.results import (
    Comparison,
    Confusion,
    DecisionChanges,
    ScopeResult,
    TagVerdicts,
)
from tagstack.ensemble.comparison.rule_effects import RuleEffect, rule_effects
from tagstack.ensemble.comparison.rung_results import Case, rung_pairs, rung_result
from tagstack.ensemble.comparison.rungs import (
    Rung,
    check_rungs,
    counterpart,
    like_for_like,
    rival_of,
    rungs_without,
    same_proba,
    shared_tags,
)
from tagstack.ensemble.comparison.tags import curves_of, tag_table
from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.meta.labels.truth import known_labels, positives_per_tag
from tagstack.meta.metrics.bootstrap import BETTER, WORSE, difference, interval
from tagstack.meta.metrics.counts import canonical
from tagstack.meta.metrics.scores import Score, of_packages
from tagstack.meta.metrics.tag_tests import TagTests, compare_tags, differing_groups
from tagstack.meta.metrics.utility import read_utility, utility_score

__all__ = ["Comparison", "Rung", "compare"]


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
    rules: BoundRules | None = None,
    slices: Mapping[str, Sequence[str]] | None = None,
    unknown: sparse.csr_array | None = None,
    rival: str = "",
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
    rules : BoundRules, optional
        For contradictions, confusion inside exclusive groups, hierarchical scores, and what each
        rule did. None, and rules that say nothing about the vocabulary, leave those out.
    slices : mapping of column name to one value per image, optional
        Parts of the test set to compare on separately.
    unknown : csr_array of shape (n_images, n_tags), bool, optional
        Pairs whose label nobody knows: they count neither for nor against any rung.
    rival : str
        Name of the rung that the reference is to be held against, tag by tag and in the headline;
        the best of the others by default.

    Raises
    ------
    TagstackError
        If names repeat, the reference is no rung, or shapes do not fit.
    """
    labels = canonical(labels)
    check_rungs(rungs, labels, vocabulary, groups, images, reference)
    whole = {rung.name: rung for rung in rungs}
    if unknown is not None:
        rungs = rungs_without(rungs, unknown)
        labels = known_labels(labels, unknown)
    personal = (*of_packages(settings.metrics), *_own_utility(settings, vocabulary))
    case = Case(labels=labels, unknown=unknown, rules=rules, settings=settings, personal=personal)
    ours = next(rung for rung in rungs if rung.name == reference)
    scopes = tag_scopes(rungs, labels, vocabulary, settings)
    asked = rival
    theirs = next((rung for rung in rungs if rung.name == asked), None)
    other = theirs or rival_of(rungs, ours, labels, settings.beta)
    found = resample(
        rungs,
        labels,
        groups,
        scopes,
        slices or {},
        pair=(ours, other),
        settings=settings,
        seed=seed,
    )
    n_differing = differing_groups(ours.decided, other.decided, groups)[found.labelled]
    tests = _tests(found, (ours, other), n_differing, settings).of_all(
        found.labelled, len(vocabulary)
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
        n_unknown=0 if unknown is None else canonical(unknown).nnz,
        min_positives=settings.min_positives,
        resamples=settings.resamples * settings.seeds,
        seed=seed,
        seeds=settings.seeds,
        confidence=settings.confidence,
        beta=settings.beta,
        false_discovery_rate=settings.false_discovery_rate,
        calibration_floor=settings.calibration_floor,
        reference=reference,
        rival=other.name if other is not ours else "",
        opponent=asked,
        best_single=_best_single(like_for_like(rungs, ours), found),
        best_published=_best_single([rung for rung in rungs if rung.spec.is_published], found),
        scopes=_sizes(scopes),
        rungs=tuple(
            rung_result(
                rung,
                counterpart(rung, ours, rungs),
                found,
                case,
                _violations(whole[rung.name], rules),
            )
            for rung in rungs
        ),
        pairs=rung_pairs(found, settings.confidence),
        parts=_parts(found, ours.name, other.name, settings),
        tags=tag_table(ours, other, labels, vocabulary, tests, found, settings),
        verdicts=_verdicts(tests),
        curves=curves_of(ours.proba, labels, settings.curve_points),
        rival_curves=curves_of(other.proba, labels, settings.curve_points),
        confusions=_confusions(ours, rules, labels, vocabulary, unknown),
        changes=_changes(rungs, ours, labels, vocabulary),
        rules=_rule_effects(whole[reference], rules, labels, unknown),
        worst=worst_images(
            ours.proba, ours.decided, labels, vocabulary, images, settings.worst_images
        ),
        thumbnail_px=settings.thumbnail_px,
        personal=personal,
    )


def _tests(
    found: Resamples,
    pair: tuple[Rung, Rung],
    n_differing: NDArray[np.int64],
    settings: CompareSettings,
) -> TagTests:
    """Return what is sure of each labelled tag between two rungs."""
    return compare_tags(
        found.tag_f[pair[0].name],
        found.tag_f[pair[1].name],
        n_differing,
        confidence=settings.confidence,
        false_discovery_rate=settings.false_discovery_rate,
        freedom=n_differing.astype(np.float64) - 1,
    )


def _sizes(scopes: Sequence[Scope]) -> dict[str, tuple[str, int]]:
    """Return title and number of tags of each scope that is a whole vocabulary."""
    return {
        scope.key: (scope.title, int(scope.tags.sum()))
        for scope in scopes
        if scope.kind == "vocabulary"
    }


def _confusions(
    ours: Rung,
    rules: BoundRules | None,
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    unknown: sparse.csr_array | None,
) -> tuple[Confusion, ...]:
    """Return what is taken for what inside each exclusive group."""
    return tuple(
        confusion_in(rule.id, rule.tags, ours.decided, labels, vocabulary, unknown)
        for rule in (rules.exclusives if rules else ())
        if len(rule.tags) > 1  # a soft implication is no group
    )


def _violations(rung: Rung, rules: BoundRules | None) -> NDArray[np.float64]:
    """Return contradictions in each image's decided tags; NaN without rules."""
    if rules is None:
        return np.full(rung.decided.shape[0], np.nan)
    return rules.violations(rung.decided).per_image.astype(np.float64)


def _best_single(rungs: Sequence[Rung], found: Resamples) -> str:
    singles = [rung.name for rung in rungs if rung.spec.is_single]
    score = found.scores
    return max(
        singles,
        key=lambda name: np.nan_to_num(score[name]["all", "macro_f"][0]),
        default="",
    )


def _parts(
    found: Resamples, ours: str, rival: str, settings: CompareSettings
) -> tuple[ScopeResult, ...]:
    parts = []
    for part in found.parts:
        keys = [key for key in part.ours if key[0] == part.key]
        free, paired = (partial(part.telling.freedom, paired=own) for own in (False, True))
        parts.append(
            ScopeResult(
                kind=part.kind,
                title=part.title,
                n_tags=part.n_tags,
                n_images=part.n_images,
                reference={
                    n: interval(part.ours[k, n], settings.confidence, free(n)) for k, n in keys
                },
                rival={
                    n: interval(part.theirs[k, n], settings.confidence, free(n)) for k, n in keys
                },
                differences={
                    n: difference(
                        part.ours[k, n], part.theirs[k, n], settings.confidence, paired(n)
                    )
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
    """Return what the rules changed, or the step from another rung with our probabilities."""
    if ours.before_rules is not None:
        before, title = ours.before_rules, "its thresholds alone"
    else:
        steps = [rung for rung in rungs if same_proba(rung.proba, ours.proba)]
        at = next(i for i, rung in enumerate(steps) if rung is ours)
        if not at:
            return None
        before, title = steps[at - 1].decided, steps[at - 1].title
    return decision_changes(title, ours.title, before, ours.decided, labels, vocabulary)


def _rule_effects(
    ours: Rung,
    rules: BoundRules | None,
    labels: sparse.csr_array,
    unknown: sparse.csr_array | None,
) -> tuple[RuleEffect, ...]:
    if rules is None or ours.before_rules is None:
        return ()
    return rule_effects(rules, ours.before_rules, ours.decided, labels, unknown)


def _own_utility(settings: CompareSettings, vocabulary: Vocabulary) -> tuple[Score, ...]:
    """Return the score of the user's table of values, if the settings name one."""
    if not settings.utility:
        return ()
    others = load_settings().thresholds.utility
    return (utility_score(read_utility(Path(settings.utility), vocabulary, others)),)
