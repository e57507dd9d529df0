"""What the report's template shows: rows and columns of finished text, made from a comparison."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from tagstack.configs.json_values import printable
from tagstack.ensemble.comparison.results import Comparison, RungResult, WorstImage
from tagstack.ensemble.report.figures import (
    Delta,
    Mark,
    Step,
    Tick,
    axis_of,
    delta_on,
    frequency_picture,
    mark_on,
    reliability_picture,
    step_on,
    ticks_of,
)
from tagstack.ensemble.report.pictures import thumbnail
from tagstack.ensemble.report.words import number
from tagstack.meta.metrics.scores import (
    Score,
    averages_of_decisions,
    compared,
    f_name,
    of_decisions,
    of_probabilities,
)

_COLUMNS = 5  # of figures beside the rung's name, as many as a phone has room for


@dataclass(frozen=True, kw_only=True)
class LadderLine:
    """One rung in one panel of the ladder."""

    title: str
    note: str
    value: str
    mark: Mark | None
    step: Step | None
    delta: Delta | None
    is_reference: bool
    is_rival: bool


@dataclass(frozen=True, kw_only=True)
class ViewSide:
    """Rungs that are compared like for like, by key of the choice "with or without rules"."""

    key: str
    title: str
    rungs: tuple[RungResult, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The ladder by one score over one set of tags, on one side of the rules."""

    key: str
    scope: str
    side: str
    title: str
    scope_title: str
    ticks: tuple[Tick, ...]
    rows: tuple[LadderLine, ...]


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One score of the reference beside the best single tagger and the strongest rival."""

    title: str
    meaning: str
    value: str
    against: tuple[tuple[str, str, Delta], ...]


@dataclass(frozen=True, kw_only=True)
class WorstCard:
    """An image with many errors and its picture."""

    name: str
    found: WorstImage
    picture: str | None


def panels(comparison: Comparison) -> tuple[Panel, ...]:
    """Return the ladder by every score over every set of tags, the headline's score first."""
    return tuple(
        _panel(comparison, side, score, scope, title)
        for side in sides(comparison)
        for scope, (title, _) in comparison.scopes.items()
        for score in compared(comparison.beta)
        if score.name in comparison.rungs[0].scores[scope]
    )


def sides(comparison: Comparison) -> tuple[ViewSide, ...]:
    """Return the ladder with rules and without; all rungs at once where only the stack has both.

    Taggers as published and other tools stand on both sides.
    """
    rungs = comparison.rungs
    if sum(bool(rung.spec.rules_of) for rung in rungs) < 2:
        return (ViewSide(key="all", title="", rungs=rungs),)
    today = [rung for rung in rungs if rung.spec.is_published or rung.spec.is_foreign]
    ruled = [rung for rung in rungs if rung.spec.rules_of or rung in today]
    plain = [rung for rung in rungs if not rung.spec.rules_of]
    return (
        ViewSide(key="with", title="with rules", rungs=tuple(ruled)),
        ViewSide(key="without", title="without rules", rungs=tuple(plain)),
    )


def score_rows(comparison: Comparison) -> tuple[ScoreRow, ...]:
    """Return the scorecard: each score of the reference and its lead over two others."""
    ours = comparison.rung(comparison.reference)
    others = opponents(comparison)
    axis = axis_of(
        (
            other.differences["all"][score.name]
            for other in others
            for score in compared(comparison.beta)
        ),
        with_zero=True,
    )
    return tuple(
        ScoreRow(
            title=score.title,
            meaning=score.meaning,
            value=number(ours.scores["all"][score.name].value),
            against=tuple(
                (
                    other.title,
                    number(other.scores["all"][score.name].value),
                    delta_on(other.differences["all"][score.name], axis),
                )
                for other in others
            ),
        )
        for score in compared(comparison.beta)
    )


def scorecard_zero(comparison: Comparison) -> float:
    """Return the place of 0 on the scorecard's axis, in percent."""
    differences = [
        other.differences["all"][score.name]
        for other in opponents(comparison)
        for score in compared(comparison.beta)
    ]
    return axis_of(differences, with_zero=True).percent(0.0)


def opponents(comparison: Comparison) -> tuple[RungResult, ...]:
    """Return the best single tagger and the strongest rival, once if they are the same."""
    names = [comparison.best_single, comparison.rival]
    wanted = [n for n in dict.fromkeys(names) if n and n != comparison.reference]
    return tuple(comparison.rung(name) for name in wanted)


def reliability_figure(comparison: Comparison) -> Markup:
    """Return the reliability picture of the reference and its rival."""
    ours = comparison.rung(comparison.reference)
    series = [("ours", ours.title, ours.reliability)]
    if comparison.rival:
        rival = comparison.rung(comparison.rival)
        series.insert(0, ("rival", rival.title, rival.reliability))
    return reliability_picture(series)


def frequency_figure(comparison: Comparison) -> Markup:
    """Return the picture of F-beta against the number of positives."""
    return frequency_picture(comparison.tags, f_name(comparison.beta))


def worst_cards(
    comparison: Comparison, pictures: Callable[[str], Path | None]
) -> tuple[WorstCard, ...]:
    """Return the worst images with their pictures as data URIs."""
    return tuple(
        WorstCard(
            name=printable(image.image),
            found=image,
            picture=thumbnail(pictures(image.image), comparison.thumbnail_px),
        )
        for image in comparison.worst
    )


def full_tables(comparison: Comparison) -> tuple[tuple[Mapping[str, str], ...], ...]:
    """Return every score of every rung as text, in tables that fit a page beside each other.

    The first column of each names the rung.
    """
    rows = [_full_row(comparison, rung) for rung in comparison.rungs]
    first, *names = rows[0]
    return tuple(
        tuple({name: row[name] for name in (first, *names[at : at + _COLUMNS])} for row in rows)
        for at in range(0, len(names), _COLUMNS)
    )


def _full_row(comparison: Comparison, rung: RungResult) -> dict[str, str]:
    beta, every = comparison.beta, rung.scores["all"]
    supported = rung.scores["supported"]["macro_ap"].value
    averages, ranked = averages_of_decisions(beta), of_probabilities()
    own = {score.name for score in averages}
    others = [score for score in of_decisions(beta) if score.name not in own]
    return {
        "Rung": rung.title,
        "Votes on tags": f"{rung.votes_on:,}",
        **_values(rung, averages),
        **_hierarchical(rung, f_name(beta)),
        **_values(rung, others),
        "Tags per image": number(rung.decisions.tags_per_image, 2),
        "macro-AP": number(every["macro_ap"].value),
        f"mAP, {comparison.min_positives}+ positives": number(supported),
        "micro-AP": number(every["micro_ap"].value),
        **_shared(comparison, rung),
        **_values(rung, ranked),
        "Contradictions per image": number(rung.contradictions, 3),
        "Images with a contradiction": _percent(rung.contradicting_images),
        **_values(rung, comparison.personal),
    }


def _values(rung: RungResult, scores: Iterable[Score]) -> dict[str, str]:
    return {score.title: number(rung.values[score.name], score.digits) for score in scores}


def _hierarchical(rung: RungResult, f: str) -> dict[str, str]:
    found = rung.hierarchical
    if found is None:
        return {}
    return {
        f"h{f}": number(found.f),
        "hP": number(found.precision),
        "hR": number(found.recall),
        f"sample-h{f}": number(found.sample_f),
    }


def _shared(comparison: Comparison, rung: RungResult) -> dict[str, str]:
    """Return the scores over the tags that every rung knows, where those are not all."""
    if "shared" not in comparison.scopes:
        return {}
    return {
        f"{score.title}, shared tags": number(rung.scores["shared"][score.name].value)
        for score in compared(comparison.beta)
    }


def _percent(share: float) -> str:
    return number(share) if math.isnan(share) else f"{share:.1%}"


def _panel(comparison: Comparison, side: ViewSide, measure: Score, scope: str, title: str) -> Panel:
    scores = [rung.scores[scope][measure.name] for rung in side.rungs]
    leads = [rung.differences[scope][measure.name] for rung in side.rungs]
    axis, around_zero = axis_of(scores), axis_of(leads, with_zero=True)
    below = _below(side.rungs, [score.value for score in scores])
    ours, theirs = (_on(comparison, n, side) for n in (comparison.reference, comparison.rival))
    rows = tuple(
        LadderLine(
            title=rung.title,
            note=_note(rung, comparison),
            value=number(score.value),
            mark=mark_on(score, axis),
            step=step_on(before, score.value, axis),
            delta=None if rung.name == ours else delta_on(lead, around_zero),
            is_reference=rung.name == ours,
            is_rival=rung.name == theirs,
        )
        for rung, score, lead, before in zip(side.rungs, scores, leads, below, strict=True)
    )
    return Panel(
        key=measure.name,
        scope=scope,
        side=side.key,
        title=measure.title,
        scope_title=title,
        ticks=ticks_of(axis),
        rows=rows,
    )


def _on(comparison: Comparison, name: str, side: ViewSide) -> str:
    """Return the name of a rung, or of the one that it is with rules, as a side has it."""
    names = {rung.name for rung in side.rungs}
    if not name or name in names:
        return name
    return comparison.rung(name).spec.rules_of


def _below(rungs: Sequence[RungResult], values: list[float]) -> list[float]:
    """Return what each rung steps from: the rung above it, single taggers and others' nothing.

    The first rung that combines taggers steps from the best single one.
    """
    below = []
    previous = best = math.nan
    for rung, value in zip(rungs, values, strict=True):
        if rung.spec.is_single:
            best = float(np.fmax(best, value))
        combines = not (rung.spec.is_single or rung.spec.is_foreign)
        below.append(previous if combines else math.nan)
        previous = value if combines else best
    return below


def _note(rung: RungResult, comparison: Comparison) -> str:
    if rung.votes_on == comparison.n_tags:
        return rung.note
    return f"{rung.note}; votes on {rung.votes_on:,} of {comparison.n_tags:,} tags"
