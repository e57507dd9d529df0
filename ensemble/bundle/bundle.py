"""A fitted stack as one folder: everything that tagging needs except the taggers' weights.

The folder holds TOML, CSV, JSON, safetensors, LightGBM text and XGBoost UBJSON, never pickled
objects, and a manifest with the SHA-256 of every file. It is written whole or not at all.

A bundle fits the taggers it was fitted with and no others: their fingerprints (weights, contract,
preprocessing, precision, runtime) are in the manifest.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tagstack import __version__
from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.scores.member_info import IMPORTED
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.base_models.staging import recover, staged_folder
from tagstack.base_models.trials import Trial
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import MIB, own_file, own_path
from tagstack.configs.settings import Settings, load_settings
from tagstack.configs.text_files import read_json
from tagstack.ensemble.bundle.fitted_images import FittedImages
from tagstack.ensemble.bundle.out_of_fold import FILE as OUT_OF_FOLD
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.rung_tables import RungTables, checked_tables, cutting_of
from tagstack.ensemble.thresholds.table import Thresholds
from tagstack.ensemble.thresholds.versions import FIT, ThresholdVersions
from tagstack.ensemble.thresholds.versions import FOLDER as VERSIONS
from tagstack.meta.checked_arrays import CheckedArrays
from tagstack.meta.stack.stacker import Stacker
from tagstack.meta.stack.start_stack import StartStack, is_start

FORMAT = 1
MANIFEST = "manifest.json"
_RUNGS, _FITTED = "rung_thresholds.safetensors", "fitted_images.safetensors"
# What reading a file that says anything at all may raise.
_DAMAGED = (OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError)
# A hundred thousand tags take 5 MB in the manifest; a stack of them some 500 MB.
_MANIFEST_BYTES, _FILE_BYTES = 256 * MIB, 16_384 * MIB
NOT_JUDGED = (
    "a start bundle, made without labels: not judged on your images. `tagstack compare` judges it "
    "on labelled ones, `tagstack fit` learns from them."
)
_KINDS = {
    "tagstack": str,
    "members": list,
    "evidence": dict,
    "settings": dict,
    "tags": list,
    "categories": list,
    "files": dict,
}


class Fingerprinted(Protocol):
    """A tagger, or what a score store keeps of one."""

    @property
    def name(self) -> str:
        """Member name."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that changes its scores, in hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class BundleMember:
    """A tagger of a stack.

    Parameters
    ----------
    name : str
    fingerprint : str
        SHA-256 over everything that changes its scores, in hexadecimal.
    source : str
        Registry name or folder that it was found under.
    """

    name: str
    fingerprint: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A fitted stack, or what taggers give together before anyone labelled an image.

    Parameters
    ----------
    members : tuple of BundleMember
        The taggers, in the order of the scores that the stack expects.
    vocabulary : Vocabulary
    stacker : Stacker or StartStack
    rules : Rules
    thresholds : Thresholds
        For the stack's probabilities, on what the rules leave.
    rung_thresholds : mapping of rung name to array, float32
        Thresholds of every rung of the ladder, without and with rules, from the same images under
        the same strategy: see `rung_tables`. Bundles of before have none with rules.
    settings : Settings
        With which it was fitted.
    fitted_images : FittedImages
        Which images it must not be judged on.
    evidence : mapping
        What it was fitted on: images, labels, seed, the ladder of out-of-fold scores.
    threshold_version : str
        Name of the thresholds' version in use; ``fit`` is what the bundle was fitted with.
    rung_image_cut : str
        The cut of each image's list that goes with ``rung_thresholds``; empty for none.
    out_of_fold : OutOfFold, optional
        Held only until the bundle is saved; `out_of_fold_of` reads it back where it is wanted.
    """

    members: tuple[BundleMember, ...]
    vocabulary: Vocabulary
    stacker: Stacker | StartStack
    rules: Rules
    thresholds: Thresholds
    rung_thresholds: RungTables
    settings: Settings
    fitted_images: FittedImages
    evidence: Mapping[str, Any]
    threshold_version: str = FIT
    rung_image_cut: str = ""
    out_of_fold: OutOfFold | None = None

    @property
    def caution(self) -> str:
        """What whoever uses it should know; empty where labels had a say."""
        unseen = isinstance(self.stacker, StartStack) and self.threshold_version == FIT
        return NOT_JUDGED if unseen else ""

    def rung_cutting(self, rung: str) -> Cutting:
        """Return a rung's thresholds as they are applied; its twin's are for the rules."""
        return cutting_of(self.rung_thresholds[rung], self.rung_image_cut)

    def scores(self, reader: ScoreReader, images: Sequence[str] | None = None) -> Level1Scores:
        """Return scores of images as the stack predicts from them; of all by default.

        Parameters
        ----------
        reader : ScoreReader
            With scores of the bundle's taggers.
        images : sequence of str, optional

        Raises
        ------
        TagstackError
            If the taggers, or features of them that the stack needs, are not there.
        """
        found = reader.load(images, _names(self.members), features=self.stacker.needs_features)
        return self.stacker.completed(found)

    def score_chunks(
        self, reader: ScoreReader, n_images: int, images: Sequence[str]
    ) -> Iterator[Level1Scores]:
        """Yield what `scores` would return, at most ``n_images`` images at a time."""
        features, names = self.stacker.needs_features, _names(self.members)
        for chunk in reader.iter_chunks(n_images, images, names, features=features):
            yield self.stacker.completed(chunk)

    def tagger_sources(self, given: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return where the taggers are: as ``given``, else where they were at fit time.

        Raises
        ------
        TagstackError
            If a folder of fit time is not there, the message says how to name the new one; if a
            member was imported, that it has no tagger.
        """
        for member in self.members:
            if member.source.startswith(IMPORTED):
                msg = (
                    f"The bundle's member {member.name!r} is scores that were imported, so it "
                    "cannot score new pictures. Import scores of these too (`tagstack scores "
                    "import --append`) and say --scores STORE."
                )
                raise TagstackError(msg)
        if given is not None:
            return given
        for member in self.members:
            if os.sep in member.source and not os.path.isdir(member.source):
                msg = (
                    f"The bundle's tagger {member.name!r} was in {member.source}, which is not "
                    f"there. Say where all of {[m.name for m in self.members]} are now: "
                    "--models A,B,C (names or folders)."
                )
                raise TagstackError(msg)
        return tuple(member.source for member in self.members)

    def check_members(self, members: Iterable[Fingerprinted]) -> None:
        """Refuse scores of other taggers than those the stack was fitted with.

        Raises
        ------
        TagstackError
            If a tagger is missing or its fingerprint differs; the message names it.
        """
        given = {member.name: member.fingerprint for member in members}
        for member in self.members:
            if member.name not in given:
                msg = (
                    f"The bundle needs the tagger {member.name!r}, but only {sorted(given)} were "
                    "scored. Score with all of its taggers."
                )
                raise TagstackError(msg)
            if given[member.name] != member.fingerprint:
                msg = (
                    f"Tagger {member.name!r} has fingerprint {given[member.name][:12]}, but the "
                    f"bundle was fitted with {member.fingerprint[:12]}: other weights, contract "
                    "or runtime. Use the same files, or fit again."
                )
                raise TagstackError(msg)


def save_bundle(bundle: Bundle, directory: Path, *, overwrite: bool = False) -> None:
    """Write a bundle to ``directory``, whole or not at all.

    Raises
    ------
    TagstackError
        If the folder exists and ``overwrite`` is false, or the system refuses to write.
    """
    refuse_existing(directory, overwrite=overwrite)
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
    _check_files(directory, _read_manifest(directory)["files"])
    trial_of(directory).once(load_settings().score.trial_seconds)
    return loaded_bundle(directory)


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
    from safetensors import SafetensorError

    manifest = _read_manifest(directory)
    _check_files(directory, manifest["files"])
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
    )


def _load_stack(folder: Path) -> Stacker | StartStack:
    return StartStack.load(folder) if is_start(folder) else Stacker.load(folder)


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
    """Raise if ``directory`` holds something that is not to be replaced."""
    empty = os.path.isdir(directory) and not os.listdir(directory)
    if os.path.lexists(directory) and not empty and not overwrite:
        msg = f"{directory} exists. Choose another folder or pass --overwrite to replace it."
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
    if not ours and not (directory / MANIFEST).is_file():
        msg = (
            f"{directory} holds files but no {MANIFEST}, so it is no bundle, and replacing it "
            "would delete them. Choose another folder."
        )
        raise TagstackError(msg)


def _write_files(bundle: Bundle, folder: Path) -> None:
    from safetensors.numpy import save_file

    bundle.stacker.save(folder / "stack")
    (folder / "rules.toml").write_text(bundle.rules.to_toml(), encoding="utf-8")
    bundle.thresholds.to_csv(folder / "thresholds.csv")
    save_file(dict(bundle.rung_thresholds), folder / _RUNGS)
    save_file(bundle.fitted_images.arrays(), folder / _FITTED)
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
