"""``tagstack calibrate`` and ``tagstack thresholds``: fit, look at, and switch thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tagstack.ensemble.console.console import err, out, print_json
from tagstack.ensemble.console.groups import LabelRows, grouped
from tagstack.ensemble.console.options import (
    BundleDir,
    Config,
    Json,
    Labels,
    Overwrite,
    Scores,
    Seed,
    Utility,
    settings_of,
    utility_settings,
)

if TYPE_CHECKING:  # printing must not wait for what these need
    from tagstack.ensemble.bundle.dataset import DatasetSource
    from tagstack.ensemble.tasks.calibrate import Calibration
    from tagstack.ensemble.tasks.strategies import StrategyRow
    from tagstack.ensemble.tasks.threshold_versions import (
        ThresholdChange,
        ThresholdRow,
        VersionSummary,
    )

_NAMED = 5  # how many names a summary shows
_STACK_ALONE = "They decide what this bundle tags; other rungs of a comparison keep fitted ones."
_STATES = ("certified", "tuned", "pooled", "fixed")


def print_calibration(result: "Calibration", *, as_json: bool) -> None:
    """Print what a calibration wrote and what it changes."""
    before, after = result.tags_per_image
    if as_json:
        print_json(
            {
                "version": result.version,
                "n_images": result.n_images,
                "n_out_of_fold": result.n_out_of_fold,
                "states": dict(result.states),
                "tags_per_image_before": before,
                "tags_per_image": after,
                "ignored_overrides": list(result.ignored),
                "notices": list(result.notices),
            }
        )
        return
    out.print(
        f"Thresholds {result.version} from {result.n_images} images: {_counted(result.states)}."
    )
    out.print(f"Tags an image on these, after the rules: {before:.1f} before, {after:.1f} now.")
    if result.states.get("certified"):
        out.print(
            "certified: the target is met on images like these, at the confidence asked for; "
            "tuned and pooled: aimed at, not guaranteed."
        )
    _warn_ignored(result.ignored)


def print_versions(versions: Sequence["VersionSummary"], *, as_json: bool) -> None:
    """Print the versions of a bundle's thresholds."""
    if as_json:
        print_json([asdict(version) for version in versions])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("", "version", "objective", "made by", "images", *_STATES):
        figure = name in ("images", *_STATES)
        table.add_column(
            name, justify="right" if figure else "left", no_wrap=figure or name == "version",
            overflow="fold",
        )  # fmt: skip
    for version in versions:
        images = "-" if version.n_images is None else str(version.n_images)
        states = (str(version.states.get(state, 0)) for state in _STATES)
        mark = "*" if version.in_use else ""
        table.add_row(mark, version.name, version.objective, version.made_by, images, *states)
    out.print(table)
    out.print("* in use.")


def print_strategies(strategies: Sequence["StrategyRow"], *, as_json: bool) -> None:
    """Print each strategy with what it is best at and the settings it reads."""
    if as_json:
        print_json([asdict(strategy) for strategy in strategies])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("strategy", "best at", "settings", "package"):
        table.add_column(column, no_wrap=column == "strategy", overflow="fold")
    for row in strategies:
        cells = (row.name, row.optimises, ", ".join(row.reads) or "none", row.package)
        table.add_row(*cells)
    out.print(table)


def print_version(name: str, rows: Sequence["ThresholdRow"], *, as_json: bool) -> None:
    """Print each tag's threshold with its evidence."""
    if as_json:
        print_json({"version": name, "thresholds": [asdict(row) for row in rows]})
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("tag", "threshold", "state", "positives", "estimate", "interval", "objective"):
        figure = column in ("threshold", "positives", "estimate", "interval")
        table.add_column(column, justify="right" if figure else "left", no_wrap=figure)
    for row in rows:
        interval = "-" if row.low is None else f"{row.low:.3f}..{row.high or 0:.3f}"
        estimate = "-" if row.estimate is None else f"{row.estimate:.3f}"
        table.add_row(
            row.tag, _value(row.threshold), row.state, str(row.positives), estimate,
            interval, row.objective,
        )  # fmt: skip
    out.print(table)
    out.print(f"Version {name}; estimates are from images that a threshold has not seen.")


def print_changes(changes: Sequence["ThresholdChange"], *, as_json: bool) -> None:
    """Print what differs between two versions."""
    if as_json:
        print_json([asdict(change) for change in changes])
        return
    if not changes:
        out.print("No tag is treated differently.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("tag", "before", "after", "state before", "state after", "objective"):
        table.add_column(column, justify="right" if column in ("before", "after") else "left")
    for change in changes:
        table.add_row(
            change.tag, _value(change.before), _value(change.after), change.state_before,
            change.state_after, change.objective_after,
        )  # fmt: skip
    out.print(table)
    out.print(f"{len(changes)} tags differ.")


def print_switch(before: str, after: str, *, as_json: bool) -> None:
    """Print which version is in use now."""
    if as_json:
        print_json({"before": before, "in_use": after})
        return
    out.print(f"In use: {after} (before: {before}).")


def print_import(version: str, n_set: int, ignored: Sequence[str], *, as_json: bool) -> None:
    """Print what was set by hand."""
    if as_json:
        print_json({"version": version, "set": n_set, "ignored": list(ignored), "rungs": "kept"})
        return
    out.print(f"Thresholds {version}: {n_set} set by hand. {_STACK_ALONE}")
    _warn_ignored(ignored)


def print_export(version: str, target: Path, *, as_json: bool) -> None:
    """Print what was written."""
    if as_json:
        print_json({"version": version, "table": str(target)})
        return
    out.print(f"Wrote version {version} to {target}.", markup=False, soft_wrap=True)


def _warn_ignored(ignored: Sequence[str]) -> None:
    if ignored:
        dots = ", ..." if len(ignored) > _NAMED else ""
        names = ", ".join(ignored[:_NAMED])
        err.print(
            f"{len(ignored)} tags are not the bundle's and were ignored: {names}{dots}",
            markup=False,
            soft_wrap=True,
        )


def _counted(states: Mapping[str, int]) -> str:
    return ", ".join(f"{states[state]} {state}" for state in _STATES if states.get(state))


def _value(threshold: float | None) -> str:
    return "never" if threshold is None else f"{threshold:.3f}"


thresholds = typer.Typer(
    help="Versions of a bundle's thresholds: which there are, what they say, which is in use.",
    epilog="tagstack thresholds list --bundle bundle\n\n"
    "tagstack thresholds diff fit current --bundle bundle",
    no_args_is_help=True,
)

VersionName = Annotated[str, typer.Argument(help="Name or number; 'current', or 'fit'.")]


@grouped
def calibrate(
    *,
    bundle: BundleDir,
    scores: Scores,
    labels: Labels,
    objective: Annotated[
        str | None, typer.Option(help="f1, f0.5, precision>=0.9, recall>=0.8, p=r, fixed:0.35, ...")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="PATTERN=OBJECTIVE for some tags; repeatable.")
    ] = None,
    utility: Utility = None,
    overrides: Annotated[
        Path | None, typer.Option(help="CSV of thresholds set by hand; they win.")
    ] = None,
    policies: Annotated[
        Path | None,
        typer.Option(help="Write [moderation] of --config with what keeps 'recall>=R' instead."),
    ] = None,
    rows: LabelRows,
    config: Config = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Fit new thresholds on labelled images; the bundle uses them from then on."""
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.tasks.calibrate import CalibrateRequest, calibrate_bundle

    if policies is not None:
        for name, given in (("--tag", tag), ("--utility", utility), ("--overrides", overrides)):
            if given:
                msg = "--policies changes no threshold of the bundle: leave one of them out."
                raise typer.BadParameter(msg, param_hint=name)
        source = rows.source(scores, labels)
        _promise_policies(bundle, source, objective, policies, config, as_json=as_json)
        return
    if utility is not None and objective is not None:
        msg = "--utility is what thresholds are for, as --objective is: leave one of them out."
        raise typer.BadParameter(msg, param_hint="--utility")
    request = CalibrateRequest(
        bundle=bundle,
        source=rows.source(scores, labels),
        objective=objective,
        by_tag=tuple(tag or ()),
        overrides=overrides,
    )
    sections = utility_settings(utility)
    settings = settings_of(
        config, seed=seed, sections=sections, uses=("seed", "thresholds", "stack")
    )
    with stages() as progress:
        result = calibrate_bundle(request, settings, progress)
    print_calibration(result, as_json=as_json)


def _promise_policies(
    bundle: Path,
    source: "DatasetSource",
    objective: str | None,
    target: Path,
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.console.moderation import print_policies
    from tagstack.ensemble.tasks.policies import PoliciesRequest, promise_policies

    request = PoliciesRequest(bundle=bundle, source=source, objective=objective, target=target)
    settings = settings_of(config, uses=("thresholds", "moderation"))
    with stages() as progress:
        found = promise_policies(request, settings, progress)
    print_policies(found, as_json=as_json)


@thresholds.command(
    "list",
    epilog="tagstack thresholds list --bundle bundle\n\n"
    "tagstack thresholds list --bundle bundle --json",
)
def list_thresholds(bundle: BundleDir, as_json: Json = False) -> None:
    """List the versions, oldest first; the one in use is marked."""
    from tagstack.ensemble.tasks.threshold_versions import list_versions

    print_versions(list_versions(bundle), as_json=as_json)


@thresholds.command(
    "strategies",
    epilog="tagstack thresholds strategies\n\ntagstack thresholds strategies --json",
)
def list_strategies(as_json: Json = False) -> None:
    """List what thresholds.strategy can be, those of installed packages included."""
    from tagstack.ensemble.tasks.strategies import describe_strategies

    print_strategies(describe_strategies(), as_json=as_json)


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
    from tagstack.ensemble.tasks.threshold_versions import show_version

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
    from tagstack.ensemble.tasks.threshold_versions import diff_versions

    print_changes(diff_versions(bundle, before, after), as_json=as_json)


@thresholds.command(
    "use",
    epilog="tagstack thresholds use 2 --bundle bundle\n\n"
    "tagstack thresholds use fit --bundle bundle",
)
def use_thresholds(version: VersionName, bundle: BundleDir, as_json: Json = False) -> None:
    """Put a version in use."""
    from tagstack.ensemble.tasks.threshold_versions import use_version

    print_switch(*use_version(bundle, version), as_json=as_json)


@thresholds.command(
    "rollback",
    epilog="tagstack thresholds rollback --bundle bundle\n\n"
    "tagstack thresholds rollback --bundle bundle --json",
)
def rollback_thresholds(bundle: BundleDir, as_json: Json = False) -> None:
    """Put the version in use that was so before; again goes one further back."""
    from tagstack.ensemble.tasks.threshold_versions import roll_back

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
    from tagstack.ensemble.tasks.threshold_versions import import_overrides

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
    as_json: Json = False,
) -> None:
    """Write a version's table to a file."""
    from tagstack.ensemble.tasks.threshold_versions import export_version

    name = export_version(bundle, version, target, overwrite=overwrite)
    print_export(name, target, as_json=as_json)
