"""What each rule did to the decided tags, and whether the labels say that it was right.

Every pair that decoding changed is booked on one rule: for a removed tag the first exclusion that
it would break among the tags kept, or the implication whose parent is missing; for an added tag
the rule that its absence would break. Sums over the rules are therefore sums over the changes;
what no single rule explains (a tag worth keeping since it turns another rule off) stands under
`OTHER`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.meta.labels.truth import known_labels
from tagstack.meta.metrics.counts import canonical, count_by_tag
from tagstack.meta.metrics.decision_scores import closed

OTHER = "several rules together"


@dataclass(frozen=True, kw_only=True)
class RuleEffect:
    """What one rule changed, in (image, tag) pairs, and what that is worth.

    Parameters
    ----------
    rule, source : str
    kind : str
        ``implication``, ``exclusion`` or ``other``.
    removed_right, removed_wrong : int
        Removed pairs that are false (rightly removed), and true ones.
    added_right, added_wrong : int
    images : int
        Images that it changed.
    precision, recall : float
        Micro precision and recall with its changes, minus without them; all else as it is.
    """

    rule: str
    source: str
    kind: str
    removed_right: int
    removed_wrong: int
    added_right: int
    added_wrong: int
    images: int
    precision: float
    recall: float


def rule_effects(
    rules: BoundRules,
    before: sparse.csr_array,
    after: sparse.csr_array,
    labels: sparse.csr_array,
    unknown: sparse.csr_array | None = None,
) -> tuple[RuleEffect, ...]:
    """Return the effect of each rule that changed anything, the most active first.

    Parameters
    ----------
    rules : BoundRules
    before, after, labels : csr_array of shape (n_images, n_tags), bool
        Decisions without and with the rules, and what is true.
    unknown : csr_array of shape (n_images, n_tags), bool, optional
        Changes of such pairs are neither right nor wrong and are left out.
    """
    before, after, labels = canonical(before), canonical(after), canonical(labels)
    if unknown is None:
        unknown = sparse.csr_array(labels.shape, dtype=bool)
    removed, added = _pairs(before, after, unknown), _pairs(after, before, unknown)
    names = _names(rules)
    number = {name: at for at, (name, _, _) in enumerate(names)}
    booked = [
        _Changes(removed, labels, _behind_removed(rules, after, removed, number)),
        _Changes(added, labels, _behind_added(rules, after, added, number)),
    ]
    counts = count_by_tag(known_labels(after, unknown), labels).total()
    effects = []
    for at, (name, source, kind) in enumerate(names):
        minus, plus = (changes.of(at) for changes in booked)
        if not minus.n + plus.n:
            continue
        right = int(counts.hits) - plus.true + minus.true
        decided = int(counts.predicted) - plus.n + minus.n
        effects.append(
            RuleEffect(
                rule=name,
                source=source,
                kind=kind,
                removed_right=minus.n - minus.true,
                removed_wrong=minus.true,
                added_right=plus.true,
                added_wrong=plus.n - plus.true,
                images=len(minus.images | plus.images),
                precision=_share(int(counts.hits), int(counts.predicted)) - _share(right, decided),
                recall=_share(int(counts.hits) - right, int(counts.positives)),
            )
        )
    return tuple(sorted(effects, key=lambda e: (-_size(e), e.rule)))


@dataclass(frozen=True)
class _Booked:
    """Changed pairs on the account of one rule."""

    n: int
    true: int
    images: frozenset[int]


class _Changes:
    """Changed pairs with the rule that each is booked on."""

    def __init__(
        self,
        pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
        labels: sparse.csr_array,
        rule: NDArray[np.int64],
    ) -> None:
        self._image, tag = pairs
        self._rule = rule
        n_tags = labels.shape[1]
        row = np.repeat(np.arange(labels.shape[0]), np.diff(labels.indptr))
        self._true = np.isin(self._image * n_tags + tag, row * n_tags + labels.indices)

    def of(self, rule: int) -> _Booked:
        """Return what is booked on one rule."""
        chosen = self._rule == rule
        images = frozenset(self._image[chosen].tolist())
        return _Booked(int(chosen.sum()), int(self._true[chosen].sum()), images)


def _names(rules: BoundRules) -> tuple[tuple[str, str, str], ...]:
    """Return (id, source, kind) of every rule, implications first, the rest last."""
    implied = dict.fromkeys(rules.edge_rule.values())
    return (
        *((rule, source, "implication") for rule, source in implied),
        *((rule.id, rule.source, "exclusion") for rule in rules.exclusives),
        (OTHER, "", "other"),
    )


def _pairs(
    these: sparse.csr_array, those: sparse.csr_array, unknown: sparse.csr_array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return image and tag of the known pairs in ``these`` that ``those`` lacks."""
    only = known_labels(sparse.csr_array(these > those), unknown)
    image = np.repeat(np.arange(only.shape[0]), np.diff(only.indptr))
    return image.astype(np.int64), only.indices.astype(np.int64)


def _behind_removed(
    rules: BoundRules,
    after: sparse.csr_array,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    number: dict[str, int],
) -> NDArray[np.int64]:
    """Return the rule behind each removed pair: what would break if it were kept."""
    image, tag = pairs
    alone = _single(tag, rules.n_tags)
    kept = after[image]
    wanted = kept + closed(alone, rules.ancestors)
    excluded = _newly_broken(rules, kept, wanted, number, exclusions=True)
    bare = _newly_broken(rules, kept, kept + alone, number, exclusions=False)
    found = np.where(excluded >= 0, excluded, bare)
    return np.where(found >= 0, found, number[OTHER])


def _behind_added(
    rules: BoundRules,
    after: sparse.csr_array,
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    number: dict[str, int],
) -> NDArray[np.int64]:
    """Return the rule behind each added pair: what would break if it were missing."""
    image, tag = pairs
    kept = after[image]
    without = canonical(sparse.csr_array(kept > _single(tag, rules.n_tags)))
    implied = _newly_broken(rules, kept, without, number, exclusions=False)
    asked = _newly_broken(rules, kept, without, number, exclusions=True)
    found = np.where(implied >= 0, implied, asked)
    return np.where(found >= 0, found, number[OTHER])


def _newly_broken(
    rules: BoundRules,
    kept: sparse.csr_array,
    changed: sparse.csr_array,
    number: dict[str, int],
    *,
    exclusions: bool,
) -> NDArray[np.int64]:
    """Return for each row the first rule broken by ``changed`` but not by ``kept``, or -1."""
    one, two = rules.violations(canonical(kept)), rules.violations(canonical(changed))
    wanted = {rule.id for rule in rules.exclusives}
    columns = [at for at, rule in enumerate(one.rules) if (rule in wanted) == exclusions]
    worse = canonical(sparse.csr_array(two.counts[:, columns] > one.counts[:, columns]))
    found = np.full(kept.shape[0], -1, np.int64)
    some = np.diff(worse.indptr) > 0
    names = np.array([number[one.rules[at]] for at in columns], np.int64)
    found[some] = names[worse.indices[worse.indptr[:-1][some]]]
    return found


def _single(tag: NDArray[np.int64], n_tags: int) -> sparse.csr_array:
    """Return one row for each tag that holds it alone."""
    indptr = np.arange(len(tag) + 1)
    return sparse.csr_array((np.ones(len(tag), bool), tag, indptr), shape=(len(tag), n_tags))


def _size(effect: RuleEffect) -> int:
    return effect.removed_right + effect.removed_wrong + effect.added_right + effect.added_wrong


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
