"""The commands of ``quality``: pictures scored, and scores turned into tags by a preset."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.ensemble.console.options import (
    Config,
    Images,
    Json,
    Overwrite,
    Threads,
    exit_with_failures,
    listed,
    listed_taggers,
    settings_of,
)

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.ensemble.tasks.quality import QualitySummary
    from tagstack.ensemble.tasks.quality_scores import QualityScores

_NAMED = 5  # failures that are printed; the table names them all

quality = typer.Typer(
    help="Quality: score pictures, and turn scores into tags such as masterpiece.",
    epilog="tagstack quality score images --scores scores.csv\n\n"
    "tagstack quality tag scores.csv --preset pony --score contrast --dry-run",
    no_args_is_help=True,
)


@quality.command(
    epilog="tagstack quality score images --scorer blur,brisque --scores s.csv\n\n"
    "tagstack quality score images --scorer ./aesthetic --scores s.csv"
)
def score(
    images: Images,
    scores: Annotated[Path, typer.Option(help="Table to write: .csv or .parquet.")],
    scorer: Annotated[
        str | None, typer.Option(help="Names or folders, comma-separated; see `scorers`.")
    ] = None,
    threads: Threads = None,
    config: Config = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score pictures into a table, a column a scorer; run again to resume."""
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.quality_scores import score_quality

    runtime = {} if threads is None else {"threads": threads}
    settings = settings_of(config, runtime=runtime, uses=("threads", "score", "quality"))
    names = settings.quality.scorers if scorer is None else listed_taggers(scorer, "--scorer")
    with stages() as progress:
        found = score_quality(images, names, scores, settings, progress, overwrite=overwrite)
    if as_json:
        print_json(_plain(asdict(found)))
    else:
        _print_scores(found)
    exit_with_failures(found.n_failed)


@quality.command(epilog="tagstack quality scorers\n\ntagstack quality scorers --json")
def scorers(as_json: Json = False) -> None:
    """List what can score pictures by name: built-in scorers and those of packages."""
    from tagstack.ensemble.console.console import out, print_json
    from tagstack.ensemble.tasks.quality_scores import known_scorers
    from tagstack.ensemble.workshop.quality.scorers.network import shipped_contracts

    rows = known_scorers()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        better = "lower" if row.lower_is_better else "higher"
        by = f" ({row.package})" if row.package else ""
        out.print(f"{row.name:<14} {better} is better: {row.meaning}{by}", soft_wrap=True)
    out.print(
        f"Networks by `quality pull NAME`, none run with its real weights yet: "
        f"{', '.join(shipped_contracts())}.",
        soft_wrap=True,
    )


@quality.command(
    epilog="tagstack quality pull anime-aesthetic\n\n"
    "tagstack quality pull skytnt-aesthetic --yes --json"
)
def pull(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the download.")] = False,
    as_json: Json = False,
) -> None:
    """Download a published scorer (extra `hub`), after showing its licence and size."""
    from tagstack.ensemble.console.console import confirmed, downloads, out, print_json, print_plan
    from tagstack.ensemble.workshop.quality.scorers.pulling import (
        plan_scorer,
        pull_scorer,
        pulled_before,
    )

    found = pulled_before(name)
    if found is None:
        plan = plan_scorer(name)
        print_plan(plan)
        if not confirmed(plan, yes=yes):
            raise typer.Exit(1)
        with downloads() as told:
            found = pull_scorer(plan, told)
    if as_json:
        print_json({**asdict(found), "folder": str(found.folder)})
        return
    out.print(
        f"{found.name} is in {found.folder} (commit {found.commit[:12]}) and says {found.grey:.3g} "
        f"of a grey picture. Use it: --scorer {found.name}",
        soft_wrap=True,
    )
    for line in found.unverified:
        out.print(f"  not verified: {line}", soft_wrap=True)


@quality.command(
    epilog="tagstack quality tag v.csv --preset pony --score votes --dry-run\n\n"
    "tagstack quality tag v.csv --preset noobai --score votes --captions images"
)
def tag(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet: a row a picture, with scores.")],
    preset: Annotated[str, typer.Option(help="Name (docs/quality.md), or a .toml file.")],
    out: Annotated[Path | None, typer.Option(help="Table of the tags: .csv or .parquet.")] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Folder whose captions take up the tags.")
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="Column of the score: votes, favourites, any number.")
    ] = None,
    second_score: Annotated[
        str | None, typer.Option(help="Column that must agree where a preset asks for two.")
    ] = None,
    lower_is_better: Annotated[
        bool | None,
        typer.Option(
            "--lower-is-better/--higher-is-better",
            help="Which way the score goes; known of built-in scorers.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Columns to rank within, comma-separated; '' = none.")
    ] = None,
    more: Annotated[
        Path | None, typer.Option(help="Table with more columns: rating, created_at, ...")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Date that ages are counted from, such as 2026-05-31.")
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
        as_of=as_of,
        more=more,
        second=second_score,
    )
    with stages() as progress:
        found = tag_quality(request, settings, progress)
    if as_json:
        print_json(_plain(asdict(found)))
    else:
        _print(found)


def _print_scores(found: "QualityScores") -> None:
    from tagstack.ensemble.console.console import err, out

    out.print(
        f"{found.n_found:,} files: {found.n_scored:,} scored, {found.n_current:,} up to date, "
        f"{found.n_failed:,} failed, {found.n_passed_over:,} passed over.",
        soft_wrap=True,
    )
    for name in found.scorers:
        low, middle, high = found.ranges.get(name, (float("nan"),) * 3)
        better = "lower" if name in found.lower_is_better else "higher"
        none = f"; {found.without[name]:,} without" if found.without[name] else ""
        text = f"{name:<14} {low:.4g} to {high:.4g}, half below {middle:.4g}; {better} is better"
        out.print(text + none, soft_wrap=True)
    out.print(f"Table: {found.scores}", soft_wrap=True)
    for failure in found.failures[:_NAMED]:
        err.print(f"  {failure.name}: {failure.reason}", soft_wrap=True)
    if len(found.failures) > _NAMED:
        rest = len(found.failures) - _NAMED
        err.print(f"  and {rest:,} more; the column error names them all.", soft_wrap=True)


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
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
