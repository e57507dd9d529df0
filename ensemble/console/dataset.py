"""The commands of ``dataset``: training sets checked, filtered, balanced and split."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tagstack.ensemble.console.captions import SHOWN, print_lint, taken_back
from tagstack.ensemble.console.options import (
    Config,
    Json,
    Overwrite,
    Seed,
    exit_unless,
    listed,
    settings_of,
)

Folder = Annotated[Path, typer.Argument(help="Folder of pictures with captions beside them.")]

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
        print_lint(report, fix=fix)
    exit_unless(report.good)


@dataset.command(
    epilog="tagstack dataset filter set --least-general 9 --least-images '*=9' --out m.csv\n\n"
    "tagstack dataset filter set --near-duplicates --out m.csv --apply"
)
def filter(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="CSV of what is left out, and why.")],
    least_general: Annotated[int, typer.Option(min=0, help="General tags of a picture.")] = 0,
    least_images: Annotated[
        list[str] | None, typer.Option(help="Pictures of a tag: CATEGORY=N or '*=N'; repeatable.")
    ] = None,
    rating: Annotated[list[str] | None, typer.Option(help="That stays; repeatable.")] = None,
    least_side: Annotated[int, typer.Option(min=0, help="Shorter side in pixels.")] = 0,
    least_pixels: Annotated[int, typer.Option(min=0, help="Width times height.")] = 0,
    created_before: Annotated[str, typer.Option(help="ISO date; column created_at.")] = "",
    created_after: Annotated[str, typer.Option(help="ISO date; column created_at.")] = "",
    least_quality: Annotated[float | None, typer.Option(help="Of the column quality.")] = None,
    ids: Annotated[str | None, typer.Option(help="MODULUS:FIRST-LAST, such as 1000:0-899.")] = None,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Keep one of each group.")
    ] = False,
    table: Annotated[
        Path | None, typer.Option(help="CSV: image, id, rating, created_at, quality.")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="CSV with name and category; else all are general.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Move what is left out to .left-out; can be undone.")
    ] = False,
    overwrite: Overwrite = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say what a training set leaves out, and why; nothing is moved without --apply."""
    from tagstack.ensemble.console.console import out as console
    from tagstack.ensemble.console.console import print_failures, print_json, stages
    from tagstack.ensemble.tasks.dataset_filter import FilterRequest, filter_pictures
    from tagstack.ensemble.workshop.dataset.filtering import Filters, ids_of

    filters = Filters(
        least_general=least_general,
        least_images={name: int(n) for name, n in _numbers(least_images, "--least-images").items()},
        ratings=tuple(rating or ()),
        least_side=least_side,
        least_pixels=least_pixels,
        created_before=created_before,
        created_after=created_after,
        least_quality=least_quality,
        ids=None if ids is None else ids_of(ids),
        near_duplicates=near_duplicates,
    )
    request = FilterRequest(
        folder=folder,
        filters=filters,
        out=out,
        table=table,
        vocabulary=vocabulary,
        apply=apply,
        overwrite=overwrite,
    )
    settings = settings_of(config, uses=("dataset", "score"))
    with stages() as progress:
        found = filter_pictures(request, settings, progress)
    if as_json:
        print_json(_plain(asdict(found)))
    else:
        why = ", ".join(f"{n} {reason}" for reason, n in found.reasons.items()) or "none left out"
        console.print(
            f"{found.n_kept} of {found.n_images} pictures stay ({why}); {found.n_rare_tags} tags "
            f"are on too few of them. All are named in {found.out}.",
            soft_wrap=True,
        )
        console.print(
            taken_back(found.undo, f"{found.n_moved} files were moved")
            if apply
            else "Nothing was moved: --apply does that.",
            soft_wrap=True,
        )
        print_failures(found.stayed)
    exit_unless(not found.stayed)


@dataset.command(
    epilog="tagstack dataset prune 10_mychar --group hair,eyes --trigger mychar\n\n"
    "tagstack dataset prune 10_mychar --group hair,eyes --trigger mychar --apply"
)
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
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take groups of tags out of captions, so that a trigger word learns what they say."""
    from tagstack.ensemble.console.console import out, print_json, stages
    from tagstack.ensemble.tasks.dataset_prune import prune_tags
    from tagstack.ensemble.workshop.dataset.caption_text import key_of
    from tagstack.ensemble.workshop.dataset.tag_groups import tag_groups, tags_of_groups

    if not (group or tag):
        raise typer.BadParameter("Give --group, --tag or both.")
    names = listed(group, "--group") if group else ()
    tags = tags_of_groups(names, tag_groups(groups)) | frozenset(map(key_of, tag or ()))
    settings = settings_of(
        config, sections=_section({"trigger": trigger}), uses=("dataset", "score")
    )
    with stages() as progress:
        found = prune_tags(folder, tags, settings, progress, keep=keep, apply=apply)
    if as_json:
        print_json(_plain(asdict(found)))
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


@dataset.command(
    epilog="tagstack dataset balance train --out dataset.toml\n\n"
    "tagstack dataset balance train --out d.toml --weight 1_background=0.5"
)
def balance(
    folder: Annotated[Path, typer.Argument(help="Folder of concept folders (10_mychar).")],
    out: Annotated[Path | None, typer.Option(help="Dataset TOML for sd-scripts.")] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="FOLDER=SHARE against 1 of others; repeatable.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Repeats at most.")] = 100,
    overwrite: Overwrite = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Propose repeats that give each concept folder its share of an epoch."""
    from tagstack.ensemble.console.console import out as console
    from tagstack.ensemble.console.console import print_json
    from tagstack.ensemble.tasks.dataset_balance import balance_concepts

    settings = settings_of(config, uses=("dataset", "score"))
    weights = _numbers(weight, "--weight")
    found = balance_concepts(folder, weights, settings, most=most, out=out, overwrite=overwrite)
    if as_json:
        print_json({"concepts": [asdict(own) for own in found], "out": out and str(out)})
        return
    for own in found:
        now = f"{own.repeats} times now" if own.repeats else "no number in front: passed over now"
        console.print(
            f"{own.folder}: {own.n_images} pictures, {now}; {own.proposed} times gives "
            f"{own.share:.0%} of an epoch",
            soft_wrap=True,
        )
    if out is not None:
        console.print(f"Dataset config: {out}", soft_wrap=True)


@dataset.command(
    epilog="tagstack dataset split train --out folds.csv --folds 5\n\n"
    "tagstack dataset split train --out folds.csv --table posts.csv --group artist"
)
def split(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="CSV with image, tags and fold.")],
    folds: Annotated[int, typer.Option(min=2, max=1000, help="Number of folds.")] = 5,
    table: Annotated[Path | None, typer.Option(help="CSV with image and further columns.")] = None,
    group: Annotated[str | None, typer.Option(help="Column that no split may part.")] = None,
    near_duplicates: Annotated[
        bool, typer.Option(help="Near-duplicates stay together; opens every picture.")
    ] = True,
    seed: Seed = None,
    overwrite: Overwrite = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Split pictures into folds with every tag in each, groups kept whole."""
    from tagstack.ensemble.console.console import out as console
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.dataset_split import SplitRequest, split_pictures

    settings = settings_of(config, seed=seed, uses=("dataset", "score", "seed"))
    request = SplitRequest(
        folder=folder,
        out=out,
        folds=folds,
        table=table,
        group=group,
        near_duplicates=near_duplicates,
        overwrite=overwrite,
    )
    with stages() as progress:
        found = split_pictures(request, settings, progress)
    if as_json:
        print_json(_plain(asdict(found)))
        return
    console.print(
        f"{found.n_images} pictures in {found.n_groups} groups: folds of "
        f"{', '.join(map(str, found.sizes))}. {found.n_missing} of {found.n_tags} tags are often "
        f"enough for every fold and miss one. Written: {found.out}",
        soft_wrap=True,
    )


@dataset.command(
    epilog="tagstack dataset stats train\n\ntagstack dataset stats train --resolution 768 --json"
)
def stats(
    folder: Folder,
    resolution: Annotated[
        int, typer.Option(min=256, max=8192, help="Side of the trainer's square, in pixels.")
    ] = 1024,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Count tags, pairs of tags, and pictures by number of tags and trainer's bucket."""
    from tagstack.ensemble.console.console import out, print_json, stages
    from tagstack.ensemble.tasks.dataset_stats import count_pictures

    settings = settings_of(config, uses=("dataset", "score"))
    with stages() as progress:
        found = count_pictures(folder, settings, progress, resolution=resolution)
    if as_json:
        print_json(_plain(asdict(found)))
        return
    out.print(
        f"{found.n_images} pictures, {found.n_tags} tags; {found.n_without_caption} without "
        f"caption, {found.n_unreadable} cannot be read.",
        soft_wrap=True,
    )
    for title, counts in (("tag", found.tags), ("bucket", found.buckets)):
        out.print(f"pictures  {title}")
        for name, n in list(counts.items())[:SHOWN]:
            out.print(f"{n:8d}  {name}", soft_wrap=True)


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
    from tagstack.ensemble.workshop.dataset.undo import undo as take_back

    with stages() as progress:
        found = take_back(file, lambda n: progress.stage("taking back", n))
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


def _numbers(texts: list[str] | None, option: str) -> dict[str, float]:
    """Return name and number of each ``NAME=NUMBER`` of a repeated option."""
    found = {}
    for text in texts or ():
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if not name or not 0 < value < 1e12:
            msg = f"{text!r} is not NAME=NUMBER with a number above 0."
            raise typer.BadParameter(msg, param_hint=option)
        found[name] = value
    return found


def _plain(value: Any) -> Any:
    """Return a value as JSON takes it: paths as text."""
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return str(value) if isinstance(value, Path) else value
