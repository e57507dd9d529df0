"""The command ``quality``: a score of each picture, as tags by a published or own preset."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.ensemble.console.groups import grouped
from tagstack.ensemble.console.options import Config, Json, Overwrite, listed, settings_of

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.ensemble.tasks.quality import QualitySummary


@grouped
def quality(
    *,
    table: Annotated[Path, typer.Argument(help="CSV or Parquet: a row a picture, with scores.")],
    preset: Annotated[str, typer.Option(help="Name (docs/quality.md), or a .toml file.")],
    out: Annotated[Path | None, typer.Option(help="Table of the tags: .csv or .parquet.")] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Folder whose captions take up the tags.")
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="Column of the score: votes, favourites, any number.")
    ] = None,
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="As for BRISQUE.")
    ] = False,
    by: Annotated[
        str | None, typer.Option(help="Columns to rank within, comma-separated; '' = none.")
    ] = None,
    existing: Annotated[
        str | None, typer.Option(help="append behind a caption's tags, or merge in order.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and write nothing.")] = False,
    config: Config = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Turn scores into quality tags by a preset; says how many of each."""
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.quality import QualityRequest, tag_quality

    if out is None and captions is None and not dry_run:
        msg = "say where the tags go: --out FILE, --captions FOLDER, or --dry-run to count."
        raise typer.BadParameter(msg, param_hint="--out")
    own = None if existing is None else {"quality": {"existing": existing}}
    settings = settings_of(config, sections=own, uses=("seed", "output", "quality"))
    request = QualityRequest(
        table=table,
        preset=preset,
        column=score,
        lower=lower_is_better,
        by=None if by is None else listed(by, "--by") if by.strip() else (),
        out=out,
        captions=captions,
        dry_run=dry_run,
        overwrite=overwrite,
    )
    with stages() as progress:
        found = tag_quality(request, settings, progress)
    if as_json:
        print_json({key: _plain(value) for key, value in asdict(found).items()})
    else:
        _print(found)


def _print(found: "QualitySummary") -> None:
    from tagstack.configs.shown import shown
    from tagstack.ensemble.console.console import out

    lines = [f"{found.n_tagged} of {found.n_images} pictures have a tag of {shown(found.preset)}."]
    lines += [f"{n:>8}  {shown(tag)}" for tag, n in found.counts.items()]
    lines += [f"{n:>8}  without: {shown(why)}" for why, n in found.without.items()]
    lines += [f"Not defined by {shown(found.source)}: {shown(text)}." for text in found.undefined]
    if found.out is not None:
        lines.append(f"Table: {found.out}")
    if found.n_captions is not None:
        lines.append(
            f"{found.n_captions} captions have their tags; {found.n_without_caption} pictures have "
            "no caption, and none was made."
        )
    lines += [f"Kept as it is: {path}" for path in found.kept]
    for line in lines:
        out.print(line, soft_wrap=True, markup=False, highlight=False)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
