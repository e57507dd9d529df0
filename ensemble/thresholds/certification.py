"""Which images choose thresholds, which certify them, and the tests that do."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.ensemble.thresholds.curves import GRID, Bools, Curves, Floats, Ints
from tagstack.ensemble.thresholds.cuts import logits_of
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.plan import Assignment
from tagstack.ensemble.thresholds.rounds import Rounds
from tagstack.ensemble.thresholds.strategies.strategy import Guarantee
from tagstack.meta.metrics.counts import Counts, count_by_tag
from tagstack.meta.metrics.intervals import least_trials, too_good_for

Values = NDArray[np.float32]

STEPS: Floats = np.arange(2.0, -0.51, -0.25)
"""Log-odds by which connected tags are moved from the chosen thresholds, strict to lax."""


@dataclass(frozen=True, kw_only=True)
class Certified:
    """Tags whose thresholds carry a guarantee, and what was seen at them.

    Parameters
    ----------
    value : array of shape (n_tags,), float32
        Thresholds; those of tags that are not certified are as given.
    tags : array of shape (n_tags,), bool
    counts : Counts
        On the images that certified.
    """

    value: Values
    tags: Bools
    counts: Counts


def certify_alone(value: Values, curves: Curves, assignment: Assignment) -> Certified:
    """Return guaranteed thresholds of tags that no rule ties to others.

    Parameters
    ----------
    value : array of shape (n_tags,), float32
    curves : Curves
        Of one image of each group.
    assignment : Assignment
        Its tags are certified; thresholds come from ``GRID``.
    """
    counts = curves.grid_counts()
    passed, testable = _passed(counts, assignment), _testable(counts, assignment)
    if _strict_first(assignment):
        last = _last_of_run(passed[:, ::-1], testable[:, ::-1])
        last = np.where(last >= 0, len(GRID) - 1 - last, -1)
    else:
        last = _last_of_run(passed, testable)
    above = np.nextafter(curves.floor, np.float32(2))
    found = (last >= 0) & assignment.tags & (GRID[np.maximum(last, 0)] >= above)
    chosen = GRID[np.maximum(last, 0)].astype(np.float32)
    at = np.take_along_axis
    cell = np.maximum(last, 0)[:, None]
    seen = Counts(
        hits=at(counts.hits, cell, 1)[:, 0],
        predicted=at(counts.predicted, cell, 1)[:, 0],
        positives=curves.n_positives,
    )
    return Certified(value=np.where(found, chosen, value), tags=found, counts=seen)


def certify_connected(
    value: Values,
    component: Ints,
    plan: tuple[Assignment, ...],
    decode: Callable[[Values], Counts],
    limited: Callable[[Values], Values],
) -> Certified:
    """Return guaranteed thresholds of tags that rules tie together.

    Parameters
    ----------
    value : array of shape (n_tags,), float32
        Chosen on other images than ``decode`` counts on.
    component : array of shape (n_tags,), int
        Number of each tag's component; -1 for tags that no rule ties to others.
    plan : tuple of Assignment
        All of them ask for guarantees.
    decode : callable
        Returns the decoded counts of the certifying images under some thresholds.
    limited : callable
        Raises thresholds to the limits that a person set.
    """
    wanted = np.logical_or.reduce([a.tags for a in plan]) & (component >= 0)
    lax_first = np.zeros(len(value), bool)
    for assignment in plan:
        if not _strict_first(assignment):
            lax_first |= assignment.tags
    # A component holds one direction at a time: precision goes first, recall follows in reverse.
    shift = np.where(lax_first, -1.0, 1.0)
    steps = [limited(_shifted(value, step * shift, wanted)) for step in STEPS]
    counts = [decode(step) for step in steps]
    holds = np.zeros((len(value), len(STEPS)), bool)
    for assignment in plan:
        mine = assignment.tags & wanted
        passed = np.stack([_passed(c, assignment) for c in counts], axis=1)
        able = np.stack([_testable(c, assignment) for c in counts], axis=1)
        holds[mine] = _run(passed, able)[mine]
    return _settled(value, component, wanted, holds, steps, counts)


def components(rules: BoundRules) -> Ints:
    """Return the component of tags that rules connect, shape (n_tags,); -1 for lone tags."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    links = [(child, parent) for child, parent in rules.edge_rule]
    for rule in rules.exclusives:
        tags = (*rule.tags, *rule.when, *rule.unless)
        links += [(tags[0], other) for other in tags[1:]]
    index = np.array(links, np.int64).reshape(-1, 2)
    graph = sparse.coo_array(
        (np.ones(len(index), np.int8), (index[:, 0], index[:, 1])), shape=(rules.n_tags,) * 2
    )
    number = connected_components(graph, directed=False)[1].astype(np.int64)
    number[np.bincount(number)[number] == 1] = -1
    return np.asarray(number)


def _passed(counts: Counts, assignment: Assignment) -> Bools:
    """Return where "the target is missed" is rejected."""
    trials, target = _guarantee(assignment).trials(counts, assignment.settings)
    least = 1 - assignment.settings.confidence
    return np.asarray(too_good_for(counts.hits, trials, target) <= least)


def _testable(counts: Counts, assignment: Assignment) -> Bools:
    """Return where there are enough trials to reject anything; it reads no hit."""
    trials, target = _guarantee(assignment).trials(counts, assignment.settings)
    enough = trials >= least_trials(target, assignment.settings.confidence)
    return np.broadcast_to(enough, np.shape(counts.hits))


def _strict_first(assignment: Assignment) -> bool:
    return _guarantee(assignment).strict_first


def _guarantee(assignment: Assignment) -> Guarantee:
    found = assignment.strategy.guarantee
    if found is None:
        msg = f"{assignment.strategy.name} has no target to certify"
        raise ValueError(msg)
    return found


def _run(passed: Bools, testable: Bools) -> Bools:
    """Return the steps that pass from the first testable one on, up to the first that fails.

    Parameters
    ----------
    passed, testable : arrays of shape (n_tags, n_steps), bool
    """
    started = np.cumsum(testable, axis=1) > 0
    return np.asarray(started & (np.cumsum(started & ~passed, axis=1) == 0))


def _last_of_run(passed: Bools, testable: Bools) -> Ints:
    """Return the last step of each run; -1 without one."""
    run = _run(passed, testable)
    last = run.shape[1] - 1 - np.argmax(run[:, ::-1], axis=1)
    return np.asarray(np.where(run.any(axis=1), last, -1))


def _shifted(value: Values, steps: Floats, tags: Bools) -> Values:
    finite = np.isfinite(value) & tags
    moved = expit(logits_of(np.where(finite, value, np.float32(0.5))) + steps)
    return np.where(finite, moved.astype(np.float32), value)


def _settled(
    value: Values,
    component: Ints,
    wanted: Bools,
    holds: Bools,
    steps: list[Values],
    counts: list[Counts],
) -> Certified:
    """Return each component at the step that certifies most of its tags, the laxest of such."""
    chosen, tags = value.copy(), np.zeros(len(value), bool)
    hits, predicted = counts[0].hits.copy(), counts[0].predicted.copy()
    for name in np.unique(component[wanted]):
        here = component == name
        own = here & wanted
        n_held = holds[own].sum(axis=0)
        step = len(steps) - 1 - int(np.argmax(n_held[::-1]))
        if not n_held[step]:
            step = int(np.argmin(np.abs(STEPS)))  # where the fit left it
        chosen[own] = steps[step][own]
        tags |= own & holds[:, step]
        hits[here], predicted[here] = counts[step].hits[here], counts[step].predicted[here]
    seen = Counts(hits=hits, predicted=predicted, positives=counts[0].positives)
    return Certified(value=chosen, tags=tags, counts=seen)


logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Thresholds, which of them are certified, and what was seen at those."""

    cutting: Cutting
    tags: Bools
    counts: Counts


def certified(rounds: Rounds, cutting: Cutting, single: Bools) -> Proof:
    """Return thresholds with a guarantee where one can be given; others as they are.

    Parameters
    ----------
    rounds : Rounds
    cutting : Cutting
        Fitted on all images.
    single : array of shape (n_images,), bool
        One image of each group.
    """
    component = np.full(len(rounds.vocabulary), -1, np.int64)
    if rounds.decoder is not None:
        component = components(rounds.decoder.rules)
    proof = _alone(rounds, cutting, single, component < 0)
    tied = np.logical_or.reduce([a.tags for a in rounds.plan if a.certifies]) & (component >= 0)
    if not tied.any():
        return proof
    return _connected(rounds, proof, single, component)


def _alone(rounds: Rounds, cutting: Cutting, single: Bools, lone: Bools) -> Proof:
    curves = rounds.plain.select(single)
    value, tags = cutting.value, np.zeros(len(lone), bool)
    zero = np.zeros(len(lone), np.int64)
    counts = Counts(hits=zero, predicted=zero, positives=curves.n_positives)
    for assignment in rounds.plan:
        if assignment.certifies:
            mine = replace(assignment, tags=assignment.tags & lone)
            found = certify_alone(value, curves, mine)
            value, counts = found.value, _merged(counts, found.counts, found.tags)
            tags = tags | found.tags
    return Proof(cutting=rounds.limited(replace(cutting, value=value)), tags=tags, counts=counts)


def _connected(rounds: Rounds, proof: Proof, single: Bools, component: Ints) -> Proof:
    """Return a proof in which the tags that rules tie together were chosen and tested apart."""
    plan = tuple(a for a in rounds.plan if a.certifies)
    choosing = _choosing(rounds, plan[0].settings.certify_share)
    if choosing is None:
        logger.warning(
            "Tags that rules tie together cannot be certified with %d folds; three are needed.",
            len(rounds.names),
        )
        return proof
    chosen = rounds.take(np.flatnonzero(choosing)).fit().cutting
    images = np.flatnonzero(single & ~choosing)
    proba, labels = rounds.proba.take(images), sparse.csr_array(rounds.labels[images])

    def decode(value: Values) -> Counts:
        return count_by_tag(rounds.decide(proba, replace(chosen, value=value)), labels)

    found = certify_connected(chosen.value, component, plan, decode, rounds.limits.applied)
    tied = np.logical_or.reduce([a.tags for a in plan]) & (component >= 0)
    return _joined(proof, chosen, found, component, tied)


def _choosing(rounds: Rounds, certify_share: float) -> Bools | None:
    """Return the images that choose, as a mask; None if too few folds are left for them."""
    n_certify = max(1, round(certify_share * len(rounds.names)))
    names = rounds.names[: max(len(rounds.names) - n_certify, 2)]
    if len(names) == len(rounds.names):
        return None
    return np.isin(rounds.folds, names)


def _joined(proof: Proof, chosen: Cutting, found: Certified, component: Ints, tied: Bools) -> Proof:
    """Return the proof with every component that certifies anything as its own images chose it."""
    moved = np.isin(component, np.unique(component[tied])) & (component >= 0)
    worth = proof.cutting.worth
    if worth is not None and chosen.worth is not None:
        worth = np.where(moved, chosen.worth, worth)
    value = np.where(moved, found.value, proof.cutting.value)
    return Proof(
        cutting=replace(proof.cutting, value=value, worth=worth),
        tags=np.where(moved, found.tags, proof.tags),
        counts=_merged(proof.counts, found.counts, moved),
    )


def _merged(old: Counts, new: Counts, where: Bools) -> Counts:
    pick = np.where
    return Counts(
        hits=pick(where, new.hits, old.hits),
        predicted=pick(where, new.predicted, old.predicted),
        positives=pick(where, new.positives, old.positives),
    )
