"""Two stacks judged on the same left-out pictures: quick fits, and what their leads need."""

import time

import numpy as np

from tagstack.base_models.pairs import PairProba
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.metrics.fold_scores import FoldScorer
from tagstack.meta.stack.stacker import Stacker

QUICK: dict[str, object] = {"outer_fold": False, "member_worth": "none", "tuning": {"trials": 0}}


def fitted(fit: Dataset, rules: Rules, settings: Settings) -> tuple[Stacker, float]:
    """Return a stack and the CPU seconds that fitting took."""
    began = time.process_time()
    relations = rules.within(fit.scores.vocabulary).bind(fit.scores.vocabulary).relations()
    stack = Stacker(settings.stack, seed=settings.seed, threads=1)
    stack.fit(fit.scores, fit.labels, fit.groups, relations, unknown=fit.unknown)
    return stack, time.process_time() - began


def on_pairs(proba: PairProba, wanted: PairProba) -> PairProba:
    """Return probabilities of the pairs that another lists, which hold all of their own."""
    value = proba.base[wanted.pairs.tag].copy()
    keys, own = wanted.pairs.keys(), proba.pairs.keys()
    value[np.searchsorted(keys, own)] = proba.proba
    return PairProba(pairs=wanted.pairs, proba=value, base=proba.base)


def scorer(test: Dataset, proba: PairProba) -> FoldScorer:
    """Return what judges probabilities of these pairs on left-out images."""
    evidence = Evidence.of(test.labels, test.unknown)
    folds = np.zeros(test.scores.n_images, np.int64)
    return FoldScorer(proba.pairs, evidence.truth(proba.pairs), evidence, folds, test.groups)
