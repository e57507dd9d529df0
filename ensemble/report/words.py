"""What the report says in words: numbers, differences, the headline."""

import math

from tagstack.ensemble.comparison.results import Comparison
from tagstack.meta.metrics.bootstrap import BETTER, UNDECIDED, UNDEFINED, WORSE, Difference
from tagstack.meta.metrics.scores import compared, f_name


def number(value: float, digits: int = 3) -> str:
    """Return a score with fixed digits; a dash where it is undefined."""
    return "\N{EN DASH}" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """Return a difference with its sign; a typographic minus, a dash where undefined."""
    if math.isnan(value):
        return "\N{EN DASH}"
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("\N{MINUS SIGN}" if value < 0 else "+") + text


def between(difference: Difference, digits: int = 3) -> str:
    """Return an interval of a difference in words; nothing where it is undefined."""
    if math.isnan(difference.low):
        return ""
    return f"{signed(difference.low, digits)} to {signed(difference.high, digits)}"


def count(value: int, noun: str) -> str:
    """Return a number with its noun, thousands parted by a comma."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def printable(text: str) -> str:
    """Return text in which bytes of a name that are no UTF-8 have become replacement marks."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def headline(comparison: Comparison) -> str:
    """Return the outcome in one short sentence: who won against the best single tagger."""
    ours = comparison.rung(comparison.reference)
    other, role = _main_opponent(comparison)
    if not other:
        return f"{ours.title} stands alone: there is nothing to compare it with."
    first = compared(comparison.beta)[0]
    verdict = comparison.rung(other).differences["all"][first.name].verdict
    return _OUTCOMES[verdict].format(ours=ours.title, role=role, score=first.title)


def sublines(comparison: Comparison) -> tuple[str, ...]:
    """Return by how much and how sure: against the best single tagger and the strongest rival."""
    wanted = (
        (comparison.best_single, "the best single tagger"),
        (comparison.rival, "the strongest rival"),
    )
    lines = {}
    for other, role in wanted:
        if other and other != comparison.reference and other not in lines:
            lines[other] = _against(comparison, other, role)
    return tuple(lines.values())


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


_OUTCOMES = {
    BETTER: "{ours} tags better than {role}, by {score}.",
    WORSE: "{ours} tags worse than {role}, by {score}.",
    UNDECIDED: "No significant difference in {score} between {ours} and {role}.",
    UNDEFINED: "No verdict between {ours} and {role}: {score} is undefined here.",
}


def _main_opponent(comparison: Comparison) -> tuple[str, str]:
    if comparison.best_single and comparison.best_single != comparison.reference:
        return comparison.best_single, "the best single tagger"
    return comparison.rival, "its strongest rival"


def _against(comparison: Comparison, other: str, role: str) -> str:
    theirs = comparison.rung(other)
    score = compared(comparison.beta)[0]
    difference = theirs.differences["all"][score.name]
    ours, their = (
        number(rung.scores["all"][score.name].value)
        for rung in (comparison.rung(comparison.reference), theirs)
    )
    level = f"{comparison.confidence:.0%} interval {between(difference)}"
    return (
        f"With {role}, {theirs.title}: {score.title} {ours} against {their}, difference "
        f"{signed(difference.value)} ({level}): {difference.verdict}."
    )
