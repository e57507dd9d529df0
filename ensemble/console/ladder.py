"""What `fit`, `compare` and `demo` print: the ladder, and in words what it shows."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.comparison.comparing import Comparison
from tagstack.ensemble.comparison.results import RungResult
from tagstack.ensemble.console.cascade import print_cascade
from tagstack.ensemble.console.console import out, print_json
from tagstack.ensemble.report.fit_evidence import FitEvidence, fit_evidence
from tagstack.ensemble.report.glossary import fit_terms, terms_of
from tagstack.ensemble.report.sections import worth_sentence
from tagstack.ensemble.report.words import headline, seeds_text, sublines, verdict_sentence
from tagstack.ensemble.report.writing import ReportPaths
from tagstack.ensemble.tasks.demo import DemoResult
from tagstack.meta.metrics.bootstrap import Difference
from tagstack.meta.metrics.scores import compared, f_name
from tagstack.meta.stack.ladder_row import Band, LadderRow

_LADDER = ("macro_ap", "micro_ap", "macro_f", "micro_f")


_FEW_IMAGES = 500  # below, macro-AP out of fold has been a tenth too high and more


def print_comparison(comparison: Comparison, paths: ReportPaths, *, as_json: bool) -> None:
    """Print the ladder with what separates the stack from each rung."""
    if as_json:
        out.print(paths.metrics.read_text(encoding="utf-8"), soft_wrap=True, markup=False)
        return
    out.print(_ladder_table(comparison))
    out.print()
    out.print(_gains_table(comparison))
    out.print(
        f"{_keys(comparison)} * excludes 0 at {comparison.confidence:.0%}. "
        f"{comparison.n_images} images in {comparison.n_groups} groups, {comparison.n_tags} tags, "
        f"{comparison.resamples} paired resamples of groups, {seeds_text(comparison)}."
    )
    if comparison.n_shared_tags < comparison.n_tags:
        out.print(_shared(comparison))
    out.print()
    for line in (headline(comparison), *sublines(comparison), verdict_sentence(comparison)):
        out.print(_ascii(line), markup=False)
    out.print()
    for term, meaning in terms_of(comparison):
        out.print(f"{term}: {meaning}.", markup=False, style="dim")
    out.print(f"Report: {paths.html}", markup=False, soft_wrap=True)


def _keys(comparison: Comparison) -> str:
    """Return what the columns mean."""
    text = "tags: an image; broken: rules an image."
    if any(rung.spec.rules_of for rung in comparison.rungs):
        text += (
            " ruled: F1 and tags with the rules, thresholds fitted for what they leave; leads are"
            " with rules on both sides, except over taggers as published."
        ).replace("F1", f_name(comparison.beta))
    return text


def _table(first: str, others: Iterable[str]) -> Table:
    """Return an empty table for 80 columns: where space is short, names fold, never figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for name in others:
        width = max(map(len, name.split("\n")))
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    return table


def _ladder_table(comparison: Comparison) -> Table:
    """Return a row for each set of probabilities: without rules, and what rules make of it."""
    titles = _titles(comparison)
    twins = {rung.spec.rules_of: rung for rung in comparison.rungs if rung.spec.rules_of}
    own = [score.title for score in comparison.personal]
    heads = [title.replace("-", "\n") for title in titles.values()]
    ruled = ("ruled\nmacro", "ruled\nmicro", "ruled\ntags") if twins else ()
    table = _table("rung", (*heads, "tags", "broken", *ruled, *own))
    for rung in comparison.rungs:
        if rung.spec.rules_of:
            continue
        twin = twins.get(rung.name)
        scores = [f"{rung.scores['all'][name].value:.3f}" for name in titles]
        broken = "-" if np.isnan(rung.contradictions) else f"{rung.contradictions:.2f}"
        personal = [f"{rung.values[s.name]:.{s.digits}f}" for s in comparison.personal]
        is_ours = comparison.reference in (rung.name, twin.name if twin else "")
        table.add_row(
            rung.name,
            *scores,
            f"{rung.decisions.tags_per_image:.1f}",
            broken,
            *(_ruled(twin) if twins else ()),
            *personal,
            style="bold" if is_ours else None,
        )
    return table


def _ruled(twin: RungResult | None) -> tuple[str, str, str]:
    """Return both averages of F-beta and the tags an image with the rules."""
    if twin is None:
        return "-", "-", "-"
    macro, micro = (twin.scores["all"][name].value for name in ("macro_f", "micro_f"))
    return f"{macro:.3f}", f"{micro:.3f}", f"{twin.decisions.tags_per_image:.1f}"


def _titles(comparison: Comparison) -> dict[str, str]:
    """Return the scores that fit on a line of the terminal, and what they are called."""
    titles = {score.name: score.title for score in compared(comparison.beta)}
    return {name: titles[name] for name in _LADDER}


def _gains_table(comparison: Comparison) -> Table:
    """Return the reference's leads: over rungs with rules where there are such, else as they are.

    Taggers as published and other tools have no rules of ours; all others meet it with theirs.
    """
    titles, twinned = _titles(comparison), {rung.spec.rules_of for rung in comparison.rungs}
    table = _table(f"{comparison.reference} minus", (titles["macro_ap"], titles["macro_f"]))
    for rung in comparison.rungs:
        is_opponent = rung.name == comparison.opponent  # it may differ by its thresholds alone
        if is_opponent or not (rung.same_proba or rung.name in twinned):
            found = rung.differences["all"]
            name = rung.spec.rules_of or rung.name
            table.add_row(name, _signed(found["macro_ap"]), _signed(found["macro_f"]))
    return table


def _signed(difference: Difference) -> str:
    return _starred(difference.value, difference.low, difference.high)


def _starred(value: float, low: float, high: float) -> str:
    star = "*" if low > 0 or high < 0 else " "
    return f"{value:+.3f}{star} [{low:+.3f}, {high:+.3f}]"  # a sign follows: no markup


def _shared(comparison: Comparison) -> str:
    """Return the same lead over the tags that every rung knows."""
    ours = comparison.rung(comparison.reference).scores["shared"]
    titles = _titles(comparison)
    values = ", ".join(f"{title} {ours[name].value:.3f}" for name, title in titles.items())
    return (
        f"Above: the union of all vocabularies. {comparison.reference} over the "
        f"{comparison.n_shared_tags} tags that every rung knows: {values}."
    )


def _ascii(text: str) -> str:
    """Return a sentence of the report with the signs that every terminal has."""
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")


def print_fit(bundle: Bundle, directory: Path, *, as_json: bool) -> None:
    """Print the out-of-fold ladder that the choice was made on, and why it was made."""
    if as_json:
        print_json(bundle.evidence)
        return
    stacker, fit = bundle.stacker, fit_evidence(bundle.evidence)
    out.print(_out_of_fold(stacker.ladder_, stacker.chosen_))
    if fit.losses:
        out.print()
        out.print(_losses_table(fit))
    for line in saw_lines(bundle.evidence):
        out.print(line, markup=False)
    for line in fit_lines(stacker.ladder_, stacker.chosen_, stacker.bands_, fit):
        out.print(_ascii(line), markup=False)
    if bundle.cascade is not None:
        print_cascade(bundle.cascade)
    for term, meaning in fit_terms(rehearsed=fit.n_judged > 0):
        out.print(f"{term}: {meaning}.", markup=False, style="dim")
    out.print(f"Chosen: {stacker.chosen_}. Bundle: {directory}", markup=False)


def _out_of_fold(ladder: Sequence[LadderRow], chosen: str) -> Table:
    table = _table("out of fold", ("macro-AP", "+-", "micro-AP", "+-"))
    for row in ladder:
        scores = (row.macro_ap, row.macro_error, row.micro_ap, row.micro_error)
        texts = [f"{score:.3f}" for score in scores]
        table.add_row(row.rung, *texts, style="bold" if row.rung == chosen else None)
    return table


def _losses_table(fit: FitEvidence) -> Table:
    table = _table("lost without", ("macro-AP", "micro-AP"))
    for loss in fit.losses:
        macro = _starred(loss.macro_ap, loss.macro_low, loss.macro_high)
        micro = _starred(loss.micro_ap, loss.micro_low, loss.micro_high)
        table.add_row(loss.member, macro, micro)
    return table


def fit_lines(
    ladder: Sequence[LadderRow], chosen: str, bands: Sequence[Band], fit: FitEvidence
) -> list[str]:
    """Return in words: the choice, the bands, what may be dropped, what tuning gained."""
    best = max(ladder, key=lambda row: np.nan_to_num(np.mean(row.fold_values or (0.0,))))
    why = next(row.why for row in ladder if row.rung == chosen).removeprefix("chosen: ")
    lines = [f"{chosen}: {why}."]
    if best.rung != chosen:
        lines[0] = f"No significant difference between {chosen} and {best.rung}: {why}."
    lines += [
        f"Tags with {band.title} positives ({band.n_tags}): {band.rung}, {band.why}."
        for band in bands
        if band.n_tags and band.rung != chosen
    ]
    if 0 < fit.n_judged < fit.n_images:
        lines.append(f"Judged on {fit.n_judged} images, drawn of {fit.n_images}.")
    spare = [loss.member for loss in fit.losses if loss.is_spare]
    if spare:
        lines.append(f"At most 0.02 is lost without any one of: {', '.join(spare)}.")
    if fit.frontier is not None and (used := fit.frontier.used) is not None:
        one = fit.frontier.one_threshold
        lines.append(
            f"macro_share {used.macro_share:g}: macro-F {used.macro_f:.3f}, micro-F "
            f"{used.micro_f:.3f} out of fold; with one threshold for all tags {one.macro_f:.3f}, "
            f"{one.micro_f:.3f}. The report draws what other shares give."
        )
    if fit.worth is not None:
        lines.append(f"Tuning. {worth_sentence(fit.worth, kept=fit.kept)}")
    return lines


def saw_lines(evidence: Mapping[str, Any]) -> list[str]:
    """Return in words what a fit saw, and how far its figures can be believed."""
    saw = evidence.get("saw")
    if not saw:
        return []
    lines = [
        f"Saw {evidence['n_images']} images. Of {saw['n_tags']} tags {saw['no_positive']} have no "
        f"positive and stay as before any label; {saw['pooled']} thresholds are shared or from the "
        "start.",
        f"Expect {saw['tags_per_image']:.1f} tags an image; the labels have "
        f"{saw['labels_per_image']:.1f}.",
    ]
    if balance := evidence.get("balance"):
        lines.append(balance_line(balance))
    held = evidence.get("rehearsal")
    if held:
        best = max(held["scores"], key=lambda row: row["macro_ap"] or 0.0)
        lines.append(
            f"On {held['n_images']} images that a rehearsal held out of everything, {best['rung']} "
            f"has macro-AP {best['macro_ap'] or 0:.3f}, micro-AP {best['micro_ap'] or 0:.3f}: "
            "expect these; the figures above are of images that helped to choose."
        )
    else:
        lines.append(
            "Not rehearsed: the figures above are of images that helped to choose, and too high."
        )
    if evidence["n_images"] < _FEW_IMAGES:
        lines.append(
            f"{evidence['n_images']} images are too few to tell rungs apart by these figures. "
            "Every label helps; `tagstack compare` on other images judges."
        )
    return lines


def balance_line(balance: Mapping[str, Any]) -> str:
    """Return in words how images were weighed."""
    values = balance["values"]
    shares = [own["share"] for own in values.values()]
    held = f" ({balance['held']} images at the limit)" if balance["held"] else ""
    return (
        f"The {len(values)} values of {balance['column']} count alike: each has {min(shares):.0%} "
        f"to {max(shares):.0%} of the weight{held}. What is said of rungs and tags counts images "
        "alike."
    )


def print_demo(result: DemoResult, *, as_json: bool = False) -> None:
    """Print the ladder and where everything lies."""
    if as_json:
        print_json(
            {
                "bundle": str(result.out / "bundle"),
                "report": str(result.report.html),
                "metrics": str(result.report.metrics),
                "tags": str(result.tags),
                "images": result.summary.n_images,
            }
        )
        return
    print_comparison(result.comparison, result.report, as_json=False)
    out.print(f"Tags of {result.summary.n_images} new pictures: {result.tags}", soft_wrap=True)
    out.print(f"Bundle: {result.out / 'bundle'}", soft_wrap=True)
