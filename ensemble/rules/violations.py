"""How often images break rules: counted for all rules at once, or for one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.binding import BoundExclusive, BoundRules, membership


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
    place = {rule: i for i, rule in enumerate(ids)}
    said_by = [(place[rule.id],) for rule in rules.exclusives]
    image, rule = _broken_pairs(rules, tagged)
    ones = np.ones(len(image), np.int32)
    counts = sparse.csr_array((ones, (image, rule)), shape=(tagged.shape[0], len(said_by)))
    return counts @ membership(said_by, len(ids)).T if ids else counts


def _broken_pairs(
    rules: BoundRules, tagged: sparse.csr_array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return image and exclusion wherever one is broken, as `broken_exclusive` says of each."""
    parts = [(rule.tags, rule.when, rule.unless) for rule in rules.exclusives]
    groups = zip(*parts, strict=True) if parts else ((), (), ())
    held, guards, barred = (tagged @ membership(list(group), rules.n_tags) for group in groups)
    wanted = np.array([len(rule.when) for rule in rules.exclusives], np.int64)
    due = np.array([rule.at_least_one for rule in rules.exclusives], bool)

    too_many, of, count = _entries(held)
    many = (count > 1) & (_at(guards, too_many, of) == wanted[of])
    guarded, by, count = _entries(guards)
    asked = due[by] & (count == wanted[by])
    always, everywhere = np.flatnonzero(due & (wanted == 0)), np.arange(tagged.shape[0])
    bare = np.concatenate([guarded[asked], np.repeat(everywhere, len(always))])
    one_of = np.concatenate([by[asked], np.tile(always, len(everywhere))])
    none = _at(held, bare, one_of) == 0
    image = np.concatenate([too_many[many], bare[none]])
    rule = np.concatenate([of[many], one_of[none]])
    applies = _at(barred, image, rule) == 0
    return image[applies], rule[applies]


def _entries(
    matrix: sparse.csr_array,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Return row, column and value of what a matrix lists."""
    listed = matrix.tocoo()
    return *(place.astype(np.int64) for place in listed.coords), listed.data


def _at(
    matrix: sparse.csr_array, row: NDArray[np.int64], column: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return a matrix's values at some places."""
    found = matrix[row, column]  # of no place at all, scipy gives no sparse array
    return np.asarray(found.toarray() if sparse.issparse(found) else found, np.int32).ravel()


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
