"""What a threshold strategy is, and how one is found by its name.

To add one: write a class under `Strategy` in a file of this folder, or in a package of your own,
and name it in ``THRESHOLD_STRATEGIES`` of `tagstack.configs.hooks`, or in your package's entry
points. Nothing else knows a strategy by its name; docs/plug-ins.md has a whole one.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import ClassVar, Literal

import numpy as np
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import THRESHOLD_STRATEGIES
from tagstack.ensemble.thresholds.curves import Bools, Floats, Ints, average_goal
from tagstack.ensemble.thresholds.cuts import CutSample, Proposal
from tagstack.ensemble.thresholds.deciding import Cutting, Values
from tagstack.ensemble.thresholds.measures import Measured, goal_measured
from tagstack.meta.metrics.counts import Counts

logger = logging.getLogger(__name__)

Changes = Mapping[str, object]
"""Fields of the settings and the values that a text gives them; checked by the settings."""

Decide = Callable[[Cutting], sparse.csr_array]
"""The tags that some thresholds leave after the rules, shape (n_images, n_tags), bool."""


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """How a strategy's target is tested.

    Parameters
    ----------
    trials : callable
        Returns, from counts and settings, of how many trials a hit is a success, and the share of
        successes to reach.
    strict_first : bool
        Whether a stricter threshold is the safer one, as for precision; a laxer one if not.
    """

    trials: Callable[[Counts, ThresholdSettings], tuple[Ints, float]]
    strict_first: bool


class Strategy(ABC):
    """One way to choose thresholds: what it is for, what it reads, how it proposes and measures.

    Attributes
    ----------
    name : str
        As ``thresholds.strategy`` has it; that of its entry in the hook.
    title, optimises : str
        For tables and pages: a short name, and in plain words what the thresholds are best at.
    reads : tuple of str
        Fields of `ThresholdSettings` that decide its thresholds.
    forms : tuple of str
        Objectives as people write them, read by `read`; its name is one without saying so.
    aim : {"raise", "target", "formula"}
        Whether it raises F-beta or another score, holds a target, or needs no labels. Of several
        rounds the best is kept for the first, the last for the second; thresholds of the third are
        called ``fixed``.
    refits : bool
        Whether its thresholds depend on what the decoder left in the round before.
    needs_parts : bool
        Whether `propose` wants the images less a fold each (``sample.parts`` and ``held``).
    needs_decoder : bool
        Whether it goes on in `jointly`, which decodes.
    label_free : bool
        Whether what it proposes rests on probabilities and is raised by them too: one proposal of
        all images then serves every fold.
    proposes_by : tuple of str or None
        Of ``reads``, what its proposals alone depend on, where that is less.
    guarantee : Guarantee or None
        How ``thresholds.guarantee`` certifies it; None where there is nothing to certify.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    optimises: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    forms: ClassVar[tuple[str, ...]] = ()
    aim: ClassVar[Literal["raise", "target", "formula"]] = "raise"
    refits: ClassVar[bool] = True
    needs_parts: ClassVar[bool] = False
    needs_decoder: ClassVar[bool] = False
    label_free: ClassVar[bool] = False
    proposes_by: ClassVar[tuple[str, ...] | None] = None
    guarantee: ClassVar[Guarantee | None] = None

    @abstractmethod
    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return one or more candidates, rows of logits for all tags; cross-validation picks one.

        Parameters
        ----------
        sample : CutSample
            The images that thresholds are fitted on; they are judged on others.
        settings : ThresholdSettings

        Returns
        -------
        Proposal
            Logits of shape (n_candidates, n_tags), and which tags they rest on the tag's own
            images for (``tuned``), not on others' (``pooled``).
        """

    def jointly(
        self,
        proba: PairProba,
        start: Values,
        tags: Bools,
        n_positive_tags: int,
        settings: ThresholdSettings,
        decide: Decide,
        image_weight: Floats | None = None,
    ) -> Cutting:
        """Return thresholds of ``tags`` chosen together for what the rules leave; no label is read.

        Parameters
        ----------
        proba : PairProba
            Calibrated; of images that the models were not fitted on.
        start : array of shape (n_tags,), float32
            The proposed thresholds; those of other tags than ``tags`` must stay.
        tags : array of shape (n_tags,), bool
        n_positive_tags : int
            How many of them have a positive.
        settings : ThresholdSettings
        decide : callable
            Returns the tags that some thresholds leave.
        image_weight : array of shape (n_images,), float64, optional
            What each image counts; 1 each by default. Under ``stack.balance`` it is always given,
            and a strategy that does not take it is refused.
        """
        return Cutting(value=start)

    def measured(self, counts: Counts, n_images: int, settings: ThresholdSettings) -> Measured:
        """Return the evidence: estimate, low and high end of what it is about, (n_tags,) each.

        ``counts`` are of decided tags on ``n_images`` images that the thresholds have not seen.
        By default utility an image where ``settings.objective`` says so, F-beta otherwise.
        """
        return goal_measured(counts, n_images, settings)

    def achieved(self, counts: Counts, n_images: int, settings: ThresholdSettings) -> float:
        """Return what decided tags score in what is raised; rounds and candidates go by it.

        ``counts`` are of its tags on ``n_images`` images. Macro or micro F-beta, or utility, by
        default.
        """
        return float(average_goal(counts, settings))

    def worth(self, settings: ThresholdSettings) -> float | None:
        """Return what a step of probability is worth where rules make tags compete; None: log-odds.

        It has a say where every tag's objective gives one, and they differ.
        """
        return None

    def image_cut(self, settings: ThresholdSettings) -> str:
        """Return the cut of each image's own list, as `image_cuts` reads it; "" for none."""
        return ""

    def written(self, settings: ThresholdSettings) -> str:
        """Return the objective, as the table of thresholds names it."""
        return self.name

    def read(self, text: str, settings: ThresholdSettings) -> Changes | None:
        """Return the settings that one of its ``forms`` changes; None for any other text.

        ``text`` is in small letters, without space.
        """
        return None


def strategy_of(name: str) -> Strategy:
    """Return a strategy by its name in the settings.

    Raises
    ------
    TagstackError
        If nothing answers to the name, or a package's strategy is broken.
    """
    offer = THRESHOLD_STRATEGIES.offer(name)
    found = offer.load()
    if not (isinstance(found, type) and issubclass(found, Strategy)) or found.name != name:
        msg = (
            f"The {offer} is {found!r:.80}; expected a class under "
            f"tagstack.ensemble.thresholds.strategies.strategy.Strategy with name = {name!r}."
        )
        raise TagstackError(msg)
    with offer.blamed():
        return found()


def proposed(strategy: Strategy, sample: CutSample, settings: ThresholdSettings) -> Proposal:
    """Return a strategy's candidates, held to the shapes that the fit builds on.

    Raises
    ------
    TagstackError
        If a package's strategy returns something else.
    """
    with THRESHOLD_STRATEGIES.offer(strategy.name).blamed():
        found = strategy.propose(sample, settings)
    n_tags = sample.curves.n_tags
    if not (fault := _no_proposal(found) or _misshapen(found, n_tags)):
        return found
    msg = (
        f"The {THRESHOLD_STRATEGIES.offer(strategy.name)} proposed {fault}; expected "
        f"(n_candidates, {n_tags}) without NaN and ({n_tags},). Report this to its authors."
    )
    raise TagstackError(msg)


def _no_proposal(found: object) -> str:
    """Return what is given instead of a proposal of numbers; nothing for one."""
    if not isinstance(found, Proposal):
        return type(found).__name__
    kinds = np.asarray(found.logits).dtype, np.asarray(found.own).dtype
    good = kinds[0].kind in "fiu" and kinds[1].kind in "biu"
    return "" if good else f"logits of type {kinds[0]} and own of type {kinds[1]}"


def _misshapen(found: Proposal, n_tags: int) -> str:
    logits, own = np.shape(found.logits), np.shape(found.own)
    if len(logits) != 2 or not logits[0] or logits[1] != n_tags or own != (n_tags,):
        return f"logits of shape {logits} and own of shape {own}"
    n_none = int(np.isnan(found.logits).sum())
    return f"{n_none} logits that are no number" if n_none else ""


def chosen_jointly(
    strategy: Strategy,
    proba: PairProba,
    start: Values,
    tags: Bools,
    n_positive_tags: int,
    settings: ThresholdSettings,
    decide: Decide,
    image_weight: Floats | None,
) -> Cutting:
    """Return what `Strategy.jointly` chooses, held to what the rounds build on.

    Raises
    ------
    TagstackError
        If a package's strategy cannot count images unevenly and has to, or returns something else.
    """
    offer = THRESHOLD_STRATEGIES.offer(strategy.name)
    weight = {} if image_weight is None else {"image_weight": image_weight}
    with offer.blamed():
        taken = signature(strategy.jointly).parameters.values()
        if weight and not any(p.name in weight or p.kind is p.VAR_KEYWORD for p in taken):
            msg = (
                f"The {offer} takes no image_weight in `jointly`, and under stack.balance images "
                "count unevenly. Fit without --balance, or ask its authors for a parameter "
                "image_weight=None (docs/plug-ins.md)."
            )
            raise TagstackError(msg)
        found = strategy.jointly(proba, start, tags, n_positive_tags, settings, decide, **weight)
    if isinstance(found, Cutting) and np.shape(found.value) == start.shape:
        return found
    own = f"values of shape {np.shape(found.value)}" if isinstance(found, Cutting) else repr(found)
    msg = (
        f"The {offer} chose {own:.80} jointly; expected a Cutting of {len(start)} values. Report "
        "this to its authors."
    )
    raise TagstackError(msg)


def built_in() -> Iterator[Strategy]:
    """Yield every strategy of this package."""
    return map(strategy_of, THRESHOLD_STRATEGIES.built_in)


def plug_ins() -> Iterator[Strategy]:
    """Yield the strategies of installed packages; a broken one costs a warning."""
    for offer in THRESHOLD_STRATEGIES.plug_ins():
        try:
            offer.load()  # a name that is taken is refused here
            found = strategy_of(offer.name)
        except TagstackError as error:
            logger.warning("%s", error)
        else:
            yield found


def without_own(sample: CutSample) -> Bools:
    """Return that no tag's threshold rests on its own images, shape (n_tags,)."""
    return np.zeros(sample.curves.n_tags, bool)
