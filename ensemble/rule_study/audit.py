"""How often labels break each rule, with an interval, and what follows from that.

A rule that true labels break is wrong that often, or the labels are; either way a hard rule then
removes true tags. What is unknown breaks nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.configs.ruling import RuleSettings
from tagstack.ensemble.rule_study.labelled import LabelledTags
from tagstack.ensemble.rules.bound_rules import BoundExclusive, BoundRules, broken_exclusive
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.meta.metrics.intervals import share_interval

Images = NDArray[np.int64]
Advice = Literal["keep", "soft", "more labels", "no evidence"]


@dataclass(frozen=True, kw_only=True)
class RuleAudit:
    """What labels say of one rule.

    Parameters
    ----------
    rule, source : str
    penalty : float
        As it is now; infinite for a hard rule.
    applies, broken : int
        Images on which the rule says something, and those of them that break it.
    rate, low, high : float
        Share of images that break it, with Wilson's interval; NaN where it never applies.
    advice : {"keep", "soft", "more labels", "no evidence"}
        A hard rule that is surely broken more often than the settings allow should be soft;
        "more labels" where some break it and the interval leaves that open.
    soft_penalty : float
        Log-odds of keeping the rule, by the labels: what to write if it shall be soft; NaN
        unless that is the advice.
    """

    rule: str
    source: str
    penalty: float
    applies: int
    broken: int
    rate: float
    low: float
    high: float
    advice: Advice
    soft_penalty: float


def audit_rules(
    rules: Rules, labelled: LabelledTags, settings: RuleSettings
) -> tuple[RuleAudit, ...]:
    """Return what labels say of each rule about their tags, the most broken first.

    Parameters
    ----------
    rules : Rules
    labelled : LabelledTags
    settings : RuleSettings

    Raises
    ------
    TagstackError
        If the rules contradict each other.
    """
    bound = rules.bind(labelled.vocabulary)
    counted = {rule: (applies, broken) for rule, applies, broken in _counted(bound, labelled)}
    found = []
    for rule in rules.rules:
        if rule.id in counted:
            numbers = counted[rule.id]
            found.append(_judged(rule.id, rule.source, rule.penalty, numbers, settings))
    return tuple(sorted(found, key=lambda audit: (-audit.low, -audit.broken, audit.rule)))


def _judged(
    rule: str, source: str, penalty: float, numbers: tuple[int, int], settings: RuleSettings
) -> RuleAudit:
    applies, broken = numbers
    low, high = share_interval(np.array(broken), np.array(applies), settings.confidence)
    rate = broken / applies if applies else math.nan
    advice = _advice(penalty, broken, float(low), float(high), settings.soft_above)
    # Half an image more on either side keeps the log-odds finite.
    odds = math.log((applies - broken + 0.5) / (broken + 0.5)) if advice == "soft" else math.nan
    return RuleAudit(
        rule=rule,
        source=source,
        penalty=penalty,
        applies=applies,
        broken=broken,
        rate=rate,
        low=min(float(low), rate),  # rounding can put the end of an interval past the share
        high=max(float(high), rate),
        advice=advice,
        soft_penalty=max(odds, 0.1) if advice == "soft" else math.nan,
    )


def _advice(penalty: float, broken: int, low: float, high: float, soft_above: float) -> Advice:
    if math.isnan(low):
        return "no evidence"
    if math.isfinite(penalty) or not broken or high <= soft_above:
        return "keep"
    return "soft" if low > soft_above else "more labels"


def _counted(bound: BoundRules, labelled: LabelledTags) -> Iterator[tuple[str, int, int]]:
    """Yield each rule with the numbers of images on which it applies and is broken."""
    columns = _Columns(labelled)
    edges: dict[str, list[tuple[int, int]]] = {}
    for edge, (rule, _) in bound.edge_rule.items():
        edges.setdefault(rule, []).append(edge)
    for rule, own in edges.items():
        yield rule, *_total([columns.implication(*edge) for edge in own])
    limits: dict[str, list[BoundExclusive]] = {}
    for exclusive in bound.exclusives:
        limits.setdefault(exclusive.id, []).append(exclusive)
    for rule, parts in limits.items():
        yield rule, *_total([columns.exclusion(part) for part in parts])


def _total(parts: Sequence[tuple[Images, Images]]) -> tuple[int, int]:
    applies, broken = (np.unique(np.concatenate(own)) for own in zip(*parts, strict=True))
    return len(applies), len(broken)


class _Columns:
    """The images of each tag, and those on which it is unknown."""

    def __init__(self, labelled: LabelledTags) -> None:
        self.tags = sparse.csc_array(labelled.tags.astype(np.int32))
        self.unknown = sparse.csc_array(labelled.unknown)

    def implication(self, child: int, parent: int) -> tuple[Images, Images]:
        """Return the images with the child and a known parent, and those without the parent."""
        images = np.setdiff1d(_images(self.tags, child), _images(self.unknown, parent))
        return images, np.setdiff1d(images, _images(self.tags, parent), assume_unique=True)

    def exclusion(self, rule: BoundExclusive) -> tuple[Images, Images]:
        """Return the images on which an exclusion says something, and those that break it."""
        if rule.when:
            images = _images(self.tags, rule.when[0])
            for tag in rule.when[1:]:
                images = np.intersect1d(images, _images(self.tags, tag), assume_unique=True)
        else:
            images = np.arange(self.tags.shape[0])
        for tag in rule.unless:
            images = np.setdiff1d(images, _images(self.tags, tag), assume_unique=True)
            images = np.setdiff1d(images, _images(self.unknown, tag), assume_unique=True)
        held = np.concatenate([_images(self.tags, tag) for tag in rule.tags])
        if rule.at_least_one:
            # Without any of the tags the rule is broken, unless one of them may yet hold.
            dark = np.concatenate([_images(self.unknown, tag) for tag in rule.tags])
            images = np.setdiff1d(images, np.setdiff1d(dark, held))
        else:
            images = np.intersect1d(images, held)
        broken = np.flatnonzero(broken_exclusive(rule, self.tags))
        return images, np.intersect1d(images, broken, assume_unique=True)


def _images(matrix: sparse.csc_array, tag: int) -> Images:
    start, end = matrix.indptr[tag : tag + 2]
    return np.sort(matrix.indices[start:end]).astype(np.int64)
