"""What `engines` prints."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tagstack.ensemble.terminal.console import out, plain, print_json

if TYPE_CHECKING:  # printing must not wait for what these need
    from tagstack.base_models.engines.engine_cache import EngineEntry
    from tagstack.base_models.engines.parity_report import ParityReport
    from tagstack.ensemble.engines import BuildResult, Verified

_MIB = 2**20


def print_built(results: Sequence["BuildResult"], *, as_json: bool) -> None:
    """Print what was built or found."""
    if as_json:
        print_json([asdict(result) | {"path": str(result.path)} for result in results])
        return
    for result in results:
        done = f"built in {result.seconds:.1f} s" if result.was_built else "was there"
        out.print(
            f"{result.tagger} {result.precision}: {done}, {result.size_bytes / _MIB:.1f} MiB, "
            f"{result.state}: {result.path}",
            markup=False,
            soft_wrap=True,
        )


def print_engines(folder: Path, entries: Sequence["EngineEntry"], *, as_json: bool) -> None:
    """Print the cache of engines."""
    if as_json:
        print_json({"folder": str(folder), "engines": [_entry_content(item) for item in entries]})
        return
    table = Table(box=None, pad_edge=False)
    for name in ("tagger", "precision", "batch", "built for", "MiB", "made", "key", "state"):
        table.add_column(name)
    for entry in entries:
        table.add_row(*map(plain, _row(entry)))
    out.print(table)
    out.print(f"{len(entries)} in {folder}", markup=False, soft_wrap=True)


def print_verified(found: Sequence["Verified"], *, as_json: bool) -> None:
    """Print how taggers compare with the reference."""
    if as_json:
        print_json([_verified_content(item) for item in found])
        return
    for item in found:
        _print_report(item.report, item.fault)
        out.print(f"  report: {item.path}", markup=False, soft_wrap=True)


def print_quantised(folder: Path, found: "Verified | None", *, as_json: bool) -> None:
    """Print where a quantised tagger lies and how it compares."""
    if as_json:
        content = None if found is None else _verified_content(found)
        print_json({"folder": str(folder), "parity": content})
        return
    if found is None:
        out.print("No picture was left to compare it on; scoring will do that before first use.")
    else:
        _print_report(found.report, found.fault)
    out.print(f"quantised tagger: {folder}", markup=False, soft_wrap=True)


def print_cleaned(gone: Sequence[Path], *, as_json: bool) -> None:
    """Print what was deleted."""
    if as_json:
        print_json([str(path) for path in gone])
        return
    for path in gone:
        out.print(f"deleted {path}", markup=False, soft_wrap=True)
    out.print(f"{len(gone)} deleted.")


def _print_report(report: "ParityReport", fault: str | None) -> None:
    mark = "[green]ok  [/]" if fault is None else "[bold red]bad [/]"
    name = plain(f"{report.tagger} {report.precision} in {report.runtime}")
    out.print(f"{mark}{name}", soft_wrap=True)
    batch = report.max_batch_difference
    alike = "bit for bit alike" if batch == 0 else f"up to {batch:.2g} apart"
    for line in (
        f"against {report.reference} on {report.n_images} images",
        f"logits differ by {report.max_difference:.2g} at most, {report.p999_difference:.2g} in "
        f"99.9 %, {report.mean_difference:.2g} on average; probabilities by at most "
        f"{report.max_proba_difference:.2g}",
        f"tags at the published thresholds: {report.n_flips} of {report.n_positives} flip "
        f"({report.flip_share:.2%}); top 10 in common: {report.top10_overlap:.1%}",
        f"alone and in batches of {report.batch}: {alike}",
    ):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    if fault is not None:
        out.print(f"  refused: {fault}", markup=False, soft_wrap=True)


def _verified_content(item: "Verified") -> dict[str, Any]:
    content = asdict(item.report) | {"flip_share": item.report.flip_share}
    return content | {"fault": item.fault, "report": str(item.path)}


def _entry_content(entry: "EngineEntry") -> dict[str, Any]:
    header = None if entry.header is None else asdict(entry.header)
    return {
        "path": str(entry.path),
        "size_bytes": entry.size_bytes,
        "state": entry.state,
        "header": header,
    }


def _row(entry: "EngineEntry") -> tuple[str, ...]:
    size, header = f"{entry.size_bytes / _MIB:.1f}", entry.header
    if header is None:
        return ("?", "", "", "", size, "", entry.path.stem[:12], entry.state)
    gpu = header.facts.get("gpu") or {}
    place = f"{header.facts['flavour']} {header.facts['tensorrt']}, {gpu.get('name', 'no GPU')}"
    batch = f"{header.built['min_batch']}-{header.built['max_batch']}"
    precision = str(header.built["precision"])
    return (header.tagger, precision, batch, place, size, header.made, header.key[:12], entry.state)
