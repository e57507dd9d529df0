"""A fitted stack: everything that prediction needs and nothing that fitting left behind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.protocol import TagMaps
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.learners.protocol import PairLearner
from tagstack.meta.probe.probe import Probe, over_vocabulary
from tagstack.meta.stack.groundwork import Ground, Groundwork
from tagstack.meta.stack.rung_spec import RungSpec, rung_specs
from tagstack.meta.stack.rungs import (
    RungLogits,
    blended,
    by_band,
    plain_rung,
    spliced,
    weighted_members,
)
from tagstack.meta.start.answer import StartAnswer

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FittedStack:
    """The fitted parts; predicting an image reads that image's scores and these alone.

    Parameters
    ----------
    settings : StackSettings
    vocabulary : Vocabulary
    members : tuple of str
    relations : TagRelations
    groundwork : Groundwork
    member_weights : array of shape (n_members,), float64
        Of the Caruana selection.
    learners : mapping of name to fitted learner
    calibrations : mapping of rung to TagMaps
        Last calibration of each learned rung.
    blend_weights : mapping of rung to float
    tag_rungs : tuple of str
        The rung that serves each tag where bands of tags have their own, else empty.
    start : StartAnswer, optional
        What the members' files answer without labels.
    probe : Probe, optional
        The last of the members, where there is one: made from the scores and features of the
        others.
    """

    settings: StackSettings
    vocabulary: Vocabulary
    members: tuple[str, ...]
    relations: TagRelations
    groundwork: Groundwork
    member_weights: Floats
    learners: Mapping[str, PairLearner]
    calibrations: Mapping[str, TagMaps]
    blend_weights: Mapping[str, float]
    tag_rungs: tuple[str, ...] = ()
    start: StartAnswer | None = None
    probe: Probe | None = None

    @property
    def taggers(self) -> tuple[str, ...]:
        """Those of the members that are taggers."""
        return self.members if self.probe is None else self.members[:-1]

    def completed(self, scores: Level1Scores) -> Level1Scores:
        """Return taggers' scores as `predict` takes them: with the probe's, if there is one.

        Parameters
        ----------
        scores : Level1Scores
            Of the taggers, with their features where there is a probe; complete ones stay.

        Raises
        ------
        TagstackError
            If the scores have other members, tags or features than the stack was fitted on.
        """
        if self.probe is None or scores.members == self.members:
            return replace(scores, features=()) if scores.features else scores
        if scores.members != self.taggers:
            check_scores(scores, self.taggers, self.vocabulary)
        return self.probe.apply(over_vocabulary(scores, self.vocabulary))

    @cached_property
    def specs(self) -> tuple[RungSpec, ...]:
        """Every rung, from single members to the blend."""
        return rung_specs(
            self.members, self.settings, banded=bool(self.tag_rungs), started=self.start is not None
        )

    def predict(self, scores: Level1Scores, rungs: Iterable[str]) -> dict[str, PairProba]:
        """Return the probabilities of each asked rung, computing shared work once.

        Raises
        ------
        TagstackError
            If the scores have other members or tags than the stack was fitted on, or there is no
            such rung.
        """
        check_scores(scores, self.members, self.vocabulary)
        work = _Prediction(self, scores)
        return {rung: work.rung(rung).proba(scores.pairs) for rung in rungs}


def check_scores(scores: Level1Scores, members: tuple[str, ...], vocabulary: Vocabulary) -> None:
    """Refuse scores of other members or tags than a stack is for.

    Raises
    ------
    TagstackError
        If they differ.
    """
    if scores.members != members:
        msg = (
            f"The scores come from {list(scores.members)}, but the stack was fitted on "
            f"{list(members)}. Score the images with these, in this order."
        )
        raise TagstackError(msg)
    if scores.vocabulary.tags != vocabulary.tags:
        msg = (
            f"The scores have {len(scores.vocabulary)} tags that are not the "
            f"{len(vocabulary)} tags of the stack. Score with the same taggers."
        )
        raise TagstackError(msg)


class _Prediction:
    """One call's work; each rung is computed at most once."""

    def __init__(self, stack: FittedStack, scores: Level1Scores) -> None:
        self.stack, self.scores = stack, scores
        self.ground: Ground = stack.groundwork.apply(scores, stack.relations, stack.settings)
        self._specs = {spec.name: spec for spec in stack.specs}
        self._done: dict[str, RungLogits] = {}
        self._raw: dict[str, Floats] = {}

    def rung(self, name: str) -> RungLogits:
        if name not in self._done:
            computed = self._compute(self._spec(name))
            maps = self.stack.calibrations.get(name)
            pairs = self.scores.pairs
            self._done[name] = computed if maps is None else computed.calibrated(maps, pairs)
        return self._done[name]

    def _spec(self, name: str) -> RungSpec:
        if name not in self._specs:
            msg = f"Unknown rung {name!r}. This stack has {list(self._specs)}."
            raise TagstackError(msg)
        return self._specs[name]

    def _compute(self, spec: RungSpec) -> RungLogits:
        if spec.name == "caruana":
            return weighted_members(self.ground, self.stack.member_weights)
        if spec.kind == "start" and self.stack.start is not None:
            listed, base = self.stack.start.apply(self.scores)
            return RungLogits(listed=listed, base=base)
        if spec.kind == "blend":
            parts = {r: self.rung(r) for r, weight in self.stack.blend_weights.items() if weight}
            return blended(parts, self.stack.blend_weights)
        if spec.kind == "bands":
            parts = {rung: self.rung(rung) for rung in set(self.stack.tag_rungs)}
            return by_band(parts, self.stack.tag_rungs, self.scores.pairs)
        if spec.kind in ("learner", "meta"):
            return spliced(self.ground, self._learner_logit(spec))
        return plain_rung(spec, self.scores, self.ground)

    def _learner_logit(self, spec: RungSpec) -> Floats:
        if spec.name not in self._raw:
            table = self.ground.table
            if spec.kind == "meta":
                below = [other for other in self._specs.values() if other.kind == "learner"]
                table = table.with_columns({o.column: self._learner_logit(o) for o in below})
            self._raw[spec.name] = self.stack.learners[spec.name].predict_logit(table)
        return self._raw[spec.name]
