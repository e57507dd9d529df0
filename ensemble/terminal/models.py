"""What `score`, `models` and `doctor` print."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tagstack.ensemble.terminal.console import out, plain, print_failures, print_json, rates

if TYPE_CHECKING:  # printing must not wait for what these need
    from tagstack.base_models.check import CheckReport
    from tagstack.base_models.pipeline import ScoreSummary
    from tagstack.base_models.registry import RegistryEntry
    from tagstack.ensemble.doctor import Finding


def print_score_summary(summary: "ScoreSummary", *, as_json: bool) -> None:
    """Print what scoring did."""
    if as_json:
        print_json(asdict(summary))
        return
    rate = summary.n_scored / summary.seconds if summary.seconds else 0.0
    out.print(
        f"Scored {summary.n_scored} images in {summary.seconds:.1f} s ({rate:.0f}/s), "
        f"{summary.n_skipped} were there already, {summary.n_failed} failed."
    )
    if summary.n_scored:
        out.print(f"Each stage by itself: {rates(summary.stage_rates)}", markup=False)
    print_failures([(item.name, item.reason) for item in summary.failures])


def print_models(entries: Sequence["RegistryEntry"], *, as_json: bool) -> None:
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
        table.add_row(entry.name, entry.origin, weights, contract.licence, plain(contract.title))
    out.print(table)


def print_model(entry: "RegistryEntry", *, as_json: bool) -> None:
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


def _entry_content(entry: "RegistryEntry") -> dict[str, Any]:
    return {
        "name": entry.name,
        "origin": entry.origin,
        "folder": None if entry.folder is None else str(entry.folder),
        "missing_files": list(entry.missing_files),
        "contract": entry.contract.model_dump(mode="json"),
    }


def print_check(report: "CheckReport", *, as_json: bool) -> None:
    """Print what a check found."""
    if as_json:
        content = {"folder": str(report.folder), "passed": report.passed}
        print_json(content | {"findings": [asdict(finding) for finding in report.findings]})
        return
    for finding in report.findings:
        mark = "[green]ok  [/]" if finding.passed else "[bold red]bad [/]"
        out.print(f"{mark} {finding.check}: {plain(finding.detail)}", soft_wrap=True)


def print_findings(findings: Sequence["Finding"], *, as_json: bool) -> None:
    """Print what `doctor` found."""
    if as_json:
        print_json([asdict(finding) for finding in findings])
        return
    styles = {"ok": "green", "absent": "dim", "fault": "bold red"}
    table = Table("", "state", "what was found", box=None)
    for finding in findings:
        state = f"[{styles[finding.state]}]{finding.state}[/]"
        table.add_row(finding.subject, state, plain(finding.detail))
    out.print(table)
