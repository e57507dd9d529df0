"""The report's further sections: parts, members, tuning, rules, calibration, every two rungs."""

import math
from dataclasses import dataclass

from markupsafe import Markup

from tagstack.configs.json_values import printable
from tagstack.ensemble.comparison.results import Comparison
from tagstack.ensemble.report.cascade_evidence import CascadeEvidence
from tagstack.ensemble.report.figures import (
    Delta,
    Tick,
    axis_of,
    cost_picture,
    delta_on,
    frontier_picture,
    reliability_picture,
    ticks_of,
    trials_picture,
)
from tagstack.ensemble.report.fit_evidence import (
    FitEvidence,
    FrontierEvidence,
    Likeness,
    TuningEvidence,
)
from tagstack.ensemble.report.words import between, number, signed
from tagstack.meta.metrics.bootstrap import Difference, verdict

_SHADED = 45  # percent of a hue below text that is read in light and dark, as in report.js
_MOST_RULES = 200  # more rows than anybody reads; all are in rules.csv


@dataclass(frozen=True, kw_only=True)
class PartRow:
    """The reference and its rival on some of the tags or images."""

    title: str
    n_tags: str
    n_images: str
    reference: str
    rival: str
    delta: Delta
    ap_reference: str
    ap_rival: str


@dataclass(frozen=True, kw_only=True)
class PartTable:
    """Parts of one kind, with the axis of their differences."""

    kind: str
    zero: float
    ticks: tuple[Tick, ...]
    rows: tuple[PartRow, ...]


@dataclass(frozen=True, kw_only=True)
class MemberRow:
    """What is lost without one member."""

    member: str
    macro: Delta
    micro: Delta
    spare: bool


@dataclass(frozen=True, kw_only=True)
class MemberTable:
    """Every member's row, with the place of 0 on both axes."""

    rows: tuple[MemberRow, ...]
    macro_zero: float
    micro_zero: float


@dataclass(frozen=True, kw_only=True)
class RuleRow:
    """What one rule did."""

    rule: str
    kind: str
    source: str
    counts: tuple[int, ...]
    precision: str
    recall: str


@dataclass(frozen=True, kw_only=True)
class CalibrationSection:
    """One rung's reliability before and after calibration, with its errors in words."""

    title: str
    words: str
    picture: Markup


def part_tables(comparison: Comparison) -> tuple[PartTable, ...]:
    """Return one table per kind of part: category, frequency, each label column."""
    kinds = dict.fromkeys(part.kind for part in comparison.parts)
    return tuple(_part_table(comparison, kind) for kind in kinds)


def member_table(fit: FitEvidence) -> MemberTable | None:
    """Return what is lost without each member; None where that was not measured."""
    if not fit.losses:
        return None
    macro = [_loss(x.macro_ap, x.macro_low, x.macro_high) for x in fit.losses]
    micro = [_loss(x.micro_ap, x.micro_low, x.micro_high) for x in fit.losses]
    axes = [axis_of(losses, with_zero=True) for losses in (macro, micro)]
    return MemberTable(
        rows=tuple(
            MemberRow(
                member=printable(loss.member),
                macro=delta_on(one, axes[0]),
                micro=delta_on(two, axes[1]),
                spare=loss.is_spare,
            )
            for loss, one, two in zip(fit.losses, macro, micro, strict=True)
        ),
        macro_zero=axes[0].percent(0.0),
        micro_zero=axes[1].percent(0.0),
    )


def likeness_rows(likeness: Likeness) -> tuple[tuple[str, tuple[tuple[str, str, int], ...]], ...]:
    """Return for each member its (disagreement, Q-statistic, shade in percent) with each other."""
    most = max((v for row in likeness.disagreement for v in row if not math.isnan(v)), default=0)
    return tuple(
        (
            printable(member),
            tuple(
                ("", "", 0) if i == j else (f"{d:.1%}", number(q, 2), _shade(d, most))
                for j, (d, q) in enumerate(zip(apart, together, strict=True))
            ),
        )
        for i, (member, apart, together) in enumerate(
            zip(likeness.members, likeness.disagreement, likeness.q_statistic, strict=True)
        )
    )


def rule_rows(comparison: Comparison) -> tuple[RuleRow, ...]:
    """Return what each rule did, the most active first."""
    return tuple(
        RuleRow(
            rule=printable(effect.rule),
            kind=effect.kind,
            source=printable(effect.source),
            counts=(
                effect.images,
                effect.removed_right,
                effect.removed_wrong,
                effect.added_right,
                effect.added_wrong,
            ),
            precision=signed(effect.precision, 4),
            recall=signed(effect.recall, 4),
        )
        for effect in comparison.rules[:_MOST_RULES]
    )


def calibrations(comparison: Comparison) -> tuple[CalibrationSection, ...]:
    """Return each calibrated rung beside its probabilities as they came."""
    found = []
    for before in comparison.rungs:
        after = next((r for r in comparison.rungs if r.name == before.spec.raw_of), None)
        if after is None:
            continue
        series = [
            ("rival", "before", before.reliability),
            ("ours", "after", after.reliability),
        ]
        one, two = before.probabilities, after.probabilities
        changes = (
            ("classwise ECE", one.classwise_ece, two.classwise_ece, 4),
            ("log loss", one.log_loss, two.log_loss, 5),
            ("Brier", one.brier, two.brier, 5),
        )
        words = "; ".join(
            f"{name} {number(a, digits)} before, {number(b, digits)} after"
            for name, a, b, digits in changes
        )
        found.append(
            CalibrationSection(title=after.title, words=words, picture=reliability_picture(series))
        )
    return tuple(found)


def trials_figure(fit: FitEvidence) -> Markup:
    """Return the picture of the tuning trials."""
    return trials_picture([trial.value for trial in fit.trials])


def cascade_figures(cascade: CascadeEvidence) -> tuple[tuple[str, Markup], ...]:
    """Return the pictures of micro-F1 and macro-F1 against cost, each with its average's name."""
    return tuple((own, cost_picture(cascade.rows, own)) for own in ("micro", "macro"))


def frontier_figure(frontier: FrontierEvidence) -> Markup:
    """Return the picture of what each share of macro F-beta costs."""
    return frontier_picture(frontier)


def importance_rows(fit: FitEvidence) -> tuple[tuple[str, str, float], ...]:
    """Return each tuned parameter with its share as text and in percent."""
    most = max((share for _, share in fit.importances), default=1.0) or 1.0
    return tuple(
        (name, f"{share:.0%}", round(100 * share / most, 1)) for name, share in fit.importances
    )


def worth_sentence(worth: TuningEvidence, *, kept: bool) -> str:
    """Return what tuning gained on images that no trial saw."""
    found = Difference(
        value=worth.difference,
        low=worth.low,
        high=worth.high,
        verdict=verdict(worth.low, worth.high),
    )
    sure = f" ({between(found)}): {found.verdict}" if not math.isnan(worth.low) else ""
    lead = "" if math.isnan(found.value) else f", difference {signed(found.value)}{sure}"
    outcome = "The tuned settings were kept." if kept else "The defaults were kept."
    return (
        f"On images that no trial saw: default {number(worth.default)}, tuned "
        f"{number(worth.tuned)}{lead}. {outcome}"
    )


def stability_sentence(comparison: Comparison) -> str:
    """Return how much of the intervals is chance of the resampling."""
    others = [rung for rung in comparison.rungs if rung.name != comparison.reference]
    found = [repeats for rung in others for repeats in rung.repeats.values()]
    spreads = [repeats.spread for repeats in found if not math.isnan(repeats.spread)]
    if comparison.seeds == 1 or not spreads:
        return ""
    agreed = sum(len(set(repeats.verdicts)) == 1 for repeats in found)
    each = comparison.resamples // comparison.seeds
    return (
        f"Each of {comparison.seeds} seeds alone ({each:,} resamples) moves the ends of these "
        f"intervals by at most {max(spreads):.3f}; the verdicts agree in {agreed} of "
        f"{len(found)} differences."
    )


def _part_table(comparison: Comparison, kind: str) -> PartTable:
    parts = [part for part in comparison.parts if part.kind == kind]
    axis = axis_of((part.differences["macro_f"] for part in parts), with_zero=True)
    rows = tuple(
        PartRow(
            title=part.title,
            n_tags=f"{part.n_tags:,}",
            n_images=f"{part.n_images:,}",
            reference=number(part.reference["macro_f"].value),
            rival=number(part.rival["macro_f"].value),
            delta=delta_on(part.differences["macro_f"], axis),
            ap_reference=number(part.reference["macro_ap"].value),
            ap_rival=number(part.rival["macro_ap"].value),
        )
        for part in parts
    )
    return PartTable(kind=kind, zero=axis.percent(0.0), ticks=ticks_of(axis), rows=rows)


def _loss(value: float, low: float, high: float) -> Difference:
    return Difference(value=value, low=low, high=high, verdict=verdict(low, high))


def _shade(value: float, most: float) -> int:
    return 0 if math.isnan(value) or not most else round(_SHADED * value / most)
