"""What more macro F-beta costs in micro F-beta: both averages by the share that macro has.

Every point is what the rules leave on folds whose labels its thresholds did not see. It is for a
person who wants another share; nothing is chosen by it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.curves import Sorted, average_f
from tagstack.ensemble.thresholds.plan import assignments
from tagstack.ensemble.thresholds.rounds import Rounds
from tagstack.ensemble.thresholds.strategies.strategy import strategy_of

_MOST_IMAGES = 20000  # of more, some are drawn: the third digit of F1 needs no more


@dataclass(frozen=True, kw_only=True)
class FrontierPoint:
    """Both averages at one share, in [0, 1]; ``macro_share`` is None for one threshold for all."""

    macro_share: float | None
    macro_f: float
    micro_f: float
    tags_per_image: float


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The averages by macro's share, and what is in use.

    Parameters
    ----------
    points : tuple of FrontierPoint
        By rising share, those in use among them.
    one_threshold : FrontierPoint
        One threshold for all tags, with the highest micro F-beta.
    in_use : float
        The share of the settings.
    n_images : int
    """

    points: tuple[FrontierPoint, ...]
    one_threshold: FrontierPoint
    in_use: float
    n_images: int


def frontier(
    proba: PairProba,
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    folds: NDArray[np.integer],
    settings: ThresholdSettings,
    decoder: Decoder | None = None,
    *,
    told: Callable[[int, int], None] = lambda done, total: None,
    ordered: Sorted | None = None,
) -> Frontier | None:
    """Return the frontier over ``settings.frontier``; None where the strategy reads no share.

    Parameters
    ----------
    proba, labels, vocabulary, folds, settings, decoder
        As for `fitting.fit_thresholds`.
    told : callable of (done, total)
    ordered : Sorted, optional
        Of the same probabilities and labels, images counting alike, where it is there already.
    """
    if not settings.frontier or "macro_share" not in strategy_of(settings.strategy).reads:
        return None
    n_images = proba.pairs.n_images
    if n_images > _MOST_IMAGES:
        lots = np.random.default_rng(0).choice(n_images, _MOST_IMAGES, replace=False)
        images = np.sort(lots)
        proba, labels, folds = proba.take(images), labels[images], folds[images]
        ordered = None
    shares = sorted({*settings.frontier, settings.macro_share})
    ordered = ordered or Sorted.from_pairs(proba, labels)
    tried: list[FrontierPoint] = []
    one: dict[str, object] = {"strategy": "one_threshold", "objective": "f_beta"}
    every = [one | {"average": "micro"}, *(dict[str, object](macro_share=s) for s in shares)]
    for changes in every:
        told(len(tried), len(shares) + 1)
        own = settings.model_copy(update=changes)
        plan = assignments(vocabulary, own, ())
        rounds = Rounds(proba, labels, vocabulary, folds, plan, decoder, ordered=ordered)
        tried.append(_point(rounds, own, changes.get("macro_share")))
    return Frontier(
        points=tuple(tried[1:]),
        one_threshold=tried[0],
        in_use=settings.macro_share,
        n_images=proba.pairs.n_images,
    )


def _point(rounds: Rounds, settings: ThresholdSettings, share: object) -> FrontierPoint:
    counts = rounds.left_out_counts()
    macro, micro = (
        float(average_f(counts, settings.model_copy(update={"average": average})))
        for average in ("macro", "micro")
    )
    return FrontierPoint(
        macro_share=share if isinstance(share, float) else None,
        macro_f=macro,
        micro_f=micro,
        tags_per_image=float(counts.predicted.sum() / len(rounds.folds)),
    )
