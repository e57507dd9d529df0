"""Thresholds with a guarantee: precision (or recall) at least so much, at a stated confidence.

Fixed-sequence testing: thresholds in an order that is set before any label is looked at, from the
one most likely to hold (strict for precision, lax for recall) on. Each is tested exactly; the first
that fails ends the sequence, and the last that passed is certified. The chance that a certified
threshold misses the target on new images of the same kind is at most ``1 - confidence`` per tag,
however many thresholds were tried.

Images of one group resemble each other, so one of each group counts. Where rules tie tags together,
a tag's precision depends on the thresholds of the others. There some of the images choose all
thresholds; from those, all tags that rules connect move together in steps that are set beforehand,
the other images are decoded at each step, and the tags are tested on what the decoder leaves.

References
----------
Angelopoulos, Bates, Candes, Jordan & Lei (2021), "Learn then test: calibrating predictive
algorithms to achieve risk control".
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.rules.binding import BoundRules
from tagstack.ensemble.thresholds.curves import GRID, Bools, Counts, Curves, Floats, Ints
from tagstack.ensemble.thresholds.cuts import logits_of
from tagstack.ensemble.thresholds.intervals import least_trials, too_good_for
from tagstack.ensemble.thresholds.plan import Assignment

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
    passed = _passed(counts, assignment.settings)
    if assignment.settings.strategy == "precision_at_least":
        last = _last_of_run(passed[:, ::-1], _testable(counts, assignment.settings)[:, ::-1])
        last = np.where(last >= 0, len(GRID) - 1 - last, -1)
    else:
        last = _last_of_run(passed, _testable(counts, assignment.settings))
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
        if assignment.settings.strategy == "recall_at_least":
            lax_first |= assignment.tags
    # A component holds one direction at a time: precision goes first, recall follows in reverse.
    shift = np.where(lax_first, -1.0, 1.0)
    steps = [limited(_shifted(value, step * shift, wanted)) for step in STEPS]
    counts = [decode(step) for step in steps]
    holds = np.zeros((len(value), len(STEPS)), bool)
    for assignment in plan:
        mine = assignment.tags & wanted
        passed = np.stack([_passed(c, assignment.settings) for c in counts], axis=1)
        able = np.stack([_testable(c, assignment.settings) for c in counts], axis=1)
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


def _passed(counts: Counts, settings: ThresholdSettings) -> Bools:
    """Return where "the target is missed" is rejected."""
    trials, target = _trials(counts, settings)
    return np.asarray(too_good_for(counts.hits, trials, target) <= 1 - settings.confidence)


def _testable(counts: Counts, settings: ThresholdSettings) -> Bools:
    """Return where there are enough trials to reject anything; it reads no hit."""
    trials, target = _trials(counts, settings)
    enough = trials >= least_trials(target, settings.confidence)
    return np.broadcast_to(enough, np.shape(counts.hits))


def _trials(counts: Counts, settings: ThresholdSettings) -> tuple[Ints, float]:
    if settings.strategy == "precision_at_least":
        return counts.predicted, settings.precision
    return np.broadcast_to(counts.positives, np.shape(counts.hits)), settings.recall


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
