"""Rules about the tags of one vocabulary, and how often images break them.

`binding` makes them of rules about names. Violations are counted for all rules at once, or for one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError

if TYPE_CHECKING:
    from tagstack.meta.labels.relations import TagRelations


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


@dataclass(frozen=True, kw_only=True)
class BoundExclusive:
    """One exclusion with its tags as positions in the vocabulary, each ascending.

    A soft implication is one as well: where its child (``when``) is tagged, at least one of the
    single tag it implies is due.
    """

    id: str
    source: str
    tags: tuple[int, ...]
    when: tuple[int, ...]
    unless: tuple[int, ...]
    at_least_one: bool
    penalty: float


@dataclass(frozen=True, kw_only=True)
class BoundRules:
    """Rules about the tags of one vocabulary.

    Parameters
    ----------
    vocabulary : Vocabulary
    parents : csr_array of shape (n_tags, n_tags), bool
        ``parents[child, parent]``: the nearest known tags that a tag implies.
    ancestors : csr_array of shape (n_tags, n_tags), bool
        Everything that a tag implies, itself left out.
    edge_rule : mapping of (child, parent) to (id, source)
        The rule behind each entry of ``parents``.
    exclusives : tuple of BoundExclusive
    unknown : tuple of str
        Tags that rules name and the vocabulary lacks, sorted.
    dropped : tuple of str
        Ids of rules that say nothing about this vocabulary.
    """

    vocabulary: Vocabulary
    parents: sparse.csr_array
    ancestors: sparse.csr_array
    edge_rule: Mapping[tuple[int, int], tuple[str, str]]
    exclusives: tuple[BoundExclusive, ...]
    unknown: tuple[str, ...]
    dropped: tuple[str, ...]

    @property
    def n_tags(self) -> int:
        """Size of the vocabulary."""
        return len(self.vocabulary)

    @cached_property
    def children(self) -> Mapping[int, tuple[int, ...]]:
        """The tags that directly imply each tag."""
        found: dict[int, list[int]] = {}
        for child, parent in self.edge_rule:
            found.setdefault(parent, []).append(child)
        return {parent: tuple(sorted(tags)) for parent, tags in found.items()}

    def relations(self) -> "TagRelations":
        """Return the hard rules as the features of the meta-model want them, guards left out."""
        from tagstack.meta.labels.relations import TagRelations

        groups = tuple(rule.tags for rule in self.exclusives if np.isinf(rule.penalty))
        return TagRelations(parents=self.parents, groups=groups)

    def violations(self, decided: sparse.csr_array) -> Violations:
        """Return how often each image breaks each rule.

        Parameters
        ----------
        decided : csr_array of shape (n_images, n_tags), bool

        Raises
        ------
        TagstackError
            If ``decided`` does not have one column per tag.
        """
        if decided.shape[1] != self.n_tags:
            msg = (
                f"decided must have shape (n_images, {self.n_tags}) to match the rules' "
                f"vocabulary, got {decided.shape}."
            )
            raise TagstackError(msg)
        return _violations(self, decided.astype(np.int32))


def _violations(rules: BoundRules, tagged: sparse.csr_array) -> Violations:
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


def membership(groups: Sequence[Sequence[int]], n_items: int) -> sparse.csr_array:
    """Return which item belongs to which group, shape (n_items, n_groups), int32."""
    item = np.array([item for group in groups for item in group], dtype=np.int64)
    group = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    ones = np.ones(len(item), np.int32)
    return sparse.csr_array((ones, (item, group)), shape=(n_items, len(groups)))
