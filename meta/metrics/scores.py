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

import re
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
from tagstack.meta.metrics.counts import Counts, count_by_image, count_by_tag
from tagstack.meta.metrics.decision_scores import DecisionScores, decision_scores
from tagstack.meta.metrics.label_ranking import LabelRanking, label_ranking

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


_F = re.compile(r"\bF\b")  # in the titles of `built_in`

# In reading order; `tagstack.configs.hooks.METRICS` says where each of them is.
_COMPARED = ("macro_f", "micro_f", "sample_f", "macro_ap", "micro_ap")
_AVERAGES = tuple(
    f"{average}_{field}"
    for average in ("micro", "macro", "weighted", "sample")
    for field in ("f", "precision", "recall")
)
_DECISIONS = ("micro_mcc", "macro_mcc", "subset_accuracy", "hamming_loss")
_PROBABILITIES = ("lrap", "coverage", "brier", "log_loss", "classwise_ece")


def compared(beta: float) -> tuple[Score, ...]:
    """Return the scores that are resampled and compared, the headline's first."""
    return _built_in(_COMPARED, beta)


def averages_of_decisions(beta: float) -> tuple[Score, ...]:
    """Return F-beta, precision and recall of decided tags under each way of averaging."""
    return _built_in(_AVERAGES, beta)


def of_decisions(beta: float) -> tuple[Score, ...]:
    """Return the scores of decided tags, in reading order."""
    return _built_in((*_AVERAGES, *_DECISIONS), beta)


def of_probabilities() -> tuple[Score, ...]:
    """Return the scores of rankings of tags and of probabilities as such, in reading order."""
    return _built_in(_PROBABILITIES, 1.0)


def _built_in(names: Iterable[str], beta: float) -> tuple[Score, ...]:
    """Return built-in scores; where they are of F-beta, they say which."""
    own = f_name(beta)
    return tuple(
        replace(score, title=_F.sub(own, score.title), meaning=_F.sub(own, score.meaning))
        for score in map(_loaded, names)
    )


def _loaded(name: str) -> Score:
    found = METRICS.load(name)
    assert isinstance(found, Score)
    return found


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
    if not offer.package:
        msg = (
            f"The metric {name!r} is built in and always shown; {METRICS.setting} is for those of "
            f"installed packages. Leave it out."
        )
        raise TagstackError(msg)
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
