"""``tagstack models``: taggers by name, their contracts, their files, and where to get them."""

from pathlib import Path
from typing import Annotated

import typer

from tagstack.ensemble.commands.options import Json, exit_unless, settings_of

models = typer.Typer(
    help="Taggers: those shipped, those you added, and whether a folder keeps its contract.",
    epilog="tagstack models list\n\ntagstack models check ./my-tagger",
    no_args_is_help=True,
)


@models.command("list", epilog="tagstack models list\n\ntagstack models list --json")
def list_models(as_json: Json = False) -> None:
    """List every tagger that has a name."""
    from tagstack.base_models.registry import list_taggers
    from tagstack.ensemble.terminal.models import print_models

    print_models(list_taggers(), as_json=as_json)


@models.command(
    "show", epilog="tagstack models show wd-vit-tagger-v3\n\ntagstack models show doll_vit"
)
def show_model(name: str, as_json: Json = False) -> None:
    """Show a tagger's contract, its source and licence, and the files it needs."""
    from tagstack.base_models.registry import show_tagger
    from tagstack.ensemble.terminal.models import print_model

    print_model(show_tagger(name), as_json=as_json)


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
    from tagstack.base_models.admission import add_tagger
    from tagstack.ensemble.terminal.models import print_check

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
    from tagstack.base_models.check import check_tagger
    from tagstack.base_models.pulling import plan_pull, pull, pulled_before
    from tagstack.base_models.registry import resolve
    from tagstack.ensemble.terminal.downloads import confirmed, downloads, print_plan
    from tagstack.ensemble.terminal.models import print_check

    settings = settings_of(None).score
    if pulled_before(name):
        report = check_tagger(resolve(name), floor=settings.floor, threads=1)
    else:
        plan = plan_pull(name)
        print_plan(plan)
        if not confirmed(plan, yes=yes):
            raise typer.Exit(1)
        with downloads() as shown:
            report = pull(plan, settings, shown)
    print_check(report, as_json=as_json)
    exit_unless(report.passed)


@models.command(
    "check", epilog="tagstack models check ./my-tagger\n\ntagstack models check doll_vit"
)
def check_model(name_or_folder: str, as_json: Json = False) -> None:
    """Run a tagger's whole contract against its files."""
    from tagstack.base_models.check import check_tagger
    from tagstack.base_models.registry import resolve
    from tagstack.ensemble.terminal.models import print_check

    folder = resolve(name_or_folder)
    report = check_tagger(folder, floor=settings_of(None).score.floor, threads=1)
    print_check(report, as_json=as_json)
    exit_unless(report.passed)
