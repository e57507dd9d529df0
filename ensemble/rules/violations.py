"""How often decided tags break the rules, counted sparsely for all images at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.binding import BoundExclusive, BoundRules


@dataclass(frozen=True, kw_only=True)
class Violations:
    """Broken rules of some images.

    Parameters
    ----------
    rules : tuple of str
        Rule ids, hard implications first.
    counts : csr_array of shape (n_images, n_rules), int32
        Of an implication: its (child, parent) pairs with the child tagged and the parent not. Of
        an exclusion: 1 where its guards hold and it has too many tags, or none where one is due.
    """

    rules: tuple[str, ...]
    counts: sparse.csr_array

    @property
    def per_image(self) -> NDArray[np.int64]:
        """Violations of each image, shape (n_images,)."""
        return np.asarray(self.counts.sum(axis=1), np.int64)

    @property
    def per_rule(self) -> dict[str, int]:
        """Violations of each rule over all images, rules without any included."""
        totals = np.asarray(self.counts.sum(axis=0), np.int64)
        return dict(zip(self.rules, totals.tolist(), strict=True))


def count_violations(rules: BoundRules, decided: sparse.csr_array) -> Violations:
    """Return how often each image breaks each rule.

    Parameters
    ----------
    rules : BoundRules
    decided : csr_array of shape (n_images, n_tags), bool

    Raises
    ------
    TagstackError
        If ``decided`` does not have one column per tag.
    """
    if decided.shape[1] != rules.n_tags:
        msg = (
            f"decided must have shape (n_images, {rules.n_tags}) to match the rules' vocabulary, "
            f"got {decided.shape}."
        )
        raise TagstackError(msg)
    tagged = decided.astype(np.int32)
    ids = tuple(dict.fromkeys(rule for rule, _ in rules.edge_rule.values()))
    others = tuple(dict.fromkeys(rule.id for rule in rules.exclusives))
    counts = [
        _broken_implications(rules, tagged, ids),
        _broken_exclusives(rules, tagged, others),
    ]
    return Violations(
        rules=ids + others,
        counts=sparse.csr_array(sparse.hstack(counts, format="csr", dtype=np.int32)),
    )


def membership(groups: Sequence[Sequence[int]], n_items: int) -> sparse.csr_array:
    """Return which item belongs to which group, shape (n_items, n_groups), int32."""
    item = np.array([item for group in groups for item in group], dtype=np.int64)
    group = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    ones = np.ones(len(item), np.int32)
    return sparse.csr_array((ones, (item, group)), shape=(n_items, len(groups)))


def _broken_implications(
    rules: BoundRules, tagged: sparse.csr_array, ids: tuple[str, ...]
) -> sparse.csr_array:
    edges = list(rules.edge_rule)
    child = tagged @ membership([(edge[0],) for edge in edges], rules.n_tags)
    parent = tagged @ membership([(edge[1],) for edge in edges], rules.n_tags)
    broken = child - child.multiply(parent)
    place = {rule: i for i, rule in enumerate(ids)}
    said_by = [(place[rule],) for rule, _ in rules.edge_rule.values()]
    return broken @ membership(said_by, len(ids)).T if edges else broken


def _broken_exclusives(
    rules: BoundRules, tagged: sparse.csr_array, ids: tuple[str, ...]
) -> sparse.csr_array:
    by_tag = tagged.tocsc()
    broken = [broken_exclusive(rule, by_tag) for rule in rules.exclusives]
    counts = membership([np.flatnonzero(images).tolist() for images in broken], tagged.shape[0])
    place = {rule: i for i, rule in enumerate(ids)}
    said_by = [(place[rule.id],) for rule in rules.exclusives]
    return counts @ membership(said_by, len(ids)).T if ids else counts


def broken_exclusive(rule: BoundExclusive, tagged: sparse.csc_array) -> NDArray[np.bool_]:
    """Return the images in which an exclusion applies and is broken, shape (n_images,), bool."""
    held = _count(tagged, rule.tags)
    wrong = held > 1
    if rule.at_least_one:
        wrong |= held == 0
    applies = (_count(tagged, rule.when) == len(rule.when)) & (_count(tagged, rule.unless) == 0)
    return np.asarray(wrong & applies)


def _count(tagged: sparse.csc_array, tags: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(tagged[:, list(tags)].sum(axis=1), np.int64)
