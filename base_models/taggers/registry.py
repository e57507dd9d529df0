"""Taggers by name: those shipped with the package, published contracts, and the user's own.

A name is looked up in three places. The user's registry (``TAGSTACK_HOME``, else
``XDG_DATA_HOME/tagstack``, else ``~/.local/share/tagstack``) holds what ``models add`` put there.
The package holds small taggers of its own, and contracts of published ones without their weights:
those become usable once a folder with the weights has been added (admission.py) or pulled from
the hub (pulling.py). Nothing here downloads anything.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tagstack.base_models.contract import (
    CONTRACT_FILE,
    Contract,
    contract_toml,
    read_contract,
    text_with_features,
    with_features,
)
from tagstack.base_models.staging import recover, staged_folder
from tagstack.base_models.tag_names import did_you_mean
from tagstack.base_models.taggers.asked_names import MIRRORED, asked_for
from tagstack.base_models.taggers.own_folder import (
    TaggerFiles,
    described_files,
    registry_folder,
    tagger_files,
)
from tagstack.base_models.taggers.pull_record import check_pulled
from tagstack.base_models.taggers.timm_contract import (
    PUBLISHER_FILES,
    contract_of_folder,
    describes_itself,
    timm_contract,
)
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import EVERY_MEMBER, ScoreSettings
from tagstack.configs.own_files import DESCRIPTION_BYTES
from tagstack.configs.text_files import read_text

if TYPE_CHECKING:  # who looks a name up loads nothing: what does is imported where it is used
    from tagstack.base_models.taggers.check import CheckReport
    from tagstack.base_models.taggers.tagger import Tagger

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RegistryEntry:
    """A tagger that has a name.

    Parameters
    ----------
    name : str
        What ``--models`` takes.
    origin : str
        ``"package"``, ``"user"`` or ``"contract"`` (known, but without weights).
    contract : Contract
    folder : Path or None
        Where the files lie; None without weights.
    """

    name: str
    origin: str
    contract: Contract
    folder: Path | None

    @property
    def missing_files(self) -> tuple[str, ...]:
        """Files that the contract names and that are not there."""
        files = self.contract.files
        wanted = files.needed
        if self.folder is None:
            return wanted
        return tuple(name for name in wanted if not (self.folder / name).is_file())


def list_taggers() -> tuple[RegistryEntry, ...]:
    """Return every tagger with a name, sorted; the user's own hide others of that name.

    One whose contract cannot be read costs itself alone: it is logged and left out.
    """
    found = (_first_readable(name, places) for name, places in sorted(_places().items()))
    return tuple(entry for entry in found if entry is not None)


def show_tagger(name: str) -> RegistryEntry:
    """Return the tagger of a name; no other's contract is read.

    Raises
    ------
    TagstackError
        If no tagger has it, or its contract cannot be read. The message names similar ones.
    """
    places = _places()
    entry = _first_readable(name, places.get(name, ()))
    if entry is not None:
        return entry
    for place in places.get(name, ()):
        read_contract(place.contract)  # says what is wrong with it
    known = [entry.name for entry in list_taggers()]
    hint = did_you_mean(name, known)
    said = f"{hint} `tagstack models list` has all of them." if hint else f"Known taggers: {known}."
    raise TagstackError(f"Unknown tagger {name!r}. {said}")


def resolve(name_or_folder: str) -> Path:
    """Return the folder of a tagger given by registry name or by folder.

    Raises
    ------
    TagstackError
        If there is none, or files are missing; the message says which file goes where.
    """
    given = Path(name_or_folder)
    if _names_folder(name_or_folder):
        return _complete_folder(given)
    entry = show_tagger(name_or_folder)
    if entry.folder is None:
        files = entry.contract.files
        pull = f"Run `tagstack models pull {entry.name}`, or get" if entry.contract.hub else "Get"
        msg = (
            f"Tagger {entry.name!r} is known but its weights are not here. {pull} "
            f"{' and '.join(files.needed)} from {entry.contract.source} and run: "
            f"tagstack models add FOLDER --contract {entry.name}"
        )
        raise TagstackError(msg)
    return _complete_folder(entry.folder)


def load_taggers(
    names: list[str] | tuple[str, ...], settings: ScoreSettings, *, threads: int
) -> "tuple[Tagger, ...]":
    """Return the taggers of registry names or folders, loaded and checked.

    With `MIRRORED` after its name or folder a tagger sees the mirrored picture as well.

    Raises
    ------
    TagstackError
        If one cannot be found or loaded, or two have the same member name.
    """
    from tagstack.base_models.runtimes.selection import RuntimeChoice
    from tagstack.base_models.taggers.tagger import load_tagger
    from tagstack.base_models.taggers.trial import try_tagger

    loaded: dict[str, Tagger] = {}
    runtime = RuntimeChoice.of_settings(settings)
    for name in names:
        plain, mirrored = asked_for(name)
        folder = resolve(plain)
        check_pulled(folder)
        try_tagger(folder, settings.trial_seconds)
        ending = MIRRORED if mirrored else ""
        contract = contract_of_folder(folder)
        tagger = load_tagger(
            folder,
            floor=settings.floor,
            threads=threads,
            # A bundle keeps this, and is used from other working folders.
            source=str(folder.absolute()) + ending if _names_folder(plain) else name,
            runtime=runtime,
            scaled_decoding=settings.scaled_decoding,
            features=wants_features(settings, contract.name + ending),
            sided=settings.sided if mirrored else None,
        )
        if tagger.name in loaded:
            msg = (
                f"{loaded[tagger.name].folder} and {folder} are both named {tagger.name!r}; "
                f"members need distinct names. Change `name` in one {CONTRACT_FILE}."
            )
            raise TagstackError(msg)
        loaded[tagger.name] = tagger
    if not loaded:
        raise TagstackError("No tagger given; expected registry names or folders.")
    lacking = sorted(set(settings.features) - {EVERY_MEMBER, *loaded})
    if lacking:
        msg = (
            f"score.features names {lacking[0]!r}, which is none of the taggers {list(loaded)}. "
            f"Name some of these, or {EVERY_MEMBER!r}."
        )
        raise TagstackError(msg)
    return tuple(loaded.values())


def wants_features(settings: ScoreSettings, member: str) -> bool:
    """Return whether a member's features are to be kept."""
    return not {EVERY_MEMBER, member}.isdisjoint(settings.features)


def scored_contract(folder: Path, settings: ScoreSettings) -> Contract:
    """Return a tagger's contract as scoring under these settings uses it.

    It names features where they are to be kept, and only there: a session gives what it names.

    Raises
    ------
    TagstackError
        If there is no contract, or no features in the network that are asked for.
    """
    from tagstack.base_models.taggers.last_product import features_of

    contract = contract_of_folder(folder)
    wanted = wants_features(settings, contract.name)
    return with_features(contract, features_of(folder, contract) if wanted else None)


def _names_folder(name_or_folder: str) -> bool:
    return os.sep in name_or_folder or os.path.isdir(name_or_folder)


def _complete_folder(folder: Path) -> Path:
    if not os.path.isdir(folder):  # unlike Path.is_dir, this takes names of any length
        raise TagstackError(f"There is no folder {folder}; expected one holding a tagger.")
    if not ((folder / CONTRACT_FILE).is_file() or describes_itself(folder)):
        raise TagstackError(no_contract(folder))
    return folder


def no_contract(folder: Path) -> str:
    """Return what to say of a folder that nothing describes."""
    return (
        f"{folder} has no {CONTRACT_FILE}. Write one, or if a published contract describes the "
        f"files: tagstack models add {folder} --contract NAME (see `tagstack models list`)."
    )


class _Place(NamedTuple):
    """Where a contract lies, and its tagger's folder if it is one."""

    origin: str
    contract: Path
    folder: Path | None


def _places() -> dict[str, tuple[_Place, ...]]:
    """Return by name where contracts lie, the user's own first; none of them is read."""
    found: dict[str, tuple[_Place, ...]] = {}
    for origin, parent in (
        ("user", registry_folder()),
        ("package", package_folder("tagstack.base_models", "zoo")),
    ):
        for path in parent.glob(f"[!.]*/{CONTRACT_FILE}"):  # hidden ones are on their way here
            name = path.parent.name
            found[name] = (*found.get(name, ()), _Place(origin, path, path.parent))
    for path in package_folder("tagstack.configs", "taggers").glob("*.toml"):
        found[path.stem] = (*found.get(path.stem, ()), _Place("contract", path, None))
    return found


def _first_readable(name: str, places: Sequence[_Place]) -> RegistryEntry | None:
    """Return the tagger of the first contract that can be read; the others are logged."""
    for origin, path, folder in places:
        try:
            return RegistryEntry(
                name=name, origin=origin, contract=read_contract(path), folder=folder
            )
        except TagstackError as error:
            logger.warning("Tagger %s is left out. %s", name, error)
    return None


def package_folder(package: str, name: str) -> Path:
    """Return a folder of files that ship inside a package."""
    # Files of an installed package; a zipped one is not supported (setuptools never makes one).
    return Path(str(resources.files(package))) / name


def add_tagger(
    folder: Path,
    settings: ScoreSettings,
    *,
    contract: str | None = None,
    copy: bool = False,
) -> "CheckReport":
    """Check a tagger's folder and enter it in the user's registry under its contract's name.

    Parameters
    ----------
    folder : Path
        Holds the model and the tag file, and, unless ``contract`` is given, ``tagger.toml`` or
        the publisher's own description (``preprocess.json``), which becomes one.
    settings : ScoreSettings
    contract : str, optional
        Name of a contract in ``configs/taggers`` that describes the files.
    copy : bool
        Copy the files instead of linking to them.

    Returns
    -------
    CheckReport
        Nothing is entered unless it passed.

    Raises
    ------
    TagstackError
        If a file is missing, the name is taken, or the registry cannot be written.
    """
    from tagstack.base_models.runtimes.selection import RuntimeChoice
    from tagstack.base_models.taggers.check import check_tagger

    facts, text = contract_and_text(folder, contract)
    target = registry_folder() / facts.name
    recover(target)  # a run may have been killed after it was done
    if target.exists():
        raise TagstackError(f"{target} exists. Remove it first to add {facts.name!r} anew.")
    for name in facts.files.needed:
        if not (folder / name).exists():
            raise TagstackError(f"{folder / name} is missing; {facts.name!r} needs it.")
    files = tagger_files(folder, facts)
    # What the publisher says about preprocessing stays beside the contract to compare with.
    names = (*_names(folder, files), *described_files(folder, PUBLISHER_FILES))
    try:
        with staged_folder(target) as staged:
            _fill(staged, folder, text, names, copy=copy)
            runtime = RuntimeChoice.of_settings(settings)
            report = check_tagger(staged, floor=settings.floor, threads=1, runtime=runtime)
            if not report.passed:
                raise _RefusedError(report)
            record_features(staged, text, report)
    except _RefusedError as refused:
        return refused.report
    except OSError as error:
        msg = f"Cannot write {target}: {error.strerror or error}. Set TAGSTACK_HOME elsewhere."
        raise TagstackError(msg) from error
    return report


def record_features(folder: Path, text: str, report: "CheckReport") -> None:
    """Write into a tagger's contract where its check found the features, to look no more."""
    if report.features is not None:
        path = folder / CONTRACT_FILE
        path.write_text(text_with_features(text, report.features, origin=str(path)), "utf-8")


def contract_and_text(folder: Path, name: str | None) -> tuple[Contract, str]:
    """Return the contract for a folder, and the text that states it."""
    path = folder / CONTRACT_FILE
    if name is not None:
        path = package_folder("tagstack.configs", "taggers") / f"{name}.toml"
        if not path.is_file():
            known = sorted(entry.stem for entry in path.parent.glob("*.toml"))
            raise TagstackError(f"Unknown contract {name!r}. Known contracts: {known}.")
    elif not path.is_file():
        if not describes_itself(folder):
            raise TagstackError(no_contract(folder))
        facts = timm_contract(folder)
        return facts, contract_toml(facts)
    return read_contract(path), read_text(path, limit=DESCRIPTION_BYTES)


def _names(folder: Path, files: TaggerFiles) -> tuple[str, ...]:
    """Return the names of a tagger's files below its folder."""
    metrics = () if files.metrics is None else (files.metrics,)
    paths = (files.model, files.tags, *files.weights, *metrics)
    return tuple(path.relative_to(folder).as_posix() for path in paths)


class _RefusedError(Exception):
    """A tagger that failed its check, so that nothing of it is entered."""

    def __init__(self, report: "CheckReport") -> None:
        super().__init__()
        self.report = report


def _fill(staged: Path, folder: Path, text: str, names: tuple[str, ...], *, copy: bool) -> None:
    """Copy or link files that were looked at into a new folder."""
    (staged / CONTRACT_FILE).write_text(text, encoding="utf-8")
    for name in sorted(set(names) - {CONTRACT_FILE}):
        place = staged / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if copy:
            shutil.copyfile(folder / name, place)
        else:
            place.symlink_to((folder / name).resolve())
