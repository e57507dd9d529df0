"""``tagstack models``: taggers by name, their contracts, their files, and where to get them."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from tagstack.base_models.taggers.tried import reports, tried_by
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown
from tagstack.ensemble.console.console import (
    counted,
    marked,
    out,
    print_failures,
    print_json,
    rates,
    verdict,
)
from tagstack.ensemble.console.options import Json, exit_unless, settings_of

if TYPE_CHECKING:  # printing must not wait for what these need
    from tagstack.base_models.scoring.pipeline import ScoreSummary
    from tagstack.base_models.taggers.check import CheckReport
    from tagstack.base_models.taggers.draft import Fact, Question
    from tagstack.base_models.taggers.registry import RegistryEntry
    from tagstack.ensemble.tasks.doctor import Finding
    from tagstack.ensemble.tasks.init_tagger import Initialised


_TOGETHER = "--labels and --images go together: the label file, and the folder of its pictures."


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
    for name in ("name", "from", "weights", "tried by", "licence", "what it is"):
        table.add_column(name, no_wrap=name == "name", overflow="fold")
    known = reports()
    for entry in entries:
        weights = "missing" if entry.missing_files else "here"
        contract = entry.contract
        tried = _tried(entry, known)
        table.add_row(entry.name, entry.origin, weights, tried, contract.licence, contract.title)
    out.print(table)
    out.print("tried by: who ran a published one with its real weights. Did you? Show what")
    out.print("`tagstack models check NAME --report check.md` writes.")


def _tried(entry: "RegistryEntry", known: Sequence[Mapping[str, Any]]) -> str:
    """Return who ran a contract with real weights; those of the package run in its own tests."""
    if entry.origin == "package":
        return "its tests"
    published = entry.origin == "contract" or entry.contract.hub is not None
    return ", ".join(tried_by(entry.contract, known)) or ("nobody yet" if published else "-")


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
        "tried_by": list(tried_by(entry.contract, reports())),
        "contract": entry.contract.model_dump(mode="json"),
    }


def print_check(report: "CheckReport", *, as_json: bool) -> None:
    """Print what a check found."""
    if as_json:
        content = {"folder": str(report.folder), "passed": report.passed}
        print_json(content | {"findings": [asdict(finding) for finding in report.findings]})
        return
    for finding in report.findings:
        text = f"{finding.check}: {finding.detail}"
        out.print(verdict(finding.passed, text), soft_wrap=True)


def print_findings(findings: Sequence["Finding"], *, as_json: bool) -> None:
    """Print what `doctor` found."""
    if as_json:
        print_json([asdict(finding) for finding in findings])
        return
    styles = {"ok": "green", "absent": "dim", "fault": "bold red"}
    table = Table("", "state", "what was found", box=None)
    for finding in findings:
        state = marked(finding.state, styles[finding.state])
        table.add_row(finding.subject, state, finding.detail)
    out.print(table)


def print_contract(made: "Initialised", *, as_json: bool) -> None:
    """Print where the values of a contract come from, and what its check found."""
    facts = made.draft.facts
    if as_json:
        content = {
            "contract": str(made.path),
            "facts": [
                {"key": key, "value": fact.value, "source": fact.source}
                for key, fact in facts.items()
            ],
            "notes": made.draft.notes,
            "passed": made.report.passed,
            "findings": [asdict(finding) for finding in made.report.findings],
        }
        print_json(content)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("key", "value", "where it comes from"):
        table.add_column(name, no_wrap=name == "key", overflow="fold")
    for key, fact in facts.items():
        table.add_row(key, shown(json.dumps(fact.value)), shown(fact.source))
    out.print(table)
    for note in made.draft.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    print_check(made.report, as_json=False)
    out.print(f"Contract: {made.path}", markup=False, soft_wrap=True)


def _settled(pairs: Sequence[str]) -> "dict[str, Fact]":
    """Return what `--set` says."""
    from tagstack.base_models.taggers.draft import answered

    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            msg = f"--set {shown(pair)}: expected KEY=VALUE, such as input.colour=RGB."
            raise TagstackError(msg)
        found[key.strip()] = answered(key.strip(), value.strip())
    return found


def _asked(question: "Question") -> "Fact":
    """Return what the user answers; with choices, one of them."""
    from tagstack.base_models.taggers.draft import answered

    while True:
        answer = str(typer.prompt(question.text, err=True)).strip()
        if not question.choices or answer in question.choices:
            return answered(question.key, answer)


models = typer.Typer(
    help="Taggers: those shipped, those you added, and whether a folder keeps its contract.",
    epilog="tagstack models list\n\ntagstack models check ./my-tagger",
    no_args_is_help=True,
)


@models.command("list", epilog="tagstack models list\n\ntagstack models list --json")
def list_models(as_json: Json = False) -> None:
    """List every tagger that has a name."""
    from tagstack.base_models.taggers.registry import list_taggers

    print_models(list_taggers(), as_json=as_json)


@models.command(
    "show", epilog="tagstack models show wd-vit-tagger-v3\n\ntagstack models show doll_vit"
)
def show_model(name: str, as_json: Json = False) -> None:
    """Show a tagger's contract, its source and licence, and the files it needs."""
    from tagstack.base_models.taggers.registry import show_tagger

    print_model(show_tagger(name), as_json=as_json)


@models.command(
    "init",
    epilog="tagstack models init ./my-tagger\n\n"
    "tagstack models init ./mine --set input.colour=BGR --set input.range=0-255\n\n"
    "tagstack models init ./my-tagger --labels labels.csv --images images",
)
def init_model(
    folder: Path,
    settled: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of the contract; repeatable, wins over files."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels of pictures, to decide colours and framing.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="The pictures' folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a contract.")] = False,
    as_json: Json = False,
) -> None:
    """Write a folder's contract from what its files show, ask for the rest, and check it."""
    from tagstack.ensemble.tasks.init_tagger import InitRequest, init_tagger

    if (labels is None) != (images is None):
        raise TagstackError(_TOGETHER)
    request = InitRequest(
        folder=folder, given=_settled(settled or []), images=images, labels=labels, force=force
    )
    ask = _asked if sys.stdin.isatty() and not as_json else None
    with counted("pictures") as told:
        made = init_tagger(request, settings_of(None).score, ask, told)
    print_contract(made, as_json=as_json)
    exit_unless(made.report.passed)


@models.command(
    "add",
    epilog="tagstack models add ./my-tagger\n\n"
    "tagstack models add ./downloads --contract wd-vit-tagger-v3",
)
def add_model(
    folder: Path,
    contract: Annotated[str | None, typer.Option(help="A shipped contract's name.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files, do not link.")] = False,
    as_json: Json = False,
) -> None:
    """Check a folder and enter it in your registry, under its contract's name."""
    from tagstack.base_models.taggers.registry import add_tagger

    report = add_tagger(folder, settings_of(None).score, contract=contract, copy=copy)
    print_check(report, as_json=as_json)
    exit_unless(report.passed)


@models.command(
    "pull",
    epilog="tagstack models pull wd-vit-tagger-v3\n\n"
    "tagstack models pull wd-vit-tagger-v3 --yes --json",
)
def pull_model(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the download.")] = False,
    as_json: Json = False,
) -> None:
    """Download a published tagger (extra `hub`), after showing its licence and size."""
    from tagstack.base_models.taggers.check import check_tagger
    from tagstack.base_models.taggers.pulling import plan_pull, pull, pulled_before
    from tagstack.base_models.taggers.registry import resolve
    from tagstack.ensemble.console.console import confirmed, downloads, print_plan

    settings = settings_of(None).score
    if pulled_before(name):
        report = check_tagger(resolve(name), floor=settings.floor, threads=1)
    else:
        plan = plan_pull(name)
        print_plan(plan)
        if not confirmed(plan, yes=yes):
            raise typer.Exit(1)
        with downloads() as told:
            report = pull(plan, settings, told)
    print_check(report, as_json=as_json)
    exit_unless(report.passed)


@models.command(
    "check",
    epilog="tagstack models check ./my-tagger\n\n"
    "tagstack models check wd-vit-tagger-v3 --report check.md\n\n"
    "tagstack models check ./my-tagger --labels labels.csv --images images",
)
def check_model(
    name_or_folder: str,
    report: Annotated[
        Path | None, typer.Option(help="Write it without paths, to show: .md or .json.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels of pictures: would another input agree better?")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="The pictures' folder.")] = None,
    as_json: Json = False,
) -> None:
    """Run a tagger's whole contract against its files."""
    from tagstack.base_models.taggers.check import check_tagger
    from tagstack.base_models.taggers.check_text import check_target, write_check
    from tagstack.base_models.taggers.registry import resolve

    if report is not None:
        check_target(report)
    folder = resolve(name_or_folder)
    if (labels is None) != (images is None):
        raise TagstackError(_TOGETHER)
    settings = settings_of(None).score
    found = check_tagger(folder, floor=settings.floor, threads=1)
    if labels is not None and images is not None and found.passed:
        from tagstack.ensemble.tasks.check_framing import check_framing

        with counted("pictures") as told:
            finding = check_framing(folder, images, labels, settings, told)
        found = replace(found, findings=(*found.findings, finding))
    print_check(found, as_json=as_json)
    if report is not None:
        write_check(found, report)
    exit_unless(found.passed)
