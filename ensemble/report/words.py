"""What the report says in words: the outcome, the verdicts per tag, what figures rest on."""

from tagstack.ensemble.comparison.results import Comparison
from tagstack.ensemble.report.advice import (
    advice,
    against_lines,
    changed_lines,
    higher_lines,
    matched_lines,
    rules_lines,
    stack_lines,
)
from tagstack.ensemble.report.numbers import between, number, signed
from tagstack.meta.metrics.bootstrap import BETTER, WORSE
from tagstack.meta.metrics.scores import f_name

__all__ = [
    "between",
    "count",
    "headline",
    "measured_on",
    "number",
    "seeds_text",
    "signed",
    "sublines",
    "verdict_class",
    "verdict_sentence",
]


def count(value: int, noun: str) -> str:
    """Return a number with its noun, thousands parted by a comma."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def headline(comparison: Comparison) -> str:
    """Return what to do in one sentence: which rung to use, what it gains, what it costs."""
    return advice(comparison).headline


def sublines(comparison: Comparison) -> tuple[str, ...]:
    """Return how sure that is: what the stack gains and what rules do, as two figures."""
    return (
        *against_lines(comparison),
        *matched_lines(comparison),
        *stack_lines(comparison),
        *rules_lines(comparison),
        *higher_lines(comparison),
        *changed_lines(comparison),
    )


def verdict_sentence(comparison: Comparison) -> str:
    """Return on how many tags the reference has the higher F-beta, the lower, or neither."""
    if not comparison.rival:
        return ""
    verdicts = comparison.verdicts
    rate = f"{comparison.false_discovery_rate:.0%}"
    return (
        f"Tag by tag, against {comparison.rung(comparison.rival).title}, its "
        f"{f_name(comparison.beta)} is surely higher on {verdicts.better:,}, lower on "
        f"{verdicts.worse:,} and undecided on {verdicts.undecided:,} (paired resamples of groups, "
        f"{verdicts.tested:,} tags tested, false discovery rate {rate})."
    )


def measured_on(comparison: Comparison) -> str:
    """Return what the figures rest on, in one line."""
    return (
        f"{count(comparison.n_images, 'image')} in {count(comparison.n_groups, 'group')}, "
        f"{count(comparison.n_tags, 'tag')}, {count(comparison.n_labels, 'label')}; "
        f"{comparison.resamples:,} paired resamples, {seeds_text(comparison)}"
    )


def seeds_text(comparison: Comparison) -> str:
    """Return the seed of the resamples, or the first and the last of several."""
    last = comparison.seed + comparison.seeds - 1
    if comparison.seeds == 1:
        return f"seed {last}"
    return f"seeds {comparison.seed} to {last}"


def verdict_class(verdict: str) -> str:
    """Return the style class of a verdict."""
    return {BETTER: "better", WORSE: "worse"}.get(verdict, "even")
