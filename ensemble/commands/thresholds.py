"""``tagstack calibrate`` and ``tagstack thresholds``: fit, look at, and switch thresholds."""

from pathlib import Path
from typing import Annotated

import typer

from tagstack.ensemble.commands.options import (
    BundleDir,
    Config,
    Group,
    Json,
    Labels,
    Overwrite,
    Scores,
    Seed,
    UnknownIfAbsent,
    Where,
    families_of,
    settings_of,
)

thresholds = typer.Typer(
    help="Versions of a bundle's thresholds: which there are, what they say, which is in use.",
    epilog="tagstack thresholds list --bundle bundle\n\n"
    "tagstack thresholds diff fit current --bundle bundle",
    no_args_is_help=True,
)

VersionName = Annotated[str, typer.Argument(help="Name or number; 'current', or 'fit'.")]


def calibrate(
    bundle: BundleDir,
    scores: Scores,
    labels: Labels,
    objective: Annotated[
        str | None, typer.Option(help="f1, f0.5, precision>=0.9, recall>=0.8, p=r, fixed:0.35, ...")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="PATTERN=OBJECTIVE for some tags; repeatable.")
    ] = None,
    overrides: Annotated[
        Path | None, typer.Option(help="CSV of thresholds set by hand; they win.")
    ] = None,
    where: Where = None,
    group: Group = None,
    unknown_if_absent: UnknownIfAbsent = None,
    config: Config = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Fit new thresholds on labelled images; the bundle uses them from then on."""
    from tagstack.ensemble.calibrate import CalibrateRequest, calibrate_bundle
    from tagstack.ensemble.dataset import DatasetSource
    from tagstack.ensemble.terminal.console import stages
    from tagstack.ensemble.terminal.thresholds import print_calibration

    request = CalibrateRequest(
        bundle=bundle,
        source=DatasetSource(
            scores=scores,
            labels=labels,
            where=where,
            group=group,
            unknown_if_absent=families_of(unknown_if_absent),
        ),
        objective=objective,
        by_tag=tuple(tag or ()),
        overrides=overrides,
    )
    with stages() as progress:
        result = calibrate_bundle(request, settings_of(config, seed=seed), progress)
    print_calibration(result, as_json=as_json)


@thresholds.command(
    "list",
    epilog="tagstack thresholds list --bundle bundle\n\n"
    "tagstack thresholds list --bundle bundle --json",
)
def list_thresholds(bundle: BundleDir, as_json: Json = False) -> None:
    """List the versions, oldest first; the one in use is marked."""
    from tagstack.ensemble.terminal.thresholds import print_versions
    from tagstack.ensemble.threshold_versions import list_versions

    print_versions(list_versions(bundle), as_json=as_json)


@thresholds.command(
    "show",
    epilog="tagstack thresholds show --bundle bundle\n\n"
    "tagstack thresholds show 2 --bundle bundle --tag '*_hair'",
)
def show_thresholds(
    bundle: BundleDir,
    version: VersionName = "current",
    tag: Annotated[str | None, typer.Option(help="Tag or pattern; all by default.")] = None,
    as_json: Json = False,
) -> None:
    """Show each tag's threshold, its state, and the evidence for it."""
    from tagstack.ensemble.terminal.thresholds import print_version
    from tagstack.ensemble.threshold_versions import show_version

    name, rows = show_version(bundle, version, tag)
    print_version(name, rows, as_json=as_json)


@thresholds.command(
    "diff",
    epilog="tagstack thresholds diff fit current --bundle bundle\n\n"
    "tagstack thresholds diff 1 2 --bundle bundle --json",
)
def diff_thresholds(
    before: VersionName,
    after: VersionName,
    bundle: BundleDir,
    as_json: Json = False,
) -> None:
    """Show the tags that two versions treat differently, the largest change first."""
    from tagstack.ensemble.terminal.thresholds import print_changes
    from tagstack.ensemble.threshold_versions import diff_versions

    print_changes(diff_versions(bundle, before, after), as_json=as_json)


@thresholds.command(
    "use",
    epilog="tagstack thresholds use 2 --bundle bundle\n\n"
    "tagstack thresholds use fit --bundle bundle",
)
def use_thresholds(version: VersionName, bundle: BundleDir, as_json: Json = False) -> None:
    """Put a version in use."""
    from tagstack.ensemble.terminal.thresholds import print_switch
    from tagstack.ensemble.threshold_versions import use_version

    print_switch(*use_version(bundle, version), as_json=as_json)


@thresholds.command(
    "rollback",
    epilog="tagstack thresholds rollback --bundle bundle\n\n"
    "tagstack thresholds rollback --bundle bundle --json",
)
def rollback_thresholds(bundle: BundleDir, as_json: Json = False) -> None:
    """Put the version in use that was so before; again goes one further back."""
    from tagstack.ensemble.terminal.thresholds import print_switch
    from tagstack.ensemble.threshold_versions import roll_back

    print_switch(*roll_back(bundle), as_json=as_json)


@thresholds.command(
    "import",
    epilog="tagstack thresholds import mine.csv --bundle bundle\n\n"
    "tagstack thresholds import selected_tags.csv --bundle bundle",
)
def import_thresholds(
    table: Annotated[Path, typer.Argument(help="CSV: tag and threshold (or best_threshold).")],
    bundle: BundleDir,
    as_json: Json = False,
) -> None:
    """Set thresholds by hand, from a CSV; the other tags keep theirs."""
    from tagstack.ensemble.terminal.thresholds import print_import
    from tagstack.ensemble.threshold_versions import import_overrides

    print_import(*import_overrides(bundle, table), as_json=as_json)


@thresholds.command(
    "export",
    epilog="tagstack thresholds export thresholds.csv --bundle bundle\n\n"
    "tagstack thresholds export old.json --version fit --bundle bundle",
)
def export_thresholds(
    target: Annotated[
        Path, typer.Argument(help="File to write: .csv, or .json with values alone.")
    ],
    bundle: BundleDir,
    version: Annotated[str, typer.Option(help="Name or number of the version.")] = "current",
    overwrite: Overwrite = False,
) -> None:
    """Write a version's table to a file."""
    from tagstack.ensemble.terminal.thresholds import print_export
    from tagstack.ensemble.threshold_versions import export_version

    print_export(export_version(bundle, version, target, overwrite=overwrite), target)
