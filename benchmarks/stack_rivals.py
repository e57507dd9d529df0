"""The contenders of `benchmarks/stack.py`: what is fitted, and what it says of other images.

A contender takes labelled scores, scores of other images and a number of threads, and returns the
probabilities of the other images for the tags that were asked for, shape (n_images, n_asked), and
what its cost is to be multiplied by where it did not do all the work.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit
from stack_scores import FLOOR, LabelledScores

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.configs.settings import load_settings
from tagstack.meta.labels.truth import pair_labels
from tagstack.meta.learners.caruana import GreedySelection
from tagstack.meta.learners.mean import mean_logit
from tagstack.meta.metrics.ranking import Rankings, area_of
from tagstack.meta.stack.stacker import Stacker

Floats = NDArray[np.float64]

N_FOLDS = 5
SKLEARN_IMAGES = 2_000  # its cost grows with images and, per tag, with all tags' columns
BELOW_FLOOR = 1e-5  # probability of a pair that nobody lists


@dataclass(frozen=True)
class Job:
    """What a contender gets: images to fit on, others to predict, tags that will be judged."""

    fit: LabelledScores
    test: Level1Scores
    tags: NDArray[np.int64]
    threads: int
    sklearn_tags: int


@dataclass(frozen=True)
class Said:
    """Probabilities (n_images, n_tags), NaN for tags left out, and the factor of the cost."""

    proba: NDArray[np.float32]
    factor: float = 1.0


def dense(pairs: Pairs, listed: Floats, tags: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return values of the listed pairs of some tags as (n_images, n_tags)."""
    place = np.full(pairs.n_tags, -1)
    place[tags] = np.arange(len(tags))
    kept = np.flatnonzero(place[pairs.tag] >= 0)
    full = np.full((pairs.n_images, len(tags)), BELOW_FLOOR, np.float32)
    full[pairs.image[kept], place[pairs.tag[kept]]] = listed[kept]
    return full


def mean(job: Job) -> Said:
    """Return the mean of the members' probabilities; nothing is fitted."""
    logit = mean_logit(job.test.logit.astype(np.float64))
    return Said(dense(job.test.pairs, expit(logit), job.tags))


def caruana(job: Job) -> Said:
    """Return the members' mean with weights chosen greedily on the fit images."""
    scores, labels = job.fit.scores, job.fit.labels
    proba = expit(scores.logit.astype(np.float64))
    true = pair_labels(scores.pairs, labels).astype(np.int64)
    tag, one = scores.pairs.tag.astype(np.int64), np.ones(len(true), np.int64)

    def metric(average: Floats) -> Floats:
        value = average.astype(np.float32)
        macro = area_of(Rankings.of(tag, value, one, true, scores.pairs.n_tags))
        micro = area_of(Rankings.of(np.zeros_like(tag), value, one, true, 1))
        return np.array([(np.nanmean(macro) + micro[0]) / 2])

    filled = np.where(np.isnan(proba), np.nanmean(proba, axis=0), proba)
    weights = GreedySelection(filled, metric, 20).weights(np.ones(1, bool))
    logit = mean_logit(job.test.logit.astype(np.float64), weights)
    return Said(dense(job.test.pairs, expit(logit), job.tags))


def tagstack(job: Job) -> Said:
    """Return the chosen rung of the whole stack, without the search for parameters."""
    settings = stack_settings()
    stacker = Stacker(settings, seed=0, threads=job.threads)
    groups = np.arange(job.fit.scores.n_images)
    stacker.fit(job.fit.scores, job.fit.labels, groups, job.fit.relations)
    found = stacker.predict_proba(job.test)
    full = dense(found.pairs, found.proba.astype(np.float64), job.tags)
    unlisted = full == np.float32(BELOW_FLOOR)
    full[unlisted] = np.broadcast_to(found.base[job.tags], full.shape)[unlisted]
    return Said(full)


def stack_settings() -> Any:
    """Return the defaults without tuning, rehearsal and worth of members: one fit, no more.

    The rivals judge nothing either; what these three cost is stated beside.
    """
    stack = load_settings().stack
    tuning = stack.tuning.model_copy(update={"trials": 0})
    changes = {"tuning": tuning, "outer_fold": False, "member_worth": "none"}
    return stack.model_copy(update=changes)


def loop(job: Job) -> Said:
    """Return a stack of its own for each tag, on the members' columns of that tag alone."""
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    fit, test = _Columns(job.fit.scores), _Columns(job.test)
    labels = sparse.csc_array(job.fit.labels)
    work = (delayed(_one_tag)(fit.of(t), _column(labels, t), test.of(t)) for t in job.tags)
    found = Parallel(n_jobs=job.threads)(work)
    get_reusable_executor().shutdown(wait=True)  # so that its workers' CPU time is counted
    return Said(np.stack(found, axis=1), factor=job.fit.scores.pairs.n_tags / len(job.tags))


def scikit_learn(job: Job) -> Said:
    """Return what the documented combination says: every tag sees all tags' columns.

    A few tags on a few images; the cost is multiplied by the tags alone, which favours it.
    """
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import StackingClassifier
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.svm import LinearSVC
    from xgboost import XGBClassifier

    n_tags, asked = job.fit.scores.pairs.n_tags, few_tags(job)
    some = job.fit.take(np.arange(min(SKLEARN_IMAGES, job.fit.scores.n_images)))
    labels = sparse.csc_array(some.labels)
    fit, test = (_Columns(scores).all() for scores in (some.scores, job.test))
    stack = StackingClassifier(
        [("lightgbm", LGBMClassifier(n_jobs=1, verbosity=-1)), ("svm", LinearSVC(dual=False))],
        XGBClassifier(n_jobs=1),
        cv=N_FOLDS,
    )
    model = MultiOutputClassifier(stack, n_jobs=job.threads)
    model.fit(fit, np.stack([_column(labels, t) for t in asked], axis=1))
    proba = np.full((job.test.n_images, len(job.tags)), np.nan, np.float32)
    for t, of_tag in zip(asked, model.predict_proba(test), strict=True):
        proba[:, np.searchsorted(job.tags, t)] = of_tag[:, 1]
    return Said(proba, factor=n_tags / len(asked))


def few_tags(job: Job) -> NDArray[np.int64]:
    """Return the tags that scikit-learn's combination is asked about: some it can fit at all."""
    positives = np.asarray(job.fit.labels[:SKLEARN_IMAGES].sum(axis=0)).ravel()
    usable = job.tags[positives[job.tags] >= N_FOLDS]
    evenly = np.linspace(0, len(usable) - 1, job.sklearn_tags + 2)[1:-1].astype(np.intp)
    return usable.take(evenly)


def _one_tag(fit: Any, true: NDArray[np.bool_], test: Any) -> NDArray[np.float32]:
    """Return one tag's probabilities: LightGBM and SVM out of fold, XGBoost on top."""
    from lightgbm import LGBMClassifier
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import LinearSVC
    from xgboost import XGBClassifier

    if true.sum() < N_FOLDS or (~true).sum() < N_FOLDS:
        mean: NDArray[np.float32] = expit(test).mean(axis=1).astype(np.float32)
        return mean
    warnings.simplefilter("ignore")
    below = np.empty((len(true), 2))
    for part, held in StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(fit, true):
        trees, svm = LGBMClassifier(n_jobs=1, verbosity=-1), LinearSVC(dual=False)
        below[held, 0] = trees.fit(fit[part], true[part]).predict_proba(fit[held])[:, 1]
        below[held, 1] = svm.fit(fit[part], true[part]).decision_function(fit[held])
    trees, svm = LGBMClassifier(n_jobs=1, verbosity=-1), LinearSVC(dual=False)
    trees.fit(fit, true)
    svm.fit(fit, true)
    top = XGBClassifier(n_jobs=1).fit(np.column_stack([fit, below]), true)
    of_test = np.column_stack([trees.predict_proba(test)[:, 1], svm.decision_function(test)])
    proba: NDArray[np.float32] = top.predict_proba(np.column_stack([test, of_test]))[:, 1]
    return proba


class _Columns:
    """The members' logits tag by tag; an abstention is the mean of those who know."""

    def __init__(self, scores: Level1Scores) -> None:
        logit = scores.logit
        known = ~np.isnan(logit)
        total = np.where(known, logit, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        self.logit, self.pairs = np.where(known, logit, total), scores.pairs
        self.order = np.argsort(scores.pairs.tag, kind="stable")
        self.start = np.searchsorted(
            scores.pairs.tag[self.order], np.arange(scores.pairs.n_tags + 1)
        )

    def of(self, tag: int) -> NDArray[np.float32]:
        """Return the columns of one tag, shape (n_images, n_members)."""
        rows = self.order[self.start[tag] : self.start[tag + 1]]
        columns = np.full((self.pairs.n_images, len(self.logit)), FLOOR, np.float32)
        columns[self.pairs.image[rows]] = self.logit[:, rows].T
        return columns

    def all(self) -> NDArray[np.float32]:
        """Return the columns of all tags, shape (n_images, n_tags * n_members)."""
        return np.concatenate([self.of(t) for t in range(self.pairs.n_tags)], axis=1)


def _column(labels: sparse.csc_array, tag: int) -> NDArray[np.bool_]:
    column = np.zeros(labels.shape[0], bool)
    column[labels.indices[labels.indptr[tag] : labels.indptr[tag + 1]]] = True
    return column


CONTENDERS: dict[str, Callable[[Job], Said]] = {
    "mean": mean,
    "caruana": caruana,
    "loop": loop,
    "scikit-learn": scikit_learn,
    "tagstack": tagstack,
}
