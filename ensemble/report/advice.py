"""What to do after a comparison: which rung to use, what it gains, what it costs, and how sure.

A user can take a tagger alone (as published, or fitted alone), or the stack with or without rules.
The gate chose the stack before these images were looked at, so it is what to use, unless one of
the others is surely better by one average of F-beta and not surely worse by the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tagstack.ensemble.comparison.results import Comparison, RungResult
from tagstack.ensemble.comparison.two_bundles import MATCHED
from tagstack.ensemble.report.numbers import between, number, signed
from tagstack.meta.metrics.bootstrap import BETTER, UNDECIDED, WORSE, Difference
from tagstack.meta.metrics.scores import compared

_BY = ("macro_f", "micro_f")
_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class ChangedTag:
    """A tag whose F-beta surely differs between two rungs, with its own interval."""

    tag: str
    positives: int
    before: float
    after: float
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to use.

    Parameters
    ----------
    rung : str
        Name of the rung to use.
    against : str
        Name of the one that its gain is told from: the best tagger as published where there is
        one, else the best tagger alone, else the strongest rival. Empty without any.
    headline : str
    """

    rung: str
    against: str
    headline: str


def advice(comparison: Comparison) -> Advice:
    """Return which rung to use, with its gain and its cost in one sentence."""
    best = _best(comparison)
    used = comparison.rung(best)
    against = next((name for name in _opponents(comparison) if name != best), "")
    if not against:
        text = f"Use {used.title}: there is nothing to compare it with."
        return Advice(rung=best, against="", headline=text)
    other, lead = comparison.rung(against), comparison.lead(best, against)
    gains = " and ".join(_gain(comparison, name, lead[name]) for name in _BY)
    cost = _cost(comparison, used, other) + _broken(used)
    sure = {lead[name].verdict for name in _BY}
    words = "gains nothing that is sure:" if sure == {UNDECIDED} else "gains"
    if WORSE in sure:
        words = "gains and loses:" if BETTER in sure else "loses:"
    head = f"Use {used.title}: over {_role(comparison, other)} it {words} {gains}{cost}."
    if comparison.opponent and sure == {UNDECIDED}:
        head = (
            f"Nothing is sure between {used.title} and {other.title}: the first gains "
            f"{gains}{cost}."
        )
    return Advice(rung=best, against=against, headline=head)


def against_lines(comparison: Comparison) -> tuple[str, ...]:
    """Return the leads over the best tagger alone and the strongest rival, like for like."""
    used = advice(comparison)
    wanted: dict[str, str] = {
        comparison.best_single: "the best tagger alone",
        comparison.rival: "the strongest rival",
    }
    return tuple(
        f"Over {role}, {comparison.rung(name).title}: "
        f"{_leads(comparison, _fair(comparison, used.rung, name), name)}."
        for name, role in wanted.items()
        if name and name not in (used.rung, used.against)
    )


def stack_lines(comparison: Comparison) -> tuple[str, ...]:
    """Return what stacking alone gains: no rules on either side."""
    plain = comparison.rung(comparison.reference).spec.rules_of
    names = {rung.name for rung in comparison.rungs}
    rival = comparison.rung(comparison.rival).spec.rules_of if comparison.rival else ""
    if plain not in names or rival not in names or comparison.opponent:
        return ()
    return (
        f"What the stack gains, without rules on either side, over "
        f"{comparison.rung(rival).title}: {_leads(comparison, plain, rival)}.",
    )


def rules_lines(comparison: Comparison) -> tuple[str, ...]:
    """Return what the rules gain or cost: the reference minus itself without them."""
    ours = comparison.rung(comparison.reference)
    plain = next((r for r in comparison.rungs if r.name == ours.spec.rules_of), None)
    if plain is None or not ours.contradictions >= 0 or comparison.opponent:
        return ()
    return (
        f"What the rules gain or cost: {_leads(comparison, ours.name, plain.name)}; broken rules "
        f"an image {number(plain.contradictions, 2)} before, "
        f"{number(ours.contradictions, 2)} after.",
    )


def higher_lines(comparison: Comparison) -> tuple[str, ...]:
    """Return what is surely better by macro-F and was not chosen, so that nobody has to hunt."""
    used, score = advice(comparison).rung, compared(comparison.beta)[0]
    higher = {
        rung.title: lead
        for rung in comparison.rungs
        if rung.name != used
        and (lead := comparison.lead(rung.name, used)[score.name]).verdict == BETTER
    }
    if not higher or comparison.opponent:
        return ()
    title, lead = max(higher.items(), key=lambda item: item[1].value)
    return (
        f"Higher still in {score.title}: {title}, {_sure(comparison, lead)}; the choice was made "
        "before these images were seen.",
    )


def matched_lines(comparison: Comparison) -> tuple[str, ...]:
    """Return what a new bundle gains over an old one where it gives no more tags than that."""
    if not any(rung.name == MATCHED for rung in comparison.rungs):
        return ()
    per_image = comparison.rung(MATCHED).decisions.tags_per_image
    return (
        f"At the same number of tags, {number(per_image, 1)} an image: "
        f"{_leads(comparison, MATCHED, comparison.opponent)}.",
    )


def changed_lines(comparison: Comparison) -> tuple[str, ...]:
    """Return the tags whose F surely fell and rose since the old bundle, the most first."""
    if not comparison.opponent:
        return ()
    return tuple(
        f"{words} ({len(rows)} tags): {_listed(rows)}."
        for words, rows in (
            ("Surely worse", changed_tags(comparison, WORSE)),
            ("Surely better", changed_tags(comparison, BETTER)),
        )
        if rows
    )


def changed_tags(comparison: Comparison, verdict: str) -> tuple[ChangedTag, ...]:
    """Return the tags with a verdict, the largest change first."""
    table = comparison.tags
    found = (
        ChangedTag(
            tag=table.tag[at],
            positives=int(table.positives[at]),
            before=float(table.rival_f[at]),
            after=float(table.f[at]),
            difference=Difference(
                value=float(table.difference[at]),
                low=float(table.difference_low[at]),
                high=float(table.difference_high[at]),
                verdict=verdict,
            ),
        )
        for at, word in enumerate(table.verdict)
        if word == verdict
    )
    return tuple(sorted(found, key=lambda row: (-abs(row.difference.value), row.tag)))


def _listed(rows: tuple[ChangedTag, ...]) -> str:
    named = (
        f"{row.tag} {signed(row.difference.value, 2)} ({between(row.difference, 2)})"
        for row in rows[:_LISTED]
    )
    more = f" and {len(rows) - _LISTED} more, in tags.csv" if len(rows) > _LISTED else ""
    return ", ".join(named) + more


def _best(comparison: Comparison) -> str:
    """Return the rung to use: the reference, unless another is surely better and not worse."""
    reference = comparison.reference

    def is_better(rung: RungResult) -> bool:
        if rung.name == reference:
            return False
        lead = comparison.lead(rung.name, reference)
        verdicts = {lead[name].verdict for name in _BY}
        return BETTER in verdicts and WORSE not in verdicts

    better = [rung for rung in _takeable(comparison) if is_better(rung)]
    best = max(better, key=lambda rung: rung.scores["all"]["macro_f"].value, default=None)
    return reference if best is None else best.name


def _takeable(comparison: Comparison) -> Iterable[RungResult]:
    if comparison.opponent:
        return (comparison.rung(comparison.opponent),)
    return (rung for rung in comparison.rungs if rung.spec.kind in ("member", "stack", "tool"))


def _fair(comparison: Comparison, used: str, other: str) -> str:
    """Return what may be held against a rung: the one to use, without rules where that has none.

    Bundles of before have the stack alone under the rules.
    """
    spec, theirs = comparison.rung(used).spec, comparison.rung(other).spec
    has_own_side = theirs.rules_of or theirs.is_published or theirs.is_foreign
    return used if has_own_side or not spec.rules_of else spec.rules_of


def _opponents(comparison: Comparison) -> tuple[str, ...]:
    asked = (comparison.opponent, comparison.reference) if comparison.opponent else ()
    names = (*asked, comparison.best_published, comparison.best_single, comparison.rival)
    there = {rung.name for rung in comparison.rungs}
    return tuple(name for name in names if name in there)


def _role(comparison: Comparison, other: RungResult) -> str:
    if comparison.opponent:
        return other.title
    if other.name == comparison.best_published:
        return f"the best tagger as published ({other.spec.member or other.title})"
    if other.spec.is_single:
        return f"the best tagger alone ({other.spec.member or other.title})"
    return f"its strongest rival ({other.title})"


def _gain(comparison: Comparison, name: str, lead: Difference) -> str:
    title = next(score.title for score in compared(comparison.beta) if score.name == name)
    return f"{title} {signed(lead.value)}" + (" (not sure)" if lead.verdict == UNDECIDED else "")


def _cost(comparison: Comparison, used: RungResult, other: RungResult) -> str:
    """Return how many taggers look at an image, where that is known and differs."""
    n_members = len({rung.spec.member for rung in comparison.rungs if rung.spec.member})
    ours, theirs = (
        0 if rung.spec.is_foreign else 1 if rung.spec.is_single else n_members
        for rung in (used, other)
    )
    if not ours or not theirs:
        return ""
    taggers = f"{ours} tagger{'' if ours == 1 else 's'} an image"
    return f"; it costs {taggers}" + (f" instead of {theirs}" if ours != theirs else ", no more")


def _broken(used: RungResult) -> str:
    """Return how many rules it breaks, where it breaks any."""
    if not used.contradictions > 0:
        return ""
    return f"; it breaks {number(used.contradictions, 2)} rules an image"


def _leads(comparison: Comparison, first: str, second: str) -> str:
    lead, titles = comparison.lead(first, second), compared(comparison.beta)
    names = {score.name: score.title for score in titles}
    return ", ".join(f"{names[name]} {_sure(comparison, lead[name])}" for name in _BY)


def _sure(comparison: Comparison, lead: Difference) -> str:
    level = f"{comparison.confidence:.0%} interval {between(lead)}"
    return f"{signed(lead.value)} ({level}): {lead.verdict}"
