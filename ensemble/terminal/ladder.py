"""What `fit`, `compare` and `demo` print: the ladder."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.table import Table

from tagstack.ensemble.bundle import Bundle
from tagstack.ensemble.comparison.bootstrap import Difference
from tagstack.ensemble.comparison.comparing import Comparison
from tagstack.ensemble.demo import DemoResult
from tagstack.ensemble.report.writing import ReportPaths
from tagstack.ensemble.terminal.console import out, plain, print_json

_SCORES = {
    "macro_ap": "macro-AP",
    "micro_ap": "micro-AP",
    "macro_f": "macro-F1",
    "micro_f": "micro-F1",
}


def print_comparison(comparison: Comparison, paths: ReportPaths, *, as_json: bool) -> None:
    """Print the ladder with what separates the stack from each rung."""
    if as_json:
        out.print(paths.metrics.read_text(encoding="utf-8"), soft_wrap=True, markup=False)
        return
    out.print(_ladder_table(comparison))
    out.print()
    out.print(_gains_table(comparison))
    out.print(
        f"tags: an image; broken: rules an image. * excludes 0 at {comparison.confidence:.0%}. "
        f"{comparison.n_images} images in {comparison.n_groups} groups, {comparison.n_tags} tags, "
        f"{comparison.resamples} paired resamples of groups, seed {comparison.seed}."
    )
    out.print(f"Report: {paths.html}", markup=False, soft_wrap=True)


def _table(first: str, others: Iterable[str]) -> Table:
    """Return an empty table for 80 columns: where space is short, names fold, never figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    return table


def _ladder_table(comparison: Comparison) -> Table:
    table = _table("rung", (*_SCORES.values(), "tags", "broken"))
    for rung in comparison.rungs:
        scores = [f"{rung.scores['all'][name].value:.3f}" for name in _SCORES]
        broken = "-" if np.isnan(rung.contradictions) else f"{rung.contradictions:.2f}"
        table.add_row(
            plain(rung.name),
            *scores,
            f"{rung.decisions.tags_per_image:.1f}",
            broken,
            style="bold" if rung.name == comparison.reference else None,
        )
    return table


def _gains_table(comparison: Comparison) -> Table:
    table = _table(f"{comparison.reference} minus", ("macro-AP", "micro-AP"))
    for rung in comparison.rungs:
        if not rung.same_proba:
            found = rung.differences["all"]
            table.add_row(plain(rung.name), _signed(found["macro_ap"]), _signed(found["micro_ap"]))
    return table


def _signed(difference: Difference) -> str:
    star = "*" if difference.low > 0 or difference.high < 0 else " "
    return f"{difference.value:+.3f}{star} \\[{difference.low:+.3f}, {difference.high:+.3f}]"


def print_fit(bundle: Bundle, directory: Path, *, as_json: bool) -> None:
    """Print the out-of-fold ladder that the choice was made on."""
    if as_json:
        print_json(bundle.evidence)
        return
    table = _table("out of fold", ("macro-AP", "micro-AP"))
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
