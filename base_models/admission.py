"""Entering a tagger's folder in the user's registry, once it has passed its check."""

import shutil
import tempfile
from pathlib import Path

from tagstack.base_models.check import CheckReport, check_tagger
from tagstack.base_models.contract import CONTRACT_FILE, Contract, read_contract
from tagstack.base_models.contract_toml import contract_toml
from tagstack.base_models.registry import no_contract, package_folder, registry_folder
from tagstack.base_models.runtimes.selection import RuntimeChoice
from tagstack.base_models.timm_contract import PUBLISHER_FILES, describes_itself, timm_contract
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings


def add_tagger(
    folder: Path,
    settings: ScoreSettings,
    *,
    contract: str | None = None,
    copy: bool = False,
    threads: int = 1,
) -> CheckReport:
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
    threads : int

    Returns
    -------
    CheckReport
        Nothing is entered unless it passed.

    Raises
    ------
    TagstackError
        If a file is missing, the name is taken, or the registry cannot be written.
    """
    facts, text = contract_and_text(folder, contract)
    target = registry_folder() / facts.name
    if target.exists():
        raise TagstackError(f"{target} exists. Remove it first to add {facts.name!r} anew.")
    for name in (facts.files.model, facts.files.tags):
        if not (folder / name).is_file():
            raise TagstackError(f"{folder / name} is missing; {facts.name!r} needs it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as staging:
            staged = Path(staging) / facts.name
            _fill(staged, folder, text, facts, copy=copy)
            runtime = RuntimeChoice.of_settings(settings)
            report = check_tagger(staged, floor=settings.floor, threads=threads, runtime=runtime)
            if report.passed:
                staged.rename(target)
    except OSError as error:
        msg = f"Cannot write {target}: {error.strerror or error}. Set TAGSTACK_HOME elsewhere."
        raise TagstackError(msg) from error
    return report


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
    return read_contract(path), path.read_text(encoding="utf-8")


def _fill(staged: Path, folder: Path, text: str, facts: Contract, *, copy: bool) -> None:
    staged.mkdir()
    (staged / CONTRACT_FILE).write_text(text, encoding="utf-8")
    # Weights above 2 GB lie in files of their own, named after the model.
    model = facts.files.model
    names = {model, facts.files.tags, *(path.name for path in folder.glob(f"{model}?*"))}
    # What the publisher says about preprocessing stays beside the contract to compare with.
    names |= {name for name in PUBLISHER_FILES if (folder / name).is_file()}
    for name in sorted(names):
        place = staged / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if copy:
            shutil.copyfile(folder / name, place)
        else:
            place.symlink_to((folder / name).resolve())
