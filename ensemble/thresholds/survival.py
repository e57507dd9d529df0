"""What a pair must reach to get its tag, once the decoder has its say.

A tag that contests a group keeps its place only if it gains more than its rivals lose. With the
other thresholds as they are, that is one number per pair: its logit less the cost of the contest.
Thresholds fitted on these *standing* logits are fitted for what the decoder leaves. The cost is
exact where a tag meets its rivals in one group, and close to it in nested groups; implied tags
that are not even listed cost nothing here.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, logit

from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.contradictions.evidence import Lists
from tagstack.ensemble.rules.bound_rules import BoundRules, membership
from tagstack.ensemble.thresholds.curves import Bools, Floats, Ints


@dataclass(frozen=True, kw_only=True)
class Survival:
    """How the decoder treats each listed pair.

    Parameters
    ----------
    standing : array of shape (n_pairs,), float32, in [0, 1]
        Probability less the cost of the contest, on the logit scale: the tag is kept if and only
        if this reaches the threshold.
    implied : array of shape (n_pairs,), bool
        Another kept tag implies it although it is below its threshold.
    """

    standing: NDArray[np.float32]
    implied: Bools


def survival(
    proba: PairProba,
    threshold: NDArray[np.float32],
    decided: sparse.csr_array,
    rules: BoundRules,
    worth: NDArray[np.float32] | None = None,
) -> Survival:
    """Return how the decoder treats each pair under some thresholds.

    Parameters
    ----------
    proba : PairProba
    threshold : array of shape (n_pairs,), float32
        The threshold that each pair was held to.
    decided : csr_array of shape (n_images, n_tags), bool
        What the decoder made of it.
    rules : BoundRules
    worth : array of shape (n_tags,), float32, optional
        What the decoder weighed the tags by, if not their log-odds.
    """
    key = proba.pairs.image.astype(np.int64) * proba.pairs.n_tags + proba.pairs.tag
    kept = np.isin(key, _keys(decided), assume_unique=True)
    believed = _logit(proba.proba)
    if worth is None:
        cost = _Contest(key, believed - _logit(threshold), decided, rules).cost()
        left = expit(believed - cost)
    else:
        weight = worth[proba.pairs.tag].astype(np.float64)
        margin = weight * (proba.proba.astype(np.float64) - np.minimum(threshold, 1))
        cost = _Contest(key, margin, decided, rules).cost()
        left = np.clip(proba.proba - cost / weight, 0, 1)
    standing = np.where(cost > 0, left, proba.proba).astype(np.float32)
    return Survival(standing=standing, implied=kept & (proba.proba < threshold))


class _Contest:
    """The rivals of every pair within its image."""

    def __init__(
        self, key: Ints, margin: Floats, decided: sparse.csr_array, rules: BoundRules
    ) -> None:
        self.key, self.decided, self.n_tags = key, decided, rules.n_tags
        self.gain = np.maximum(np.nan_to_num(margin), 0)
        self.lack = np.maximum(np.nan_to_num(-margin), 0)
        self.hard = [rule for rule in rules.exclusives if np.isinf(rule.penalty)]
        self.groups = Lists.from_matrix(membership([rule.tags for rule in self.hard], self.n_tags))
        pair, above = Lists.from_matrix(rules.ancestors).expand(key % self.n_tags)
        self.implied_by, self.implied = pair, key[pair] // self.n_tags * self.n_tags + above
        # Every pair with itself and everything that it implies.
        self.pair = np.concatenate([np.arange(len(key)), pair])
        self.node = np.concatenate([key, self.implied])

    def cost(self) -> Floats:
        """Return what each pair's tag must gain beyond its own threshold, at least 0."""
        return self._rivals() + self._unsupported()

    def _unsupported(self) -> Floats:
        """Return what each pair loses by implied tags below their thresholds that nobody keeps."""
        place = np.searchsorted(self.key, self.implied)
        listed = place < len(self.key)
        listed[listed] = self.key[place[listed]] == self.implied[listed]
        listed &= ~np.isin(self.implied, _keys(self.decided))
        loss = np.zeros(len(self.key))
        np.add.at(loss, self.implied_by[listed], self.lack[place[listed]])
        return loss

    def _rivals(self) -> Floats:
        """Return by how much the strongest rival of each pair outdoes its own side."""
        node, support = self._support()
        place, contest = self._contests(node)
        order = np.lexsort((node[place], -support[place], contest))
        place, contest = place[order], contest[order]
        names, first = np.unique(contest, return_index=True)
        second = np.append(contest[1:] == contest[:-1], False)[first]
        runner_up = np.where(second, support[place[np.minimum(first + 1, len(place) - 1)]], 0.0)
        entry, entered = self._contests(self.node)
        met = np.searchsorted(names, entered)
        meets = met < len(names)
        meets[meets] = names[met[meets]] == entered[meets]
        entry, met = entry[meets], met[meets]
        leads = node[place[first]][met] == self.node[entry]
        rival = np.where(leads, runner_up[met], support[place[first]][met])
        own = _looked_up(node, support, self.node[entry]) - self.gain[self.pair[entry]]
        cost = np.zeros(len(self.key))
        np.maximum.at(cost, self.pair[entry], rival - np.maximum(own, 0))
        return cost

    def _support(self) -> tuple[Ints, Floats]:
        """Return each (image, tag) that a tagged pair stands for, and what would go with it."""
        backed = self.gain[self.pair] > 0
        node, place = np.unique(self.node[backed], return_inverse=True)
        support = np.zeros(len(node))
        np.add.at(support, place, self.gain[self.pair[backed]])
        return node, support

    def _contests(self, node: Ints) -> tuple[Ints, Ints]:
        """Return (position, contest) for every group that a node belongs to and that applies."""
        place, rule = self.groups.expand(node % self.n_tags)
        image = node[place] // self.n_tags
        applies = self._applies[image, rule]
        return place[applies], (image * max(len(self.hard), 1) + rule)[applies]

    @cached_property
    def _applies(self) -> Bools:
        """Whether each rule's guards hold in each image, shape (n_images, n_rules)."""
        holds = np.ones((self.decided.shape[0], len(self.hard)), bool)
        by_tag = self.decided.astype(np.int32).tocsc()
        for number, rule in enumerate(self.hard):
            for tag in rule.when:
                holds[:, number] &= _column(by_tag, tag)
            for tag in rule.unless:
                holds[:, number] &= ~_column(by_tag, tag)
        return holds


def _column(by_tag: sparse.csc_array, tag: int) -> Bools:
    column = np.zeros(by_tag.shape[0], bool)
    column[by_tag.indices[by_tag.indptr[tag] : by_tag.indptr[tag + 1]]] = True
    return column


def _looked_up(keys: Ints, values: Floats, wanted: Ints) -> Floats:
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    if not len(keys):
        return np.zeros(len(wanted))
    return np.where(keys[place] == wanted, values[place], 0.0)


def _keys(decided: sparse.csr_array) -> Ints:
    found = decided.tocoo()
    return np.asarray(found.row.astype(np.int64) * decided.shape[1] + found.col)


def _logit(proba: NDArray[np.float32]) -> Floats:
    return np.asarray(logit(np.clip(proba.astype(np.float64), 1e-9, 1 - 1e-9)))
