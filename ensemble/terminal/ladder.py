"""What `fit`, `compare` and `demo` print: the ladder."""

from pathlib import Path

import numpy as np
from rich.table import Table

from tagstack.ensemble.bundle import Bundle
from tagstack.ensemble.comparison.bootstrap import Difference
from tagstack.ensemble.comparison.comparing import Comparison
from tagstack.ensemble.comparison.results import RungResult
from tagstack.ensemble.demo import DemoResult
from tagstack.ensemble.report.writing import ReportPaths
from tagstack.ensemble.terminal.console import out, plain, print_json

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
            plain(rung.name),
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
        table.add_row(plain(row.rung), f"{row.macro_ap:.3f}", f"{row.micro_ap:.3f}", style=style)
    out.print(table)
    out.print(f"Chosen: {bundle.stacker.chosen_}. Bundle: {directory}", markup=False)


def print_demo(result: DemoResult) -> None:
    """Print the ladder and where everything lies."""
    print_comparison(result.comparison, result.report, as_json=False)
    out.print(f"Tags of {result.summary.n_images} new pictures: {result.tags}", soft_wrap=True)
    out.print(f"Bundle: {result.out / 'bundle'}", soft_wrap=True)
