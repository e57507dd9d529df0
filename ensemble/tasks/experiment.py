"""Experiments: begin one, take outcomes in, say where it stands, end it."""

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tagstack.base_models.atomic import file_sha256, write_text
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.experiments import ExperimentSettings
from tagstack.configs.tables import number_of, read_table
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.files import MANIFEST, check_bundle, load_bundle
from tagstack.ensemble.experiments.contrast import A, B, Outcome
from tagstack.ensemble.experiments.experiment import FILE, Experiment, ExperimentArm
from tagstack.ensemble.experiments.measure import Measure
from tagstack.ensemble.experiments.outcomes import OutcomeStore
from tagstack.ensemble.experiments.page import render_page
from tagstack.ensemble.experiments.planning import expected_duration
from tagstack.ensemble.experiments.running import ExperimentStanding, standing_of
from tagstack.ensemble.experiments.worth import Worths, range_of, worths_from
from tagstack.ensemble.thresholds.versions import ThresholdVersions
from tagstack.meta.metrics.utility import utility_of

NOTE = "note:"
_CHUNK = 512


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What was taken in: new outcomes, and those whose unit had one already."""

    n_new: int
    n_known: int


def arm_from(text: str) -> ExperimentArm:
    """Return the arm that ``BUNDLE``, ``BUNDLE@VERSION`` or ``note:TEXT`` means.

    Raises
    ------
    TagstackError
        If it means no bundle, or no version of its thresholds.
    """
    if text.startswith(NOTE):
        note = text.removeprefix(NOTE).strip()
        if not note:
            raise TagstackError(f"{text!r} says nothing; expected a description after {NOTE!r}.")
        return ExperimentArm(note=note)
    whole = Path(text)
    folder, at, version = text.rpartition("@")
    if (whole / MANIFEST).is_file() or not at:
        folder, version = text, "current"
    path = Path(folder).absolute()
    check_bundle(path)
    versions = ThresholdVersions(path)
    return ExperimentArm(
        bundle=str(path),
        manifest=file_sha256(path / MANIFEST),
        thresholds=versions.resolve(version),
    )


def bundle_of(arm: ExperimentArm) -> Bundle:
    """Return an arm's bundle with its thresholds, as they were when the experiment began.

    Raises
    ------
    TagstackError
        If the arm is none of a bundle, or the bundle is another now.
    """
    if not arm.bundle:
        raise TagstackError(f"The arm {arm.note!r} is no bundle; give its outcomes with --csv.")
    folder = Path(arm.bundle)
    check_bundle(folder)
    if file_sha256(folder / MANIFEST) != arm.manifest:
        msg = f"{folder} is another bundle than at the start. Restore it, or begin anew."
        raise TagstackError(msg)
    bundle, versions = load_bundle(folder), ThresholdVersions(folder)
    thresholds = versions.thresholds(arm.thresholds)
    return replace(bundle, thresholds=thresholds, threshold_version=arm.thresholds)


def start_experiment(
    folder: Path,
    arms: Mapping[str, str],
    settings: ExperimentSettings,
    *,
    name: str,
    outcome: str,
    paired: bool,
    utility: Path | None = None,
    measure: Measure | None = None,
) -> Experiment:
    """Begin an experiment in a folder of its own and return it, its expected duration included.

    ``utility`` is a table of what decisions are worth, ``measure`` a package's metric: answers of
    a review then count by it.

    Raises
    ------
    TagstackError
        If the folder holds one, an arm is none, or table or metric cannot be used for the arms.
    """
    if (folder / FILE).exists():
        msg = f"{folder} holds an experiment already, which stays. Choose another folder."
        raise TagstackError(msg)
    found = {arm: arm_from(text) for arm, text in arms.items()}
    if found[A] == found[B]:
        msg = f"Both arms are {found[A].title!r}; expected two that differ."
        raise TagstackError(msg)
    worths: Worths = {}
    if ways := [own for own in (utility, measure) if own is not None]:
        _check_judging(found.values(), paired=paired, n_ways=len(ways))
    if measure is not None:
        outcome = measure.text
    if utility is not None:
        worths = _worths(utility, found.values())
        low, high = range_of(worths)
        outcome = f"worth of an answer, from {low:g} (0) to {high:g} (1)"
    salt = secrets.token_hex(16)
    plan = expected_duration(
        settings.baseline,
        settings.effect,
        alpha=settings.alpha,
        share=settings.share,
        paired=paired,
        seed=0,
    )
    experiment = Experiment(
        name=name,
        outcome=outcome,
        arms=found,
        share=settings.share,
        paired=paired,
        alpha=settings.alpha,
        effect=settings.effect,
        baseline=settings.baseline,
        salt=salt,
        started_s=time.time(),
        plan=asdict(plan),
        utility=worths,
        measure=measure,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        experiment.save(folder)
    except OSError as error:
        raise TagstackError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    return experiment


def _check_judging(arms: Iterable[ExperimentArm], *, paired: bool, n_ways: int) -> None:
    """Refuse what answers of a review cannot be measured by."""
    if n_ways > 1:
        raise TagstackError("--utility and --metric each say what answers are worth; give one.")
    if not paired or not all(arm.bundle for arm in arms):
        msg = (
            "--utility and --metric are for answers of a review, which judge both arms of every "
            "picture: they need --paired and two bundles. For a table, give outcomes that are "
            "worths already."
        )
        raise TagstackError(msg)


def _worths(table: Path, arms: Iterable[ExperimentArm]) -> Worths:
    """Return the worths of a table's rows, over the tags of both arms."""
    parts = [load_bundle(Path(arm.bundle)).vocabulary for arm in arms]
    known = {
        tag: name for part in parts for tag, name in zip(part.tags, part.categories, strict=True)
    }
    vocabulary = Vocabulary(tuple(known), tuple(known.values()))
    worth = utility_of(str(table), vocabulary)
    assert worth is not None  # a table was named
    return worths_from(worth, vocabulary)


def record_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> Recorded:
    """Keep outcomes that belong to an experiment.

    Raises
    ------
    TagstackError
        If one is not in [0, 1], or of an arm that its unit was not given.
    """
    experiment = Experiment.load(folder)
    for outcome in outcomes:
        _check(experiment, outcome)
    with OutcomeStore(folder) as store:
        n_new = store.record(outcomes)
    return Recorded(n_new=n_new, n_known=len(outcomes) - n_new)


def outcomes_of_table(folder: Path, table: Path) -> list[Outcome]:
    """Return the outcomes in a CSV file: ``unit,outcome``, ``unit,arm,outcome`` or ``unit,a,b``.

    Raises
    ------
    TagstackError
        If columns are missing or a cell cannot be meant.
    """
    experiment = Experiment.load(folder)
    read = read_table(table, what="outcomes", expected=("unit", "outcome", "arm", "a", "b"))
    both = {"unit", "a", "b"} <= set(read.columns)
    if not both and not {"unit", "outcome"} <= set(read.columns):
        msg = (
            f"{table} has the columns {read.shown}; expected unit and outcome (and arm), "
            "or unit, a and b."
        )
        raise TagstackError(msg)
    if experiment.paired and not both and "arm" not in read.columns:
        msg = f"{table} has no column 'arm': in a paired experiment every unit has both. Add it."
        raise TagstackError(msg)
    found: list[Outcome] = []
    for row in read.rows:
        where = f"{table.name}, line {row.line}"
        unit = row.cells["unit"]
        if both:
            for arm in (A, B):
                value = number_of(row.cells[arm.lower()], where)
                found.append(Outcome(unit=unit, arm=arm, value=value))
            continue
        arm = row.cells.get("arm", "").strip().upper() or experiment.arm_of(unit)
        value = number_of(row.cells["outcome"], where)
        found.append(Outcome(unit=unit, arm=arm, value=value))
    return found


def status_of(folder: Path) -> tuple[Experiment, ExperimentStanding, float | None]:
    """Return an experiment, where it stands, and when it was stopped."""
    experiment = Experiment.load(folder)
    with OutcomeStore(folder) as store:
        outcomes, stopped = list(store.all()), store.stopped_s
    return experiment, standing_of(experiment, outcomes), stopped


def write_page(folder: Path, target: Path) -> None:
    """Write the page of an experiment."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, render_page(*status_of(folder)))
    except OSError as error:
        raise TagstackError(f"Cannot write {target}: {error.strerror or error}.") from error


def stop_experiment(folder: Path) -> None:
    """End an experiment: no outcome is taken any more."""
    Experiment.load(folder)
    with OutcomeStore(folder) as store:
        store.stop()


def _check(experiment: Experiment, outcome: Outcome) -> None:
    if not 0 <= outcome.value <= 1:  # NaN is neither
        msg = f"The outcome of {outcome.unit!r:.80} is {outcome.value}; expected one in [0, 1]."
        raise TagstackError(msg)
    if outcome.arm not in (A, B):
        msg = f"The arm of {outcome.unit!r:.80} is {outcome.arm!r:.20}; expected A or B."
        raise TagstackError(msg)
    if not outcome.unit.strip():
        raise TagstackError("An outcome has no unit; expected a name, such as a picture's hash.")
    if not experiment.paired and outcome.arm != (given := experiment.arm_of(outcome.unit)):
        msg = (
            f"{outcome.unit!r:.80} belongs to arm {given}, not {outcome.arm}: chance has to give "
            "the arms. `tagstack experiment arm` says which one a unit gets."
        )
        raise TagstackError(msg)
