"""Pulling a published scorer: from a contract's ``[hub]`` to a folder that its name opens.

As of taggers: first the hub is asked what it has, then the user decides, then it is downloaded,
run once on a picture, and recorded, so that the same name gives the same bytes ever after.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tagstack.base_models.atomic import write_text
from tagstack.base_models.taggers.hub import Report, hub_state
from tagstack.base_models.taggers.own_folder import registry_folder
from tagstack.base_models.taggers.pull_record import (
    PullRecord,
    check_pulled,
    read_record,
    record_path,
)
from tagstack.base_models.taggers.pulling import (
    PullPlan,
    alone,
    check_room,
    entered,
    fetched,
)
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.workshop.quality.scorers.network import (
    SCORER_FILE,
    as_tagger,
    open_network,
    shipped_contract,
    shipped_contracts,
    shipped_text,
)

UNTRIED = "nobody has run this contract with its real weights yet: look at some scores first"


@dataclass(frozen=True, kw_only=True)
class ScorerPlan(PullPlan):
    """What a pull of a scorer would do."""

    @property
    def home(self) -> Path:
        """Where pulled scorers are."""
        return scorers_folder()

    @property
    def notes(self) -> tuple[str, ...]:
        """What one should know before the download, a line each."""
        return (*super().notes, UNTRIED)


@dataclass(frozen=True, kw_only=True)
class PulledScorer:
    """A scorer that is here.

    Parameters
    ----------
    name : str
    folder : Path
    commit : str
        Of the first pull.
    grey : float
        What it says of a grey picture: it runs.
    unverified : tuple of str
        What of its contract was found in no source.
    """

    name: str
    folder: Path
    commit: str
    grey: float
    unverified: tuple[str, ...]


def scorers_folder() -> Path:
    """Return the folder of pulled scorers; it need not exist."""
    return registry_folder().parent / "scorers" / "networks"


def pulled_folder(name: str) -> Path | None:
    """Return where a pulled scorer is, its files as they were; None where it is not here.

    Raises
    ------
    TagstackError
        If a file is gone or differs from what was first pulled.
    """
    folder = scorers_folder() / name
    return folder if name in shipped_contracts() and check_pulled(folder) is not None else None


def pulled_before(name: str) -> PulledScorer | None:
    """Return the scorer if it is here; None if it is not.

    Raises
    ------
    TagstackError
        If no such contract comes with the package, or files have changed.
    """
    shipped_contract(name)
    folder = pulled_folder(name)
    return None if folder is None else _tried(name, folder)


def plan_scorer(name: str) -> ScorerPlan:
    """Ask the hub what pulling a scorer would fetch; nothing is downloaded.

    Raises
    ------
    TagstackError
        If no such contract comes with the package, it is not on the hub, or that cannot be asked.
    """
    contract, text = shipped_contract(name), shipped_text(name)
    if contract.hub is None:
        msg = (
            f"{name!r} cannot be pulled: no ONNX file is known to be published. Fetch it by hand "
            f"from {contract.source} and say --scorer {name}=FOLDER."
        )
        raise TagstackError(msg)
    path = record_path(scorers_folder(), name)
    record = read_record(path)
    revision = contract.hub.revision or (record.commit if record else None)
    state = hub_state(contract.hub, contract.needed, (), revision)
    if record is None or (record.repo, record.commit) != (state.repo, state.commit):
        record = PullRecord(path=path, repo=state.repo, commit=state.commit, files={})
    return ScorerPlan(
        name=name, contract=as_tagger(contract), text=text, state=state, record=record
    )


def pull_scorer(plan: ScorerPlan, report: Report) -> PulledScorer:
    """Download a scorer, run it once, and keep it under its name; run again to go on.

    Parameters
    ----------
    plan : ScorerPlan
    report : callable
        Called with a file's name, the bytes of it that are here and its size.

    Raises
    ------
    TagstackError
        If a download fails, a file is not what the hub says or what the first pull recorded, the
        network does not fit its contract, or there is no room.
    """
    try:
        with alone(plan):
            plan.staging.mkdir(parents=True, exist_ok=True)
            check_room(plan)
            plan.record.write()  # an interrupted first pull goes on at the same commit
            sums = fetched(plan, report)
            write_text(plan.staging / SCORER_FILE, plan.text)
            found = _tried(plan.name, plan.staging)
            entered(plan, sums)
    except OSError as error:
        msg = f"Cannot write {plan.target}: {error.strerror or error}. Set TAGSTACK_HOME elsewhere."
        raise TagstackError(msg) from error
    return replace(found, folder=plan.target, commit=plan.state.commit)


def _tried(name: str, folder: Path) -> PulledScorer:
    scorer = open_network(folder, threads=1)
    try:
        grey = float(scorer.function(np.full((64, 48, 3), 128, np.uint8)))
    finally:
        scorer.close()
    record = read_record(record_path(scorers_folder(), name))
    return PulledScorer(
        name=name,
        folder=folder,
        commit="" if record is None else record.commit,
        grey=grey,
        unverified=shipped_contract(name).unverified,
    )
