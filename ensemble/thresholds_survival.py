"""Which pairs a threshold has a say in, once the decoder has spoken.

A tag that conflicts with what an image keeps does not come back however low its threshold goes,
and a tag that is implied stays however high. Thresholds are therefore fitted on the other pairs.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tagstack.base_models.pairs import Pairs
from tagstack.ensemble.contradictions_reduction import Lists
from tagstack.ensemble.rules_binding import BoundRules
from tagstack.ensemble.rules_violations import membership
from tagstack.ensemble.thresholds_curves import Bools, Ints


@dataclass(frozen=True, kw_only=True)
class Survival:
    """What the decoder left of each listed pair.

    Parameters
    ----------
    free : array of shape (n_pairs,), bool
        The tag is kept if and only if it reaches its threshold.
    implied : array of shape (n_pairs,), bool
        Another kept tag implies it although it is below its threshold.
    """

    free: Bools
    implied: Bools


def survival(pairs: Pairs, passed: Bools, decided: sparse.csr_array, rules: BoundRules) -> Survival:
    """Return which pairs the decoder would let through.

    Parameters
    ----------
    pairs : Pairs
    passed : array of shape (n_pairs,), bool
        Whether each pair reached its threshold.
    decided : csr_array of shape (n_images, n_tags), bool
        What the decoder made of it.
    rules : BoundRules
    """
    key = pairs.image.astype(np.int64) * pairs.n_tags + pairs.tag
    kept = np.isin(key, _keys(decided), assume_unique=True)
    open_ = ~kept & ~passed
    open_[open_] = ~_blocked(key[open_], decided, rules)
    return Survival(free=(kept & passed) | open_, implied=kept & ~passed)


def _blocked(key: Ints, decided: sparse.csr_array, rules: BoundRules) -> Bools:
    """Return which tags, with all they imply, would meet a kept tag of an active hard group."""
    hard = [rule for rule in rules.exclusives if np.isinf(rule.penalty)]
    n_tags, n_rules = rules.n_tags, max(len(hard), 1)
    held = _held(decided, [rule.tags for rule in hard], [rule.when for rule in hard])
    held = held[~np.isin(held, _held(decided, [rule.unless for rule in hard], None))]
    ancestors = Lists.from_matrix(rules.ancestors)
    source, above = ancestors.expand(key % n_tags)
    source = np.concatenate([np.arange(len(key)), source])
    tag = np.concatenate([key % n_tags, above])
    image = (key // n_tags)[source]
    new = ~np.isin(image * n_tags + tag, _keys(decided))
    groups = membership([rule.tags for rule in hard], n_tags)
    node, rule = Lists.from_matrix(groups).expand(tag[new])
    meets = np.isin(image[new][node] * n_rules + rule, held)
    blocked = np.zeros(len(key), bool)
    blocked[source[new][node[meets]]] = True
    return blocked


def _held(
    decided: sparse.csr_array,
    groups: list[tuple[int, ...]],
    conditions: list[tuple[int, ...]] | None,
) -> Ints:
    """Return ``image * n_groups + group`` where a group has a kept tag and its conditions hold."""
    tagged = decided.astype(np.int32)
    n_tags, n_groups = tagged.shape[1], max(len(groups), 1)
    found = (tagged @ membership(groups, n_tags)).tocoo()
    key = found.row.astype(np.int64) * n_groups + found.col
    if conditions is None:
        return key
    met = (tagged @ membership(conditions, n_tags)).tocsr()
    needed = np.array([len(tags) for tags in conditions], np.int64)
    # Sparse matrices do not store the zero of a rule without conditions.
    rows, columns = key // n_groups, key % n_groups
    held = np.asarray(met[rows, columns]).ravel() if len(key) else np.zeros(0)
    return key[held == needed[columns]] if len(key) else key


def _keys(decided: sparse.csr_array) -> Ints:
    found = decided.tocoo()
    return found.row.astype(np.int64) * decided.shape[1] + found.col
