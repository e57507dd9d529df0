"""Which images choose thresholds and which certify them; the tests are in `certificates`."""

import logging
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from tagstack.ensemble.thresholds.certificates import (
    Certified,
    certify_alone,
    certify_connected,
    components,
)
from tagstack.ensemble.thresholds.curves import Bools, Counts, Ints
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.rounds import Rounds, Values

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
        return rounds.counts(rounds.decide(proba, replace(chosen, value=value)), labels)

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
