"""The commands ``start``, ``fit`` and ``compare``: bundles, and what they are worth."""

from pathlib import Path
from typing import Annotated

import typer

from tagstack.ensemble.console.groups import LabelRows, Running, grouped
from tagstack.ensemble.console.options import (
    BundleDir,
    Config,
    Json,
    Labels,
    Out,
    Overwrite,
    Ray,
    Scores,
    Seed,
    Utility,
    listed_taggers,
    named,
    settings_of,
    utility_settings,
)


@grouped
def start(
    *,
    bundle: BundleDir,
    models: Annotated[
        str | None, typer.Option(help="Taggers by name or folder, comma-separated.")
    ] = None,
    images: Annotated[
        list[Path] | None, typer.Option(help="Unlabelled images to look at; repeatable.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Score store to look at instead of images.")
    ] = None,
    rules: Annotated[str | None, typer.Option(help="Shipped rules by name, .toml or .csv.")] = None,
    config: Config = None,
    running: Running,
    seed: Seed = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make a bundle of taggers without a single label; `fit` makes a better one of labels."""
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.console.start import print_start
    from tagstack.ensemble.tasks.start import StartRequest
    from tagstack.ensemble.tasks.start import start as make_start

    request = StartRequest(
        models=() if models is None else listed_taggers(models),
        bundle=bundle,
        images=tuple(images or ()),
        scores=scores,
        rules=rules,
        overwrite=overwrite,
    )
    settings = settings_of(config, seed=seed, runtime=running.settings())
    with stages() as progress:
        made = make_start(request, settings, progress)
    print_start(made, bundle, as_json=as_json)


@grouped
def fit(
    *,
    scores: Scores,
    labels: Labels,
    bundle: BundleDir,
    rules: Annotated[str | None, typer.Option(help="Shipped rules by name, .toml or .csv.")] = None,
    rows: LabelRows,
    trials: Annotated[int | None, typer.Option(min=0, help="Tuning trials of XGBoost.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="No tuning, no rehearsal: at most half the time.")
    ] = False,
    utility: Utility = None,
    balance: Annotated[
        str | None,
        typer.Option(help="Label column whose values count alike, however many images each has."),
    ] = None,
    cascade: Annotated[
        bool,
        typer.Option("--cascade", help="Learn which taggers a picture needs, for `tag --cascade`."),
    ] = False,
    ray: Ray = None,
    config: Config = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit the stack on labelled images and write a bundle; prints the ladder."""
    from tagstack.configs.settings import changed_settings
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.console.ladder import print_fit
    from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle

    request = FitRequest(
        source=rows.source(scores, labels),
        bundle=bundle,
        rules=rules,
        overwrite=overwrite,
        cascade=cascade,
        ray=ray,
    )
    settings = settings_of(config, seed=seed, trials=trials, quick=quick)
    settings = changed_settings(settings, utility_settings(utility, gate=True))
    if balance is not None:
        settings = changed_settings(settings, {"stack": {"balance": balance}})
    with stages() as progress:
        fitted = fit_bundle(request, settings, progress)
    print_fit(fitted, bundle, as_json=as_json)


@grouped
def compare(
    *,
    bundle: BundleDir,
    scores: Scores,
    labels: Labels,
    out: Out,
    rows: LabelRows,
    other: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PATH of another tool's sidecars or CSV filename,tag,score."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="An older bundle: which tags got better or worse since, on one ladder."),
    ] = None,
    utility: Annotated[
        Path | None,
        typer.Option(help="CSV tag,tp,fp,fn,tn of what decisions are worth: one more score."),
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Leave names and pictures of images out.")
    ] = False,
    ray: Ray = None,
    config: Config = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Compare every rung, single taggers to stack, on images the stack never saw."""
    from tagstack.ensemble.comparison.other_rungs import OtherTool
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.console.ladder import print_comparison
    from tagstack.ensemble.tasks.compare import CompareRequest, compare_bundle

    source = rows.source(scores, labels)
    request = CompareRequest(
        bundle=bundle,
        source=source,
        out=out,
        overwrite=overwrite,
        others=tuple(OtherTool(name=name, path=path) for name, path in named(other, "--other")),
        against=against,
        publish=publish,
        ray=ray,
    )
    settings = settings_of(config, uses=("seed", "compare", "cluster"))
    if utility is not None:
        own = settings.compare.model_copy(update={"utility": str(utility)})
        settings = settings.model_copy(update={"compare": own})
    with stages() as progress:
        comparison, paths = compare_bundle(request, settings, progress)
    print_comparison(comparison, paths, as_json=as_json)
