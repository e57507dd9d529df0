"""The commands of ``dataset`` that look at pictures: counted, filtered, balanced, split."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.ensemble.console.captions import SHOWN, Ending, Folder, dataset_section, taken_back
from tagstack.ensemble.console.groups import grouped
from tagstack.ensemble.console.options import (
    Config,
    Json,
    Overwrite,
    Seed,
    exit_unless,
    settings_of,
)

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.ensemble.workshop.dataset.statistics import Stats


@dataclass(frozen=True, kw_only=True)
class Bucketing:
    """How the trainer buckets pictures; options as sd-scripts names them."""

    resolution: Annotated[
        int | None, typer.Option(help="Side of the trainer's square, in pixels.")
    ] = None
    min_bucket_reso: Annotated[int | None, typer.Option(help="Shortest side of a bucket.")] = None
    max_bucket_reso: Annotated[int | None, typer.Option(help="Longest side of a bucket.")] = None
    bucket_reso_steps: Annotated[int | None, typer.Option(help="Sides are multiples of it.")] = None
    bucket_no_upscale: Annotated[
        bool, typer.Option("--bucket-no-upscale", help="Small pictures keep their size.")
    ] = False

    def settings(self) -> dict[str, object] | None:
        """Return what was given as settings; None for nothing."""
        # Compared by identity: 0 is equal to False, and is a value to be refused.
        given = {k: v for k, v in asdict(self).items() if v is not None and v is not False}
        return given or None


@grouped
def stats(
    *,
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="Page with all of it (HTML).")] = None,
    near_duplicates: Annotated[
        bool, typer.Option(help="Look for pictures that are alike; opens every picture.")
    ] = True,
    bucketing: Bucketing,
    caption_extension: Ending = None,
    overwrite: Overwrite = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Count tags, pairs, sizes, trainer's buckets and near-duplicates; as a page with --out."""
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.dataset_stats import StatsRequest, count_pictures

    own = dataset_section(buckets=bucketing.settings(), caption_extension=caption_extension)
    settings = settings_of(config, sections=own, uses=("dataset", "score"))
    request = StatsRequest(
        folder=folder, near_duplicates=near_duplicates, out=out, overwrite=overwrite
    )
    with stages() as progress:
        found = count_pictures(request, settings, progress)
    if as_json:
        print_json(asdict(found))
    else:
        _print_stats(found)
        _say_written(out)


def _print_stats(found: "Stats") -> None:
    from tagstack.ensemble.console.console import out

    groups = found.near_duplicates
    copies = (
        "not looked for"
        if groups is None
        else f"{sum(len(own) - 1 for own in groups)} to spare in {len(groups)} groups"
    )
    out.print(
        f"{found.n_images} pictures, {found.n_tags} tags; {found.n_without_caption} without "
        f"caption, {found.n_unreadable} cannot be read; near-duplicates: {copies}.",
        soft_wrap=True,
    )
    lists = (("tag", found.tags), ("shorter side", found.shorter_sides), ("bucket", found.buckets))
    for title, counts in lists:
        out.print(f"pictures  {title}")
        for name, n in list(counts.items())[:SHOWN]:
            out.print(f"{n:8d}  {name}", soft_wrap=True)
    out.print(
        f"{found.n_enlarged} pictures are smaller than their bucket; {found.n_no_bucket} pictures "
        "are too narrow for any bucket.",
        soft_wrap=True,
    )


def _say_written(path: Path | None) -> None:
    from tagstack.ensemble.console.console import out

    if path is not None:
        out.print(f"Page: {path}", soft_wrap=True)


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
    caption_extension: Ending = None,
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
    settings = settings_of(
        config,
        sections=dataset_section(caption_extension=caption_extension),
        uses=("dataset", "score"),
    )
    with stages() as progress:
        found = filter_pictures(request, settings, progress)
    if as_json:
        print_json(asdict(found))
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


def balance(
    folder: Annotated[Path, typer.Argument(help="Folder of concept folders (10_mychar).")],
    out: Annotated[Path | None, typer.Option(help="Dataset TOML for sd-scripts.")] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="FOLDER=SHARE against 1 of others; repeatable.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Repeats at most.")] = 100,
    caption_extension: Ending = None,
    overwrite: Overwrite = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Propose repeats that give each concept folder its share of an epoch."""
    from tagstack.ensemble.console.console import out as console
    from tagstack.ensemble.console.console import print_json
    from tagstack.ensemble.tasks.dataset_balance import balance_concepts

    settings = settings_of(
        config,
        sections=dataset_section(caption_extension=caption_extension),
        uses=("dataset", "score"),
    )
    weights = _numbers(weight, "--weight")
    found = balance_concepts(folder, weights, settings, most=most, out=out, overwrite=overwrite)
    if as_json:
        print_json({"concepts": [asdict(own) for own in found], "out": out})
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
    caption_extension: Ending = None,
    overwrite: Overwrite = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Split pictures into folds with every tag in each, groups kept whole."""
    from tagstack.ensemble.console.console import out as console
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.dataset_split import SplitRequest, split_pictures

    settings = settings_of(
        config,
        seed=seed,
        sections=dataset_section(caption_extension=caption_extension),
        uses=("dataset", "score", "seed"),
    )
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
        print_json(asdict(found))
        return
    console.print(
        f"{found.n_images} pictures in {found.n_groups} groups: folds of "
        f"{', '.join(map(str, found.sizes))}. {found.n_missing} of {found.n_tags} tags are often "
        f"enough for every fold and miss one. Written: {found.out}",
        soft_wrap=True,
    )


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
