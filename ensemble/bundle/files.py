"""A bundle as one folder, written whole or not at all and checked before it is read.

The folder holds TOML, CSV, JSON, safetensors, LightGBM text and XGBoost UBJSON, never pickled
objects, and a manifest with the SHA-256 of every file.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack import __version__
from tagstack.base_models.array_files import write_arrays
from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.staging import recover, staged_folder
from tagstack.base_models.trials import Trial
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import MIB, own_file, own_path
from tagstack.configs.settings import Settings, load_settings
from tagstack.configs.text_files import read_json
from tagstack.ensemble.bundle.bundle import Bundle, BundleMember
from tagstack.ensemble.bundle.cascade import FOLDER as CASCADE
from tagstack.ensemble.bundle.cascade import Cascade
from tagstack.ensemble.bundle.fitted_images import FittedImages
from tagstack.ensemble.bundle.out_of_fold import FILE as OUT_OF_FOLD
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds.rung_tables import checked_tables
from tagstack.ensemble.thresholds.table import Thresholds
from tagstack.ensemble.thresholds.versions import FOLDER as VERSIONS
from tagstack.ensemble.thresholds.versions import ThresholdVersions
from tagstack.meta.checked_arrays import CheckedArrays
from tagstack.meta.stack.stacker import Stacker
from tagstack.meta.stack.start_stack import StartStack, is_start

FORMAT = 1
MANIFEST = "manifest.json"
_MARKS = ("stack", "rules.toml", "thresholds.csv")  # whatever else a bundle lacks, it has one
_RUNGS, _FITTED = "rung_thresholds.safetensors", "fitted_images.safetensors"
# What reading a file that says anything at all may raise.
_DAMAGED = (OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError)
# A hundred thousand tags take 5 MB in the manifest; a stack of them some 500 MB.
_MANIFEST_BYTES, _FILE_BYTES = 256 * MIB, 16_384 * MIB
_KINDS = {
    "tagstack": str,
    "members": list,
    "evidence": dict,
    "settings": dict,
    "tags": list,
    "categories": list,
    "files": dict,
}


def save_bundle(bundle: Bundle, directory: Path, *, overwrite: bool = False) -> None:
    """Write a bundle to ``directory``, whole or not at all.

    Raises
    ------
    TagstackError
        If the folder exists and ``overwrite`` is false, it holds something else than a bundle, or
        the system refuses to write.
    """
    refuse_existing(directory, overwrite=overwrite)
    refuse_other_content(directory)
    try:
        with staged_folder(directory) as folder:
            _write_files(bundle, folder)
            _write_manifest(bundle, folder)
            trial_of(folder).remember()  # what was fitted here needs no trial
    except OSError as error:
        msg = f"Cannot write the bundle {directory}: {error.strerror}. Nothing of it was kept."
        raise TagstackError(msg) from error


def load_bundle(directory: Path) -> Bundle:
    """Return the bundle in ``directory``, after checking every file against the manifest.

    A bundle that was not made on this machine may come from a stranger, who hashes what he likes.
    Once, it is loaded and asked in a process of its own, which may crash or be ended.

    Raises
    ------
    TagstackError
        If it is no bundle, of another format, incomplete or changed, or holds numbers that a
        stack cannot have.
    """
    if not os.path.lexists(directory):
        recover(directory)  # a killed run may have moved it aside
    manifest = _read_manifest(directory)
    _check_files(directory, manifest["files"])
    if trial_of(directory).once(load_settings().score.trial_seconds):
        return loaded_bundle(directory)  # trials take a while: another may lie there by now
    return _of_checked_files(directory, manifest)


def trial_of(directory: Path) -> Trial:
    """Return the trial of the bundle in a folder."""
    return Trial(
        facts=(file_sha256(directory / MANIFEST),),
        packages=("lightgbm", "xgboost", "numpy", "scipy", "safetensors"),
        module="tagstack.ensemble.bundle.trial",
        arguments=(str(directory.absolute()),),
        what=f"The bundle {directory}",
    )


def loaded_bundle(directory: Path) -> Bundle:
    """Return the bundle in ``directory``, in this process whatever it is; see `load_bundle`."""
    manifest = _read_manifest(directory)
    _check_files(directory, manifest["files"])
    return _of_checked_files(directory, manifest)


def _of_checked_files(directory: Path, manifest: Mapping[str, Any]) -> Bundle:
    from safetensors import SafetensorError

    try:
        return _loaded(directory, manifest)
    except (*_DAMAGED, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        msg = f"Cannot read the bundle {directory}: {reason}. Copy it again or fit it again."
        raise TagstackError(msg) from error


def _loaded(directory: Path, manifest: Mapping[str, Any]) -> Bundle:
    vocabulary = Vocabulary(tuple(manifest["tags"]), tuple(manifest["categories"]))
    settings = _settings(directory, manifest)
    versions = ThresholdVersions(directory)
    version = versions.current
    thresholds = versions.thresholds(version)
    if thresholds.vocabulary.tags != vocabulary.tags:
        msg = f"Thresholds {version} of {directory} are for other tags. Use another version."
        raise TagstackError(msg)
    stacker = _load_stack(directory / "stack")
    members = tuple(BundleMember(**member) for member in manifest["members"])
    own = stacker if isinstance(stacker, StartStack) else stacker.stack_
    taggers = own.members if isinstance(own, StartStack) else own.taggers
    if own.vocabulary != vocabulary or taggers != _names(members):
        msg = f"The stack in {directory} is of other tags or taggers than its manifest. Fit again."
        raise TagstackError(msg)
    rungs = versions.rung_thresholds(version)
    at_fit = Thresholds.from_csv(directory / "thresholds.csv") if rungs is None else thresholds
    return Bundle(
        members=members,
        vocabulary=vocabulary,
        stacker=stacker,
        rules=Rules.from_toml((directory / "rules.toml").read_text(encoding="utf-8")),
        thresholds=thresholds,
        rung_thresholds=_rung_thresholds(directory, vocabulary) if rungs is None else rungs,
        rung_image_cut=at_fit.image_cut,
        threshold_version=version,
        fitted_images=FittedImages.from_arrays(
            _load_arrays(directory / _FITTED), settings.score.near_duplicates
        ),
        settings=settings,
        evidence=manifest["evidence"],
        cascade=_cascade(directory / CASCADE, members, vocabulary),
    )


def _load_stack(folder: Path) -> Stacker | StartStack:
    return StartStack.load(folder) if is_start(folder) else Stacker.load(folder)


def _cascade(
    folder: Path, members: tuple[BundleMember, ...], vocabulary: Vocabulary
) -> Cascade | None:
    """Return the cascade in a folder, which is of these taggers and tags; None without one."""
    if not folder.is_dir():
        return None
    found = Cascade.load(folder)
    tags = {head.thresholds.vocabulary.tags for head in found.heads} | {
        head.stacker.stack_.vocabulary.tags for head in found.heads
    }
    if set(found.seconds) != set(_names(members)) or tags != {vocabulary.tags}:
        msg = f"The cascade in {folder} is of other tags or taggers than its bundle. Fit again."
        raise TagstackError(msg)
    return found


def out_of_fold_of(directory: Path) -> OutOfFold | None:
    """Return the out-of-fold probabilities that a bundle keeps; None if it keeps none."""
    from safetensors import SafetensorError

    _check_files(directory, _read_manifest(directory)["files"])
    path = directory / OUT_OF_FOLD
    if not path.is_file():
        return None
    try:
        return OutOfFold.load(path)
    except (*_DAMAGED, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise TagstackError(f"Cannot read {path}: {reason}. Fit the bundle again.") from error


def refuse_existing(directory: Path, *, overwrite: bool) -> None:
    """Raise if ``directory`` holds something that is not to be replaced, or cannot come to be.

    What a command writes at its end is asked for at its beginning.
    """
    _refuse_unwritable(directory)
    empty = os.path.isdir(directory) and not os.listdir(directory)
    if os.path.lexists(directory) and not empty and not overwrite:
        msg = f"{directory} exists. Choose another folder or pass --overwrite to replace it."
        raise TagstackError(msg)


def _refuse_unwritable(path: Path) -> None:
    """Raise if a path's name is too long, or no folder above it lets a file be made."""
    try:
        parents = path.absolute().parents or (path,)  # "/" has none
        above = next(place for place in parents if os.path.lexists(place))
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
    except OSError as error:
        msg = f"Cannot write {path}: {error.strerror}. Choose another place."
        raise TagstackError(msg) from error
    if not above.is_dir():
        raise TagstackError(f"Cannot write {path}: {above} is no folder. Choose another place.")
    if not os.path.lexists(path) and not os.access(above, os.W_OK | os.X_OK):
        msg = f"Cannot write {path}: {above} may not be written to. Choose another place."
        raise TagstackError(msg)


def refuse_other_content(directory: Path) -> None:
    """Raise if replacing ``directory`` would delete something that is no bundle.

    Raises
    ------
    TagstackError
        If it is a file, or a folder that holds other things than a bundle.
    """
    try:
        ours = not os.path.lexists(directory) or not any(directory.iterdir())
    except OSError as error:
        msg = f"{directory} is no folder that can be read: {error.strerror}. Choose another."
        raise TagstackError(msg) from error
    # Other programs have a manifest.json, too.
    named = (directory / MANIFEST).is_file()
    if not ours and not (named and any((directory / own).exists() for own in _MARKS)):
        lacking = f"nothing of a bundle beside its {MANIFEST}" if named else f"no {MANIFEST}"
        msg = (
            f"{directory} holds files but {lacking}, so it is no bundle, and replacing it "
            "would delete them. Choose another folder."
        )
        raise TagstackError(msg)


def _write_files(bundle: Bundle, folder: Path) -> None:
    bundle.stacker.save(folder / "stack")
    (folder / "rules.toml").write_text(bundle.rules.to_toml(), encoding="utf-8")
    bundle.thresholds.to_csv(folder / "thresholds.csv")
    write_arrays(folder / _RUNGS, bundle.rung_thresholds)
    write_arrays(folder / _FITTED, bundle.fitted_images.arrays())
    if bundle.cascade is not None:
        bundle.cascade.save(folder / CASCADE)
    if bundle.out_of_fold is not None:
        bundle.out_of_fold.save(folder / OUT_OF_FOLD)


def _write_manifest(bundle: Bundle, folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "format": FORMAT,
        "tagstack": __version__,
        "members": [asdict(member) for member in bundle.members],
        "evidence": bundle.evidence,
        "settings": bundle.settings.model_dump(mode="json"),
        "tags": bundle.vocabulary.tags,
        "categories": bundle.vocabulary.categories,
        "files": {path.relative_to(folder).as_posix(): file_sha256(path) for path in files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def check_bundle(directory: Path) -> None:
    """Raise a `TagstackError` that says how to make a bundle, unless the folder is one."""
    if not os.path.isfile(directory / MANIFEST):
        found = f"it holds no {MANIFEST}" if os.path.isdir(directory) else "no such folder"
        if os.path.isfile(directory):
            found = "it is a file, expected a folder"
        msg = (
            f"{directory} is no bundle: {found}. Make one: `tagstack fit` from labelled images, "
            "`tagstack start` without labels; or name another with --bundle."
        )
        raise TagstackError(msg)


def _read_manifest(directory: Path) -> dict[str, Any]:
    check_bundle(directory)
    path = directory / MANIFEST
    try:
        manifest = read_json(path, limit=_MANIFEST_BYTES)
    except TagstackError as error:
        msg = f"{directory} is no bundle: {error}"
        raise TagstackError(msg) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        msg = f"{directory} has bundle format {found!r}, expected {FORMAT}. Fit it again."
        raise TagstackError(msg)
    wrong = [key for key, kind in _KINDS.items() if not isinstance(manifest.get(key), kind)]
    wanted = {field.name for field in fields(BundleMember)}
    if not wrong and not all(set(member) == wanted for member in manifest["members"]):
        wrong = ["members"]
    if wrong:
        msg = f"{directory / MANIFEST} is damaged: {', '.join(wrong)}. Copy or fit it again."
        raise TagstackError(msg)
    return dict(manifest)


def _settings(directory: Path, manifest: Mapping[str, Any]) -> Settings:
    """Return a bundle's settings; those that came up since it was fitted have their defaults."""
    try:
        return load_settings(changes=manifest["settings"])
    except TagstackError as error:
        msg = (
            f"Bundle {directory} was fitted by tagstack {manifest['tagstack']} with settings that "
            f"{__version__} no longer has. {error} Fit it again."
        )
        raise TagstackError(msg) from error


def _check_files(directory: Path, files: Mapping[str, str]) -> None:
    present = {
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    } - {MANIFEST}
    # Versions of the thresholds come later, and carry hashes of their own.
    present = {name for name in present if not name.startswith(f"{VERSIONS}/")}
    for name in sorted(present ^ set(files)):
        own_path(directory, name, said_by=directory / MANIFEST)
        state = "is missing" if name in files else "is not in the manifest"
        msg = f"Bundle {directory}: {name} {state}. Copy the bundle again or fit it again."
        raise TagstackError(msg)
    for name, expected in files.items():
        path = own_file(directory, name, max_bytes=_FILE_BYTES, said_by=directory / MANIFEST)
        if file_sha256(path) != expected:
            msg = f"Bundle {directory}: {name} was changed or truncated. Copy or fit it again."
            raise TagstackError(msg)


def _names(members: Iterable[BundleMember]) -> tuple[str, ...]:
    return tuple(member.name for member in members)


def _rung_thresholds(directory: Path, vocabulary: Vocabulary) -> dict[str, NDArray[np.float32]]:
    arrays = CheckedArrays(_load_arrays(directory / _RUNGS), _RUNGS)
    return checked_tables(arrays, len(vocabulary))


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load_file

    return dict(load_file(path))
