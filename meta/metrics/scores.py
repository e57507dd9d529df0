"""Every score by name: what it is called, which way is better, what it needs, how it is computed.

One registry feeds the terminal, the page, CSV and JSON, so that none of them has a name of its
own. The five scores of `compared` are resampled, which is why the comparison has a faster way to
them; all others are computed once a rung. A package offers a score of its own in its
pyproject.toml, and the settings name it in ``compare.metrics``:

    [project.entry-points."tagstack.metrics"]
    invented = "my_package.scores:INVENTED"

The object is a `Score`. Its values stand in every output beside the built-in ones:

>>> from tagstack.meta.metrics.scores import Score
>>> INVENTED = Score(
...     name="invented",
...     title="Invented tags",
...     meaning="share of images with a tag that is wrong",
...     larger_is_better=False,
...     needs="decisions",
...     function=lambda judged: float((judged.by_image.predicted > judged.by_image.hits).mean()),
... )
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import METRICS
from tagstack.meta.labels.truth import positives_per_tag
from tagstack.meta.metrics.calibration_error import (
    Blocks,
    ProbabilityScores,
    blocks_of,
    probability_scores,
)
from tagstack.meta.metrics.counts import Counts, count_by_image, count_by_tag, defined_mean
from tagstack.meta.metrics.decision_scores import DecisionScores, decision_scores
from tagstack.meta.metrics.label_ranking import LabelRanking, label_ranking
from tagstack.meta.metrics.ranking import average_precision, micro_average_precision
from tagstack.meta.metrics.weighted_ranking import without_abstentions

Needs = Literal["proba", "decisions"]
# Of true positives, false positives, false negatives and true negatives, all of one shape.
OfCounts = Callable[
    [NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    NDArray[np.float64],
]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One rung's answers against the labels: what every score is computed from.

    Parameters
    ----------
    proba : PairProba
        Of all pairs; NaN where the rung has no probability.
    decided, labels : csr_array of shape (n_images, n_tags), bool
    beta : float
        Weight of recall in F-beta.
    unknown : csr_array of shape (n_images, n_tags), bool, optional
        Pairs that count neither for nor against.
    bins, floor, min_positives
        Of the calibration error: see `calibration_error.probability_scores`.
    """

    proba: PairProba
    decided: sparse.csr_array
    labels: sparse.csr_array
    beta: float = 1.0
    unknown: sparse.csr_array | None = None
    bins: int = 15
    floor: float = 0.0
    min_positives: int = 1

    @cached_property
    def by_tag(self) -> Counts:
        """Counts of each tag, arrays of shape (n_tags,), int64."""
        return count_by_tag(self.decided, self.labels)

    @cached_property
    def by_image(self) -> Counts:
        """Counts of each image, arrays of shape (n_images,), int64."""
        return count_by_image(self.decided, self.labels)

    @cached_property
    def decisions(self) -> DecisionScores:
        """Scores of the decided tags."""
        return decision_scores(self.decided, self.labels, beta=self.beta, unknown=self.unknown)

    @cached_property
    def blocks(self) -> Blocks:
        """Every pair with a probability, equal ones of a tag pooled."""
        return blocks_of(self.proba, self.labels)

    @cached_property
    def probabilities(self) -> ProbabilityScores:
        """Scores of the probabilities as such."""
        return probability_scores(
            self.blocks,
            positives_per_tag(self.labels),
            n_bins=self.bins,
            floor=self.floor,
            min_positives=self.min_positives,
        )

    @cached_property
    def ranking(self) -> LabelRanking:
        """Scores of each image's ranking of tags."""
        return label_ranking(self.proba, self.labels)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score.

    Parameters
    ----------
    name : str
        What files and settings call it.
    title : str
        What people read.
    meaning : str
        In a line; may be empty.
    larger_is_better : bool
    needs : {"proba", "decisions"}
        What of a rung it looks at: its ranking and probabilities, or what it decided.
    function : callable
        Takes a `Judged`, returns one number; NaN where it is undefined.
    digits : int
        After the point, where it is shown.
    of_counts : callable, optional
        The same of one tag, by its counts: see `count_metrics.score_of_counts`. With it thresholds
        and the gate can raise the score.
    """

    name: str
    title: str
    function: Callable[[Judged], float]
    needs: Needs
    meaning: str = ""
    larger_is_better: bool = True
    digits: int = 3
    of_counts: OfCounts | None = None


def f_name(beta: float) -> str:
    """Return ``F1``, or ``F`` with another weight of recall."""
    return f"F{beta:g}"


def compared(beta: float) -> tuple[Score, ...]:
    """Return the scores that are resampled and compared, the headline's first."""
    f = f_name(beta)
    return (
        _decided("macro_f", f"macro-{f}", f"mean of the tags' {f}: every tag counts the same"),
        _decided("micro_f", f"micro-{f}", f"{f} of all (image, tag) pairs: common tags count most"),
        _decided(
            "sample_f", f"sample-{f}", f"mean of the images' {f}: every image counts the same"
        ),
        Score(
            name="macro_ap",
            title="macro-AP",
            meaning="mean of the tags' average precision: the ranking alone, before any threshold",
            needs="proba",
            function=_macro_ap,
        ),
        Score(
            name="micro_ap",
            title="micro-AP",
            meaning="average precision of all (image, tag) pairs ranked together",
            needs="proba",
            function=_micro_ap,
        ),
    )


def averages_of_decisions(beta: float) -> tuple[Score, ...]:
    """Return F-beta, precision and recall of decided tags under each way of averaging."""
    return tuple(
        _decided(f"{average}_{field}", f"{average}-{title}")
        for average in ("micro", "macro", "weighted", "sample")
        for field, title in (("f", f_name(beta)), ("precision", "P"), ("recall", "R"))
    )


def of_decisions(beta: float) -> tuple[Score, ...]:
    """Return the scores of decided tags, in reading order."""
    return (
        *averages_of_decisions(beta),
        _decided("micro_mcc", "micro-MCC"),
        _decided("macro_mcc", "macro-MCC"),
        _decided("subset_accuracy", "Subset accuracy"),
        replace(_decided("hamming_loss", "Hamming loss"), larger_is_better=False, digits=5),
    )


def of_probabilities() -> tuple[Score, ...]:
    """Return the scores of rankings of tags and of probabilities as such, in reading order."""

    def loss(name: str, title: str, digits: int) -> Score:
        def read(judged: Judged) -> float:
            return float(getattr(judged.probabilities, name))

        return Score(
            name=name,
            title=title,
            needs="proba",
            function=read,
            larger_is_better=False,
            digits=digits,
        )

    return (
        Score(name="lrap", title="LRAP", needs="proba", function=lambda j: j.ranking.lrap),
        Score(
            name="coverage",
            title="Coverage",
            needs="proba",
            function=lambda j: j.ranking.coverage,
            larger_is_better=False,
            digits=1,
        ),
        loss("brier", "Brier", 5),
        loss("log_loss", "Log loss", 5),
        loss("classwise_ece", "Classwise ECE", 4),
    )


def of_packages(names: Iterable[str]) -> tuple[Score, ...]:
    """Return scores that installed packages offer, by name; what goes wrong in one is named.

    Raises
    ------
    TagstackError
        If no package offers one, or what it offers is no `Score`.
    """
    return tuple(_of_package(name) for name in names)


def _of_package(name: str) -> Score:
    offer = METRICS.offer(name)
    found = offer.load()
    if not isinstance(found, Score):
        msg = (
            f"The {offer} is {type(found).__name__}; expected a tagstack.meta.metrics.scores.Score."
        )
        raise TagstackError(msg)
    theirs = found.function

    def checked(judged: Judged) -> float:
        with offer.blamed():
            value = theirs(judged)
        if not isinstance(value, int | float | np.number) or np.isinf(value):
            msg = (
                f"The {offer} returned {value!r}; expected one number. Report this to its authors."
            )
            raise TagstackError(msg)
        return float(value)

    return replace(found, name=name, function=checked)


def _decided(name: str, title: str, meaning: str = "") -> Score:
    def read(judged: Judged) -> float:
        return float(getattr(judged.decisions, name))

    return Score(name=name, title=title, meaning=meaning, needs="decisions", function=read)


def _macro_ap(judged: Judged) -> float:
    return defined_mean(average_precision(without_abstentions(judged.proba), judged.labels))


def _micro_ap(judged: Judged) -> float:
    return micro_average_precision(without_abstentions(judged.proba), judged.labels)
