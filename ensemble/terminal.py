"""What the commands print: tables for people, JSON for scripts, progress on standard error."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from tagstack.base_models.check import CheckReport
from tagstack.base_models.pipeline import ScoreProgress, ScoreSummary
from tagstack.base_models.registry import RegistryEntry
from tagstack.ensemble.bootstrap import Difference
from tagstack.ensemble.bundle import Bundle
from tagstack.ensemble.comparison import Comparison
from tagstack.ensemble.comparison_results import RungResult
from tagstack.ensemble.demo import DemoResult
from tagstack.ensemble.doctor import Finding
from tagstack.ensemble.explain import Explanation
from tagstack.ensemble.report import ReportPaths
from tagstack.ensemble.tag import TagSummary

_NAMED = 5  # how many failures a summary shows before it refers to the file

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class _Stages:
    """Shows stages and level-1 progress on standard error; plain lines where it is no terminal."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=None)

    def stage(self, text: str) -> None:
        """Name the stage that begins."""
        self._bars.reset(self._task, total=None, description=text)
        if not err.is_terminal:
            err.print(text)

    def notice(self, text: str) -> None:
        """Print a line that stays."""
        self._bars.console.print(f"Note: {text}", style="yellow", markup=False)

    def scored(self, state: ScoreProgress) -> None:
        """Move the bar."""
        description = f"scoring, {state.images_per_s:.0f} images/s"
        if state.n_failed:
            description += f", {state.n_failed} failed"
        self._bars.update(
            self._task, description=description, completed=state.n_done, total=state.n_images
        )


@contextmanager
def stages() -> Iterator[_Stages]:
    """Show progress while the block runs."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        yield _Stages(bars)


def print_json(content: object) -> None:
    """Print JSON on standard output."""
    out.print_json(json.dumps(content))


def print_score_summary(summary: ScoreSummary, *, as_json: bool) -> None:
    """Print what scoring did."""
    if as_json:
        print_json(asdict(summary))
        return
    rate = summary.n_scored / summary.seconds if summary.seconds else 0.0
    out.print(
        f"Scored {summary.n_scored} images in {summary.seconds:.1f} s ({rate:.0f}/s), "
        f"{summary.n_skipped} were there already, {summary.n_failed} failed."
    )
    _print_failures([(item.name, item.reason) for item in summary.failures])


def print_tag_summary(summary: TagSummary, *, as_json: bool) -> None:
    """Print what tagging wrote."""
    if as_json:
        content = {**asdict(summary), "kept": [str(path) for path in summary.kept]}
        print_json(content)
        return
    mean = summary.n_tags / summary.n_images if summary.n_images else 0.0
    out.print(f"Tagged {summary.n_images} images, {mean:.1f} tags each; {summary.n_failed} failed.")
    _print_failures([(item.name, item.reason) for item in summary.failures])
    if summary.kept:
        names = ", ".join(str(path) for path in summary.kept[:_NAMED])
        err.print(
            f"{len(summary.kept)} files exist with other content and were kept: {names}. "
            "Pass --overwrite to replace them.",
            markup=False,
        )
    if summary.collisions:
        names = ", ".join(summary.collisions[:_NAMED])
        err.print(
            f"{len(summary.collisions)} images share their name with another but for the suffix; "
            f"their sidecars keep the suffix: {names}",
            markup=False,
        )


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print what `doctor` found."""
    if as_json:
        print_json([asdict(finding) for finding in findings])
        return
    styles = {"ok": "green", "absent": "dim", "fault": "bold red"}
    table = Table("", "state", "what was found", box=None)
    for finding in findings:
        state = f"[{styles[finding.state]}]{finding.state}[/]"
        table.add_row(finding.subject, state, _plain(finding.detail))
    out.print(table)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _print_failures(failures: Sequence[tuple[str, str]]) -> None:
    for name, reason in failures[:_NAMED]:
        err.print(f"  {name}: {reason}", markup=False)
    if len(failures) > _NAMED:
        err.print(f"  and {len(failures) - _NAMED} more; failures.csv names them all.")


_LADDER_SCORES = ("macro_ap", "micro_ap", "macro_f", "micro_f", "sample_f")


def print_comparison(comparison: Comparison, paths: ReportPaths, *, as_json: bool) -> None:
    """Print the ladder with what separates the stack from each rung."""
    if as_json:
        out.print(paths.metrics.read_text(encoding="utf-8"), soft_wrap=True, markup=False)
        return
    out.print(_ladder_table(comparison))
    out.print(
        f"{comparison.n_images} images in {comparison.n_groups} groups, {comparison.n_tags} tags, "
        f"{comparison.resamples} paired resamples of groups, seed {comparison.seed}. "
        f"Differences are {comparison.reference} minus the rung; * excludes 0 at "
        f"{comparison.confidence:.0%}."
    )
    out.print(f"Report: {paths.html}", markup=False, soft_wrap=True)


def _ladder_table(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("rung")
    for name in ("macro-AP", "micro-AP", "macro-F1", "micro-F1", "sample-F1"):
        table.add_column(name, justify="right")
    table.add_column("tags/image", justify="right")
    table.add_column("contradict.", justify="right")
    table.add_column("stack gains in macro-AP, micro-AP", justify="right")
    for rung in comparison.rungs:
        scores = [f"{rung.scores['all'][name].value:.3f}" for name in _LADDER_SCORES]
        table.add_row(
            _plain(rung.name),
            *scores,
            f"{rung.decisions.tags_per_image:.1f}",
            "-" if np.isnan(rung.contradictions) else f"{rung.contradictions:.2f}",
            "" if rung.same_proba else _gains(rung),
            style="bold" if rung.name == comparison.reference else None,
        )
    return table


def _gains(rung: RungResult) -> str:
    return "  ".join(_signed(rung.differences["all"][name]) for name in _LADDER_SCORES[:2])


def _signed(difference: Difference) -> str:
    star = "*" if difference.low > 0 or difference.high < 0 else " "
    low, high = f"{difference.low:+.3f}", f"{difference.high:+.3f}"
    return f"{difference.value:+.3f}{star} \\[{low}, {high}]"


def print_fit(bundle: Bundle, directory: Path, *, as_json: bool) -> None:
    """Print the out-of-fold ladder that the choice was made on."""
    if as_json:
        print_json(bundle.evidence)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("out of fold")
    table.add_column("macro-AP", justify="right")
    table.add_column("micro-AP", justify="right")
    for row in bundle.stacker.ladder_:
        chosen = row.rung == bundle.stacker.chosen_
        style = "bold" if chosen else None
        table.add_row(_plain(row.rung), f"{row.macro_ap:.3f}", f"{row.micro_ap:.3f}", style=style)
    out.print(table)
    out.print(f"Chosen: {bundle.stacker.chosen_}. Bundle: {directory}", markup=False)


def print_models(entries: Sequence[RegistryEntry], *, as_json: bool) -> None:
    """Print the registry."""
    if as_json:
        print_json([_entry_content(entry) for entry in entries])
        return
    table = Table(box=None, pad_edge=False)
    for name in ("name", "from", "weights", "licence", "what it is"):
        table.add_column(name)
    for entry in entries:
        weights = "missing" if entry.missing_files else "here"
        contract = entry.contract
        table.add_row(entry.name, entry.origin, weights, contract.licence, _plain(contract.title))
    out.print(table)


def print_model(entry: RegistryEntry, *, as_json: bool) -> None:
    """Print one tagger's contract."""
    if as_json:
        print_json(_entry_content(entry))
        return
    out.print(f"{entry.name}: {entry.contract.title} ({entry.contract.licence})", markup=False)
    out.print(f"source: {entry.contract.source}", markup=False, soft_wrap=True)
    place = "none" if entry.folder is None else str(entry.folder)
    out.print(f"folder: {place}", markup=False, soft_wrap=True)
    if entry.missing_files:
        out.print(f"missing: {', '.join(entry.missing_files)}", markup=False)
    shown = entry.contract.model_dump(mode="json", exclude={"name", "title", "source", "licence"})
    for section, values in shown.items():
        out.print(f"{section}: {json.dumps(values)}", markup=False, soft_wrap=True)


def _entry_content(entry: RegistryEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "origin": entry.origin,
        "folder": None if entry.folder is None else str(entry.folder),
        "missing_files": list(entry.missing_files),
        "contract": entry.contract.model_dump(mode="json"),
    }


def print_check(report: CheckReport, *, as_json: bool) -> None:
    """Print what a check found."""
    if as_json:
        content = {"folder": str(report.folder), "passed": report.passed}
        print_json(content | {"findings": [asdict(finding) for finding in report.findings]})
        return
    for finding in report.findings:
        mark = "[green]ok  [/]" if finding.passed else "[bold red]bad [/]"
        out.print(f"{mark} {finding.check}: {_plain(finding.detail)}", soft_wrap=True)


def print_explanation(explanation: Explanation, *, as_json: bool) -> None:
    """Print each tag's votes, probability, threshold and rule."""
    if as_json:
        print_json(asdict(explanation))
        return
    members = tuple(explanation.entries[0].votes) if explanation.entries else ()
    table = Table(box=None, pad_edge=False, title=None)
    for name in ("", "tag", *members, "stack", "threshold", "rule"):
        table.add_column(_plain(name), justify="left" if name in ("", "tag", "rule") else "right")
    for entry in explanation.entries:
        votes = ("-" if vote is None else f"{vote:.3f}" for vote in entry.votes.values())
        mark = "[green]+[/]" if entry.tagged else " "
        numbers = (f"{entry.proba:.3f}", f"{entry.threshold:.3f}")
        table.add_row(mark, _plain(entry.tag), *votes, *numbers, _plain(entry.rule))
    out.print(table)
    out.print(
        "+ tagged; - the tagger does not know the tag. Votes are the taggers' own probabilities, "
        f"stack is the calibrated probability of the rung {explanation.chosen!r}."
    )
    for change in explanation.changes:
        out.print(f"  {change}", markup=False, soft_wrap=True)


def print_demo(result: DemoResult) -> None:
    """Print the ladder and where everything lies."""
    print_comparison(result.comparison, result.report, as_json=False)
    out.print(f"Tags of {result.summary.n_images} new pictures: {result.tags}", soft_wrap=True)
    out.print(f"Bundle: {result.out / 'bundle'}", soft_wrap=True)
