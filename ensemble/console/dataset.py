"""The commands of ``dataset``: training sets checked, filtered, balanced and split."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagstack.ensemble.console.options import Config, Json, exit_unless, settings_of

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.ensemble.tasks.dataset_lint import LintReport

Folder = Annotated[Path, typer.Argument(help="Folder of pictures with captions beside them.")]
_SHOWN = 40  # kinds of findings printed

dataset = typer.Typer(
    help="Training sets: check captions, filter, prune, balance, split; take changes back.",
    epilog="tagstack dataset lint 10_mychar --trigger mychar\n\n"
    "tagstack dataset undo 10_mychar/tagstack-undo-001.jsonl",
    no_args_is_help=True,
)


@dataset.command(
    epilog="tagstack dataset lint 10_mychar --trigger mychar\n\n"
    "tagstack dataset lint train --vocabulary selected_tags.csv --fix"
)
def lint(
    folder: Folder,
    trigger: Annotated[
        list[str] | None, typer.Option(help="Word that begins every caption; repeatable.")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="Known tags: a bundle, or a CSV with names.")
    ] = None,
    deprecated: Annotated[
        Path | None, typer.Option(help="Text with a deprecated tag a line.")
    ] = None,
    rules: Annotated[str | None, typer.Option(help="Rules and aliases; as for `rules`.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Check that is left out; repeatable.")
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is safe; can be undone.")] = False,
    out: Annotated[Path | None, typer.Option(help="CSV of every finding.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with captions; exits with 1 if something is."""
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.dataset_lint import LintRequest, lint_captions

    given = {"trigger": trigger, "rules": rules, "ignore": ignore}
    settings = settings_of(config, sections=_section(given), uses=("dataset", "score"))
    request = LintRequest(
        folder=folder, vocabulary=vocabulary, deprecated=deprecated, fix=fix, out=out
    )
    with stages() as progress:
        report = lint_captions(request, settings, progress)
    if as_json:
        print_json(_plain(asdict(report)))
    else:
        _print_lint(report, fix=fix)
    exit_unless(report.good)


@dataset.command(
    epilog="tagstack dataset undo train/tagstack-undo-001.jsonl\n\n"
    "tagstack dataset undo train/tagstack-undo-001.jsonl --json"
)
def undo(
    file: Annotated[Path, typer.Argument(help="Undo file, in the folder that was changed.")],
    as_json: Json = False,
) -> None:
    """Take back what a command changed; files that were changed since stay as they are."""
    from tagstack.ensemble.console.console import out, print_failures, print_json, stages
    from tagstack.ensemble.workshop.dataset.undo import undo as taken_back

    with stages() as progress:
        found = taken_back(file, lambda n: progress.stage("taking back", n))
    if as_json:
        print_json(_plain(asdict(found)))
    else:
        out.print(
            f"{found.n_done} files are as before; {found.n_already} were already; "
            f"{len(found.refused)} stay as they are.",
            soft_wrap=True,
        )
        print_failures(found.refused)
    exit_unless(not found.refused)


def _section(given: dict[str, Any]) -> dict[str, object] | None:
    """Return the options that were given as settings."""
    own = {key: value for key, value in given.items() if value is not None}
    return {"dataset": own} if own else None


def _plain(value: Any) -> Any:
    """Return a value as JSON takes it: paths as text."""
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return str(value) if isinstance(value, Path) else value


def _print_lint(report: "LintReport", *, fix: bool) -> None:
    from tagstack.ensemble.console.console import out
    from tagstack.ensemble.workshop.dataset.lint import CHECKS

    for found in report.found[:_SHOWN]:
        what = f" {found.tag}" if found.tag else ""
        detail = f" ({found.detail})" if found.detail else ""
        more = ", ..." if found.n > len(found.files) else ""
        out.print(
            f"{found.level:<7} {found.check}{what}{detail}: {', '.join(found.files)}{more}"
            f"{f' [{found.n}]' if found.n > 1 else ''}",
            soft_wrap=True,
        )
    if len(report.found) > _SHOWN:
        out.print(f"and {len(report.found) - _SHOWN} more kinds (--json or --out has all).")
    for check in dict.fromkeys(found.check for found in report.found):
        out.print(f"  {check}: {CHECKS[check].meaning}", soft_wrap=True)
    if fix:
        mended = ", ".join(f"{n} {check}" for check, n in report.fixed.items()) or "nothing"
        back = f"; `tagstack dataset undo {report.undo}` takes it back" if report.undo else ""
        out.print(f"Mended: {mended}, in {report.n_changed} captions{back}.", soft_wrap=True)
    elif any(found.fixable for found in report.found):
        out.print("--fix mends trigger, alias, double, order and format.", soft_wrap=True)
    n = sum(found.n for found in report.found)
    out.print(
        f"{report.n_captions} captions, {report.n_images} pictures: "
        f"{f'{n} findings' if n else 'nothing is wrong'}.",
        soft_wrap=True,
    )
