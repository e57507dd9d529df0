"""A rung's logits, and how each is computed from what lies below it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores, PairProba, Pairs
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.configs.errors import TagstackError
from tagstack.meta.calibrators.protocol import TagMaps
from tagstack.meta.learners.mean import mean_logit, raw_members
from tagstack.meta.stack.groundwork import Ground
from tagstack.meta.stack.rung_spec import RungSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RungLogits:
    """A rung's logits: listed pairs (n_pairs,) and unlisted ones (n_tags,), NaN = no opinion."""

    listed: NDArray[np.floating]
    base: Floats

    def proba(self, pairs: Pairs, spill: Spill = IN_MEMORY) -> PairProba:
        """Return the logits as probabilities of ``pairs``, which lie where ``spill`` says."""
        proba = spill.empty(len(pairs), np.float32)
        for _, rows in pairs.blocks():
            proba[rows] = expit(self.listed[rows])
            spill.let_go()
        return PairProba(pairs=pairs, proba=proba, base=expit(self.base).astype(np.float32))

    def at(self, rows: NDArray[np.int64] | slice) -> "RungLogits":
        """Return the logits with those of some listed pairs alone."""
        return RungLogits(listed=self.listed[rows], base=self.base)

    def calibrated(self, maps: TagMaps, pairs: Pairs) -> "RungLogits":
        """Return the logits as these maps calibrate them."""
        return RungLogits(
            listed=maps.apply(pairs.tag, self.listed),
            base=maps.apply(np.arange(pairs.n_tags), self.base),
        )


def plain_rung(
    spec: RungSpec, scores: Level1Scores, ground: Ground, spill: Spill = IN_MEMORY
) -> RungLogits:
    """Return a rung that needs no learner beyond the groundwork.

    Raises
    ------
    TagstackError
        If the rung needs more than that.
    """
    name = spec.name
    if spec.kind == "member":
        member = scores.members.index(spec.member)
        return RungLogits(listed=ground.members.listed[member], base=ground.members.base[member])
    if name in ("mean", "calibrated_mean"):
        members = raw_members(scores) if name == "mean" else ground.members
        # What was made out of fold is kept in half the room.
        listed = spill.empty(len(ground.listed), ground.listed.dtype.type)
        for _, rows in scores.pairs.blocks():
            listed[rows] = mean_logit(members.listed[:, rows])
            spill.let_go()
        return RungLogits(listed=listed, base=mean_logit(members.base))
    if name == "shrunken_logistic":
        return RungLogits(listed=ground.listed, base=ground.base)
    msg = f"The rung {name!r} is made of fitted learners. Ask a fitted stack for it."
    raise TagstackError(msg)


def weighted_members(ground: Ground, weights: Floats) -> RungLogits:
    """Return the weighted mean probability of the calibrated members, as logits."""
    members = ground.members
    return RungLogits(
        listed=mean_logit(members.listed, weights), base=mean_logit(members.base, weights)
    )


def spliced(ground: Ground, logit: NDArray[np.floating], spill: Spill = IN_MEMORY) -> RungLogits:
    """Return a learner's logits for the candidates, the shrunken logistic's for the others."""
    listed = spill.held(ground.listed)
    listed[ground.rows] = logit
    return RungLogits(listed=listed, base=ground.base)


def blended(rungs: Mapping[str, RungLogits], weights: Mapping[str, float]) -> RungLogits:
    """Return the weighted mean of the rungs' logits."""
    used = [(rungs[name], weight) for name, weight in weights.items() if weight > 0]
    listed = sum((weight * rung.listed for rung, weight in used), np.zeros(1))
    base = sum((weight * rung.base for rung, weight in used), np.zeros(1))
    return RungLogits(listed=np.asarray(listed), base=np.asarray(base))


def by_band(
    rungs: Mapping[str, RungLogits],
    tag_rungs: Sequence[str],
    pairs: Pairs,
    spill: Spill = IN_MEMORY,
) -> RungLogits:
    """Return each tag's logits from its own rung.

    Parameters
    ----------
    rungs : mapping of rung to RungLogits
        Calibrated, so that tags of different rungs can be ranked together.
    tag_rungs : sequence of str, one for each tag
    pairs : Pairs
    spill : Spill, optional
        Where the logits lie.
    """
    names = sorted(rungs)
    place = {name: i for i, name in enumerate(names)}
    number = np.array([place[rung] for rung in tag_rungs], np.int64)
    listed = spill.empty(len(pairs), rungs[names[0]].listed.dtype.type)
    for _, rows in pairs.blocks():
        options = [rungs[name].listed[rows] for name in names]
        listed[rows] = _picked(options, number[pairs.tag[rows]])
        spill.let_go()
    return RungLogits(listed=listed, base=_picked([rungs[name].base for name in names], number))


def _picked(options: Sequence[NDArray[np.floating]], number: NDArray[np.int64]) -> Floats:
    """Return at each position the value of the option with that number."""
    chosen = np.empty(len(number))
    for i, option in enumerate(options):
        chosen[number == i] = option[number == i]
    return chosen
