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
from tagstack.ensemble.rules.binding import BoundRules
from tagstack.meta.labels.truth import positives_per_tag
from tagstack.meta.metrics.bootstrap import difference, interval, repeats
from tagstack.meta.metrics.calibration_error import (
    blocks_of,
    probability_scores,
    reliability,
)
from tagstack.meta.metrics.decision_scores import (
    HierarchicalScores,
    decision_scores,
    hierarchical_scores,
)
from tagstack.meta.metrics.label_ranking import label_ranking

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
    """

    labels: sparse.csr_array
    unknown: sparse.csr_array | None
    rules: BoundRules | None
    settings: CompareSettings


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
    blocks = blocks_of(rung.proba, labels)
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
        decisions=decision_scores(rung.decided, labels, beta=settings.beta, unknown=case.unknown),
        hierarchical=_hierarchical(rung, case),
        probabilities=probability_scores(
            blocks,
            positives_per_tag(labels),
            n_bins=bins,
            floor=floor,
            min_positives=settings.min_positives,
        ),
        ranking=label_ranking(rung.proba, labels),
        reliability=reliability(blocks, n_bins=bins, floor=floor),
        contradictions=float(violations.mean()),
        contradicting_images=float(np.where(np.isnan(violations), np.nan, violations > 0).mean()),
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
