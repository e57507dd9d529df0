"""Everything measured about one rung, and about every two rungs."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.configs.comparing import CompareSettings
from tagstack.ensemble.comparison.resamples import ALL, Resamples
from tagstack.ensemble.comparison.results import RungPair, RungResult
from tagstack.ensemble.comparison.rungs import Rung, same_proba
from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.meta.metrics.bootstrap import difference, interval, repeats
from tagstack.meta.metrics.calibration_error import reliability
from tagstack.meta.metrics.decision_scores import HierarchicalScores, hierarchical_scores
from tagstack.meta.metrics.scores import Judged, Score, of_decisions, of_probabilities

_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class Case:
    """What all rungs are judged against.

    Parameters
    ----------
    labels : csr_array of shape (n_images, n_tags), bool
    unknown : csr_array of shape (n_images, n_tags), bool, optional
    rules : BoundRules, optional
    settings : CompareSettings
    personal : tuple of Score
        Of packages.
    """

    labels: sparse.csr_array
    unknown: sparse.csr_array | None
    rules: BoundRules | None
    settings: CompareSettings
    personal: tuple[Score, ...] = ()


def rung_result(
    rung: Rung, ours: Rung, found: Resamples, case: Case, violations: NDArray[np.float64]
) -> RungResult:
    """Return every score of one rung and what separates the reference from it.

    Parameters
    ----------
    rung, ours : Rung
    found : Resamples
    case : Case
    violations : array of shape (n_images,), float64
        Contradictions in each image's decided tags; NaN without rules.
    """
    theirs, best = found.scores[rung.name], found.scores[ours.name]
    settings, labels = case.settings, case.labels
    level, bins, floor = settings.confidence, settings.calibration_bins, settings.calibration_floor
    judged = Judged(
        proba=rung.proba,
        decided=rung.decided,
        labels=labels,
        beta=settings.beta,
        unknown=case.unknown,
        bins=bins,
        floor=floor,
        min_positives=settings.min_positives,
    )
    once = (*of_decisions(settings.beta), *of_probabilities(), *case.personal)
    return RungResult(
        spec=rung.spec,
        note=rung.note,
        votes_on=int((~np.isnan(rung.proba.base)).sum()),
        same_proba=same_proba(rung.proba, ours.proba),
        scores=_by_scope({key: interval(values, level) for key, values in theirs.items()}),
        differences=_by_scope(
            {key: difference(values, theirs[key], level) for key, values in best.items()}
        ),
        repeats={
            name: repeats(values, theirs[scope, name], level, settings.seeds)
            for (scope, name), values in best.items()
            if scope == ALL
        },
        decisions=judged.decisions,
        hierarchical=_hierarchical(rung, case),
        probabilities=judged.probabilities,
        ranking=judged.ranking,
        reliability=reliability(judged.blocks, n_bins=bins, floor=floor),
        contradictions=float(violations.mean()),
        contradicting_images=float(np.where(np.isnan(violations), np.nan, violations > 0).mean()),
        values={score.name: score.function(judged) for score in once},
    )


def rung_pairs(found: Resamples, confidence: float) -> tuple[RungPair, ...]:
    """Return what separates every two rungs over all tags; resampled scores are at hand."""
    return tuple(
        RungPair(
            first=first,
            second=second,
            differences={
                name: difference(values, found.scores[second][scope, name], confidence)
                for (scope, name), values in found.scores[first].items()
                if scope == ALL
            },
        )
        for first, second in combinations(found.scores, 2)
    )


def _hierarchical(rung: Rung, case: Case) -> HierarchicalScores | None:
    if case.rules is None or not case.rules.ancestors.nnz:
        return None
    return hierarchical_scores(
        rung.decided,
        case.labels,
        case.rules.ancestors,
        beta=case.settings.beta,
        unknown=case.unknown,
    )


def _by_scope(samples: Mapping[tuple[str, str], _Value]) -> dict[str, dict[str, _Value]]:
    nested: dict[str, dict[str, _Value]] = {}
    for (scope, name), value in samples.items():
        nested.setdefault(scope, {})[name] = value
    return nested
