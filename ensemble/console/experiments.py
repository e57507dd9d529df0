"""The commands of ``experiment``: begin one, take outcomes in, say where it stands, end it."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagstack.ensemble.console.options import Config, Json, Utility, settings_of

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.ensemble.experiments.contrast import Outcome
    from tagstack.ensemble.experiments.experiment import Experiment
    from tagstack.ensemble.experiments.measure import Measure
    from tagstack.ensemble.experiments.running import ExperimentStanding

Folder = Annotated[Path, typer.Argument(help="Folder of the experiment.")]
Page = Annotated[Path | None, typer.Option(help="Write the page with the running interval here.")]

experiment = typer.Typer(
    help="Two ways of tagging against each other, with an interval that may be watched.",
    epilog="tagstack experiment start try --a bundle@1 --b bundle@2\n\n"
    "tagstack experiment status try --page try.html",
    no_args_is_help=True,
)


@experiment.command(
    epilog="tagstack experiment start try --a bundle@1 --b bundle@2 --effect 0.03\n\n"
    "tagstack experiment start try --a a --b b --paired --metric mine --between 0,1"
)
def start(
    folder: Folder,
    a: Annotated[str, typer.Option(help="Arm A: BUNDLE, BUNDLE@VERSION or note:TEXT.")],
    b: Annotated[str, typer.Option(help="Arm B, likewise.")],
    outcome: Annotated[str, typer.Option(help="What outcomes in [0, 1] mean.")] = "accepted",
    paired: Annotated[
        bool, typer.Option("--paired", help="Every unit has an outcome in both arms.")
    ] = False,
    utility: Utility = None,
    metric: Annotated[
        str | None, typer.Option(help="A package's metric that answers of a review count by.")
    ] = None,
    between: Annotated[
        str | None, typer.Option(help="LOW,HIGH: its values that are outcomes 0 and 1.")
    ] = None,
    effect: Annotated[float | None, typer.Option(help="Least difference of interest.")] = None,
    baseline: Annotated[float | None, typer.Option(help="Mean outcome expected of A.")] = None,
    share: Annotated[float | None, typer.Option(help="Chance of arm B.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Chance that the interval misses.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Begin an experiment; says how long it is expected to take."""
    from tagstack.ensemble.console.console import out, print_json
    from tagstack.ensemble.experiments.page import plan_text
    from tagstack.ensemble.tasks.experiment import start_experiment

    own = {"effect": effect, "baseline": baseline, "share": share, "alpha": alpha}
    given = {name: value for name, value in own.items() if value is not None}
    settings = settings_of(
        config, sections={"experiment": given} if given else None, uses=("experiment",)
    )
    made = start_experiment(
        folder,
        {"A": a, "B": b},
        settings.experiment,
        name=folder.name or "experiment",
        outcome=outcome,
        paired=paired,
        utility=utility,
        measure=_measure(metric, between),
    )
    if as_json:
        print_json(asdict(made))
        return
    for arm, what in made.arms.items():
        out.print(f"{arm}: {what.title}", soft_wrap=True)
    out.print(
        f"To prove a difference of {made.effect:g} at a mean of {made.baseline:g}: "
        f"{plan_text(made.plan)}. Look as often as you like.",
        soft_wrap=True,
    )


@experiment.command(
    epilog="tagstack experiment arm try 3f2a91 77b0c4\n\ntagstack experiment arm try a.png --json"
)
def arm(
    folder: Folder,
    units: Annotated[list[str], typer.Argument(help="Units, such as users or picture hashes.")],
    as_json: Json = False,
) -> None:
    """Say which arm each unit gets: always the same one."""
    from tagstack.ensemble.console.console import out, print_json
    from tagstack.ensemble.experiments.experiment import Experiment

    found = Experiment.load(folder)
    arms = {unit: found.arm_of(unit) for unit in units}
    if as_json:
        print_json(arms)
        return
    for unit, own in arms.items():
        out.print(f"{own}  {unit}", soft_wrap=True)


@experiment.command(
    epilog="tagstack experiment record try --csv outcomes.csv\n\n"
    "tagstack experiment record try --review review --scores scores"
)
def record(
    folder: Folder,
    csv: Annotated[
        Path | None, typer.Option(help="Columns unit,outcome or unit,arm,outcome or unit,a,b.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="One unit, with --outcome.")] = None,
    outcome: Annotated[float | None, typer.Option(help="Its outcome in [0, 1].")] = None,
    review: Annotated[
        Path | None, typer.Option(help="Folder of a review whose frozen slice judges both arms.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Score store of the review's pictures.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take outcomes in; a second outcome of the same unit is not taken."""
    from tagstack.ensemble.console.console import out, print_json
    from tagstack.ensemble.tasks.experiment import record_outcomes

    outcomes = _outcomes(folder, csv, unit, outcome, review, scores)
    found = record_outcomes(folder, outcomes)
    if as_json:
        print_json(asdict(found))
        return
    known = f"; {found.n_known} were there already and stay" if found.n_known else ""
    out.print(f"{found.n_new} new outcomes{known}.", soft_wrap=True)


@experiment.command(
    epilog="tagstack experiment status try\n\ntagstack experiment status try --page try.html"
)
def status(folder: Folder, page: Page = None, as_json: Json = False) -> None:
    """Say where an experiment stands."""
    from tagstack.ensemble.tasks.experiment import status_of, write_page

    if page is not None:
        write_page(folder, page)
    _print(*status_of(folder), as_json=as_json)


@experiment.command(
    epilog="tagstack experiment stop try\n\ntagstack experiment stop try --page try.html"
)
def stop(folder: Folder, page: Page = None, as_json: Json = False) -> None:
    """End an experiment: its outcomes stay, and no more are taken."""
    from tagstack.ensemble.tasks.experiment import status_of, stop_experiment, write_page

    stop_experiment(folder)
    if page is not None:
        write_page(folder, page)
    _print(*status_of(folder), as_json=as_json)


def _outcomes(
    folder: Path,
    csv: Path | None,
    unit: str | None,
    outcome: float | None,
    review: Path | None,
    scores: Path | None,
) -> list["Outcome"]:
    """Return the outcomes from the one source that is named."""
    from tagstack.ensemble.experiments.contrast import Outcome
    from tagstack.ensemble.experiments.experiment import Experiment
    from tagstack.ensemble.tasks.experiment import outcomes_of_table
    from tagstack.ensemble.tasks.experiment_review import outcomes_of_review

    if sum(source is not None for source in (csv, unit, review)) != 1:
        raise typer.BadParameter("Give one of --csv, --unit and --review.")
    if csv is not None:
        return outcomes_of_table(folder, csv)
    if review is not None:
        if scores is None:
            raise typer.BadParameter("--review needs --scores of its pictures.")
        return outcomes_of_review(folder, review, scores)
    if unit is None or outcome is None:
        raise typer.BadParameter("--unit needs --outcome.")
    own = Experiment.load(folder)
    if own.paired:
        raise typer.BadParameter("A unit of a paired experiment has two outcomes; give --csv.")
    return [Outcome(unit=unit, arm=own.arm_of(unit), value=outcome)]


def _measure(metric: str | None, between: str | None) -> "Measure | None":
    from tagstack.ensemble.experiments.measure import Measure

    if metric is None and between is None:
        return None
    try:
        low, high = map(float, (between or "").split(","))
    except ValueError:
        raise typer.BadParameter("--metric needs --between LOW,HIGH, such as 0,1.") from None
    if metric is None:
        raise typer.BadParameter("--between needs --metric.")
    return Measure.of(metric, low, high)


def _print(
    experiment: "Experiment",
    standing: "ExperimentStanding",
    stopped_s: float | None,
    *,
    as_json: bool,
) -> None:
    from tagstack.ensemble.console.console import out, print_json
    from tagstack.ensemble.experiments.page import progress_of
    from tagstack.ensemble.experiments.running import sentence

    if as_json:
        found: dict[str, Any] = {**asdict(standing), "stopped_s": stopped_s, "curve": None}
        found["means"] = [None if math.isnan(own) else own for own in standing.means]
        found["estimate"] = None if math.isnan(standing.estimate) else standing.estimate
        print_json(found)
        return
    for i, (name, arm) in enumerate(experiment.arms.items()):
        mean = "" if math.isnan(standing.means[i]) else f", mean {standing.means[i]:.3f}"
        out.print(f"{name}: {arm.title}: {standing.counts[i]} outcomes{mean}", soft_wrap=True)
    out.print(sentence(experiment, standing), soft_wrap=True)
    out.print(progress_of(experiment, standing), soft_wrap=True)
    if stopped_s is not None:
        out.print("It is stopped.", soft_wrap=True)
