"""Pulling a published tagger: from a contract's ``[hub]`` to an entry of the user's registry.

First `plan_pull` asks the hub what it has, then the user decides, then `pull` downloads. Nothing
is fetched by importing this, by using a tagger, or by any other command.
"""

import glob
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.base_models.contract import CONTRACT_FILE, Contract
from tagstack.base_models.locks import ProcessLock
from tagstack.base_models.runtimes.selection import RuntimeChoice
from tagstack.base_models.taggers.check import CheckReport, check_tagger
from tagstack.base_models.taggers.hub import HubState, Report, fetch, hub_state
from tagstack.base_models.taggers.own_folder import registry_folder
from tagstack.base_models.taggers.pull_record import (
    PullRecord,
    check_pulled,
    read_record,
    record_path,
)
from tagstack.base_models.taggers.registry import contract_and_text, record_features, show_tagger
from tagstack.base_models.taggers.timm_contract import PUBLISHER_FILES
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

_COMMIT = 12  # digits, enough to tell commits of one repository
_KEEP_FREE = 1 << 28  # a quarter GiB beyond the download: a full disk harms more than this command


@dataclass(frozen=True, kw_only=True)
class PullPlan:
    """What a pull would do.

    Parameters
    ----------
    name : str
    contract : Contract
    text : str
        The contract's own text.
    state : HubState
        What the hub has, at the commit that would be fetched.
    record : PullRecord
        Of an earlier pull, or the beginning of one.
    """

    name: str
    contract: Contract
    text: str
    state: HubState
    record: PullRecord

    @property
    def home(self) -> Path:
        """Where pulled folders are."""
        return registry_folder()

    @property
    def target(self) -> Path:
        """The folder of this one."""
        return self.home / self.name

    @property
    def staging(self) -> Path:
        """Where files gather; under the commit, so that no two commits ever mix."""
        return self.home / f".pull-{self.name}-{self.state.commit[:_COMMIT]}"

    @property
    def abandoned(self) -> tuple[Path, ...]:
        """Where files of other commits gathered, until something else was to be pulled."""
        found = self.home.glob(f".pull-{glob.escape(self.name)}-{'[0-9a-f]' * _COMMIT}")
        return tuple(path for path in found if path != self.staging)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.state.files)

    @property
    def notes(self) -> tuple[str, ...]:
        """What one should know before the download, a line each."""
        hub = self.contract.hub
        lines = [f"licence: {self.contract.licence}"]
        if self.state.licence is not None:
            lines.append(f"licence on its card: {self.state.licence}")
        if self.state.gated or (hub is not None and hub.gated):
            lines.append("gated: its publisher asks you to accept terms and to log in first")
        lines += [f"{f.name} comes from {f.url}" for f in self.state.files if f.url is not None]
        if hub is not None and hub.changes_in_place:
            lines.append("its publisher replaces files under this name; its licence may change too")
        if hub is not None and hub.note:
            lines.append(hub.note)
        return tuple(lines)


def pulled_before(name: str) -> PullRecord | None:
    """Return the record of a tagger that is here and unchanged; None if it is not here.

    Raises
    ------
    TagstackError
        If the name is unknown, ships with tagstack, was added by hand, or its files have changed.
    """
    entry = show_tagger(name)
    if entry.origin == "package":
        raise TagstackError(f"{name!r} ships with tagstack; there is nothing to pull.")
    if entry.folder is None:
        return None
    record = check_pulled(entry.folder)
    if record is None:
        msg = f"{entry.folder} was added by hand. Remove it first to pull {name!r} instead."
        raise TagstackError(msg)
    return record


def plan_pull(name: str) -> PullPlan:
    """Ask the hub what pulling a tagger would fetch; nothing is downloaded.

    Raises
    ------
    TagstackError
        If the tagger is not on the hub, or the hub cannot be asked.
    """
    contract, text = contract_and_text(Path(), name)
    hub = contract.hub
    if hub is None:
        msg = (
            f"{name!r} cannot be pulled: no ONNX file and tag file that fit are known to be "
            f"published. Fetch or export {contract.files.model} and {contract.files.tags} by hand "
            f"from {contract.source} and run: tagstack models add FOLDER --contract {name}"
        )
        raise TagstackError(msg)
    path = record_path(registry_folder(), name)
    record = read_record(path)
    # A pin in the contract outranks the first pull's commit: it came with a newer tagstack.
    revision = hub.revision or (record.commit if record else None)
    state = hub_state(hub, contract.files.needed, PUBLISHER_FILES, revision)
    if record is None or (record.repo, record.commit) != (state.repo, state.commit):
        record = PullRecord(path=path, repo=state.repo, commit=state.commit, files={})
    return PullPlan(name=name, contract=contract, text=text, state=state, record=record)


def pull(plan: PullPlan, settings: ScoreSettings, report: Report) -> CheckReport:
    """Download a tagger, check it, and enter it in the registry; run again to go on.

    Parameters
    ----------
    plan : PullPlan
    settings : ScoreSettings
    report : callable
        Called with a file's name, the bytes of it that are here and its size.

    Returns
    -------
    CheckReport
        Nothing is entered unless it passed.

    Raises
    ------
    TagstackError
        If a download fails, a file is not what the hub says or what the first pull recorded, or
        there is no room.
    """
    try:
        with alone(plan):
            plan.staging.mkdir(parents=True, exist_ok=True)
            check_room(plan)
            plan.record.write()  # an interrupted first pull goes on at the same commit
            return _pulled(plan, settings, report)
    except OSError as error:
        msg = f"Cannot write {plan.target}: {error.strerror or error}. Set TAGSTACK_HOME elsewhere."
        raise TagstackError(msg) from error


def fetched(plan: PullPlan, report: Report) -> dict[str, str]:
    """Fetch a plan's files into its staging folder; return the SHA-256 of each, in hexadecimal.

    Raises
    ------
    TagstackError
        If a download fails, or a file is not what the hub says or the first pull recorded.
    """
    sums = {file.name: fetch(plan.state, file, plan.staging, report) for file in plan.state.files}
    plan.record.check(sums)
    return sums


def entered(plan: PullPlan, sums: Mapping[str, str]) -> None:
    """Move what was fetched and found good to where it is used, and record what it is."""
    for path in plan.abandoned:
        shutil.rmtree(path, ignore_errors=True)
    replace(plan.record, files=dict(sums)).write()
    plan.staging.rename(plan.target)


@contextmanager
def alone(plan: PullPlan) -> Iterator[None]:
    """Hold the lock of a tagger's name: two pulls would write into the same files.

    Raises
    ------
    TagstackError
        If another process holds it.
    """
    path = plan.record.path.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(path)
    if not lock.take():
        msg = f"Process {lock.owner()} is pulling {plan.name!r}. Wait for it to end."
        raise TagstackError(msg)
    try:
        yield
    finally:
        lock.release()


def _pulled(plan: PullPlan, settings: ScoreSettings, report: Report) -> CheckReport:
    """Fetch and check the files, and move them into the registry if they passed."""
    sums = fetched(plan, report)
    write_text(plan.staging / CONTRACT_FILE, plan.text)
    runtime = RuntimeChoice.of_settings(settings)
    checked = check_tagger(plan.staging, floor=settings.floor, threads=1, runtime=runtime)
    if checked.passed:
        record_features(plan.staging, plan.text, checked)
        entered(plan, sums)
    return checked


def check_room(plan: PullPlan) -> None:
    """Refuse a pull that the disk has no room for."""
    here = sum(path.stat().st_size for path in plan.staging.rglob("*") if path.is_file())
    needed = max(0, plan.size_bytes - here) + _KEEP_FREE
    free = shutil.disk_usage(plan.staging).free
    if free < needed:
        msg = (
            f"{plan.name!r} needs {needed >> 20} MiB below {plan.staging.parent}, where "
            f"{free >> 20} MiB are free. Make room, or set TAGSTACK_HOME elsewhere."
        )
        raise TagstackError(msg)
