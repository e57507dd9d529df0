"""The commands of ``dataset`` that look into captions: checked, mended, tags taken out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.ensemble.console.groups import grouped
from tagstack.ensemble.console.options import Config, Json, exit_unless, listed, settings_of

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.ensemble.tasks.dataset_lint import LintReport

SHOWN = 40  # lines of a list

Folder = Annotated[Path, typer.Argument(help="Folder of pictures with captions beside them.")]
Ending = Annotated[
    list[str] | None,
    typer.Option("--caption-extension", help="Ending of captions, such as .cap; repeatable."),
]


def dataset_section(**given: object) -> dict[str, object] | None:
    """Return the options that were given as settings of ``[dataset]``."""
    endings = given.pop("caption_extension", None)
    own = {key: value for key, value in given.items() if value is not None}
    if isinstance(endings, list) and endings:
        own["caption_extensions"] = ["." + str(ending).strip().lstrip(".") for ending in endings]
    return {"dataset": own} if own else None


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What captions are held to; each lies over `[dataset]` of the settings."""

    trigger: Annotated[
        list[str] | None, typer.Option(help="Word that begins every caption; repeatable.")
    ] = None
    rules: Annotated[str | None, typer.Option(help="Rules and aliases; as for `rules`.")] = None
    shared: Annotated[
        float | None, typer.Option(help="Share of captions from which a tag is named, such as .8.")
    ] = None
    least_captions: Annotated[
        int | None, typer.Option(help="Of fewer captions nothing is said to be shared.")
    ] = None
    allow: Annotated[
        list[str] | None, typer.Option(help="Tag that may be on every caption; repeatable.")
    ] = None
    order: Annotated[str | None, typer.Option(help="any, or name: tags in order.")] = None
    ignore: Annotated[
        list[str] | None, typer.Option(help="Check that is left out; repeatable.")
    ] = None
    fail_on: Annotated[
        str | None, typer.Option(help="note, warning or error: from which the exit code is 1.")
    ] = None
    caption_extension: Ending = None


@grouped
def lint(
    *,
    folder: Annotated[
        Path, typer.Argument(help="Folder with captions, or labels as CSV or JSONL.")
    ],
    checks: Checks,
    vocabulary: Annotated[
        Path | None, typer.Option(help="Known tags: a bundle, or a CSV with names.")
    ] = None,
    deprecated: Annotated[
        Path | None, typer.Option(help="Text with a deprecated tag a line.")
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is safe; can be undone.")] = False,
    out: Annotated[Path | None, typer.Option(help="CSV of every finding.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with captions; exits with 1 if something is."""
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.dataset_lint import LintRequest, lint_captions

    own = dataset_section(**asdict(checks))
    settings = settings_of(config, sections=own, uses=("dataset", "score"))
    request = LintRequest(
        source=folder, vocabulary=vocabulary, deprecated=deprecated, fix=fix, out=out
    )
    with stages() as progress:
        report = lint_captions(request, settings, progress)
    if as_json:
        print_json(asdict(report))
    else:
        print_lint(report, fix=fix)
    exit_unless(report.good)


def prune(
    folder: Folder,
    group: Annotated[
        str | None, typer.Option(help="Groups of tags, comma-separated, such as hair,eyes.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="One more tag; repeatable.")] = None,
    groups: Annotated[
        Path | None, typer.Option(help="TOML of groups of your own, over the shipped ones.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep these tags and take out all others.")
    ] = False,
    trigger: Annotated[
        list[str] | None, typer.Option(help="Word that always stays; repeatable.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Rewrite the captions; can be undone.")
    ] = False,
    caption_extension: Ending = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take groups of tags out of captions, so that a trigger word learns what they say."""
    from tagstack.ensemble.console.console import out, print_json, stages
    from tagstack.ensemble.tasks.dataset_prune import prune_tags
    from tagstack.ensemble.workshop.dataset.tag_groups import tag_groups, tags_of_groups

    if not (group or tag):
        raise typer.BadParameter("Give --group, --tag or both.")
    names = listed(group, "--group") if group else ()
    tags = tags_of_groups(names, tag_groups(groups), tag or ())
    own = dataset_section(trigger=trigger, caption_extension=caption_extension)
    settings = settings_of(config, sections=own, uses=("dataset", "score"))
    with stages() as progress:
        found = prune_tags(folder, tags, settings, progress, keep=keep, apply=apply)
    if as_json:
        print_json(asdict(found))
        return
    for name, n in list(found.tags.items())[:SHOWN]:
        out.print(f"{n:6d}  {name}", soft_wrap=True)
    verb = "lost" if apply else "would lose"
    out.print(
        f"{found.n_changed} of {found.n_captions} captions {verb} {len(found.tags)} different "
        f"tags; {len(found.emptied)} would be left empty and stay; {len(found.unread)} cannot be "
        "rewritten.",
        soft_wrap=True,
    )
    out.print(
        taken_back(found.undo, "The captions were rewritten")
        if found.undo
        else "Nothing was changed" + ("." if apply else ": --apply does that."),
        soft_wrap=True,
    )


def taken_back(undo: Path | None, what: str) -> str:
    """Return a sentence on what was changed, with the command that takes it back."""
    back = f"; `tagstack dataset undo {undo}` takes it back" if undo else ""
    return f"{what}{back}."


def print_lint(report: "LintReport", *, fix: bool) -> None:
    """Print what was found in captions, and what was mended."""
    from tagstack.ensemble.console.console import out
    from tagstack.ensemble.workshop.dataset.lint import CHECKS

    for found in report.found[:SHOWN]:
        what = f" {found.tag}" if found.tag else ""
        detail = f" ({found.detail})" if found.detail else ""
        more = ", ..." if found.n > len(found.files) else ""
        out.print(
            f"{found.level:<7} {found.check}{what}{detail}: {', '.join(found.files)}{more}"
            f"{f' [{found.n}]' if found.n > 1 else ''}",
            soft_wrap=True,
        )
    if len(report.found) > SHOWN:
        out.print(f"and {len(report.found) - SHOWN} more kinds (--json or --out has all).")
    for check in dict.fromkeys(found.check for found in report.found):
        out.print(f"  {check}: {CHECKS[check].meaning}", soft_wrap=True)
    if fix:
        mended = ", ".join(f"{n} {check}" for check, n in report.fixed.items()) or "nothing"
        what = f"Mended: {mended}, in {report.n_changed} captions"
        out.print(taken_back(report.undo, what), soft_wrap=True)
    elif any(found.fixable for found in report.found):
        out.print("--fix mends trigger, alias, double, order and format.", soft_wrap=True)
    n = sum(found.n for found in report.found)
    out.print(
        f"{report.n_captions} captions, {report.n_images} pictures: "
        f"{f'{n} findings' if n else 'nothing is wrong'}.",
        soft_wrap=True,
    )
