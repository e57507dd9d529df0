"""From scores and labels to a bundle: the stack, the rules, the thresholds and the evidence."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.ensemble.bundle.files import refuse_existing, refuse_other_content, save_bundle
from tagstack.ensemble.cluster.handing import workers_of
from tagstack.ensemble.fitting.dataset_fit import fit_dataset, utility_worths
from tagstack.ensemble.fitting.fit_evidence import labels_sha256
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.rules.hygiene import canonical_names
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What to fit on, and where the bundle goes.

    Parameters
    ----------
    source : DatasetSource
    bundle : Path
    rules : str, optional
        Name of a shipped rule file, a TOML file or a tags table; no rules by default.
    overwrite : bool
        Whether an existing bundle is replaced.
    cascade : bool
        Whether to learn which tagger is needed for which picture as well.
    ray : str, optional
        Address of a Ray cluster whose workers fit what splits; the bundle is the same.
    """

    source: DatasetSource
    bundle: Path
    rules: str | None = None
    overwrite: bool = False
    cascade: bool = False
    ray: str | None = None


def fit_bundle(request: FitRequest, settings: Settings, progress: Progress) -> Bundle:
    """Fit a stack, write it to ``request.bundle`` and return it.

    Tuning trials are stored beside the bundle until it is written, so that the same command goes
    on where it was interrupted.

    Raises
    ------
    TagstackError
        If scores, labels or rules cannot be used, or the bundle exists or cannot be written.
    """
    refuse_existing(request.bundle, overwrite=request.overwrite)
    refuse_other_content(request.bundle)
    rules = Rules.none() if request.rules is None else load_rules(request.rules)
    dataset = fit_images(
        request.source, rules, settings, progress, Spill(_there_already(request.bundle))
    )
    workspace = workspace_of(request.bundle, _digest(dataset, rules, settings))
    with workers_of(request.ray, settings):
        bundle = fit_dataset(dataset, rules, settings, workspace, progress, cascade=request.cascade)
    save_bundle(bundle, request.bundle, overwrite=request.overwrite)
    shutil.rmtree(workspace.parent)
    return bundle


def _there_already(bundle: Path) -> Path:
    """Return the nearest folder above the bundle that is there: its disk is the bundle's."""
    return next(folder for folder in bundle.absolute().parents if folder.is_dir())


def fit_images(
    source: DatasetSource,
    rules: Rules,
    settings: Settings,
    progress: Progress,
    spill: Spill = IN_MEMORY,
) -> Dataset:
    """Return the labelled images to fit on, after saying what of them could not be used.

    ``spill`` says where their scores lie.
    """
    dataset = load_dataset(
        source,
        aliases=canonical_names(rules.aliases),
        groups=rules.groups,
        labels=settings.labels,
        near_duplicates=settings.score.near_duplicates,
        probe=settings.stack.probe,
        spill=spill,
    )
    for notice in dataset.notices:
        progress.notice(notice)
    return dataset


def workspace_of(bundle: Path, digest: str) -> Path:
    """Return the folder for resumable work; work on other inputs is thrown away.

    Raises
    ------
    TagstackError
        If the system refuses to write beside the bundle.
    """
    folder = bundle.parent / f".{bundle.name}.fitting"
    workspace = folder / digest
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        for stale in folder.iterdir():
            if stale.name != digest:
                shutil.rmtree(stale)
    except OSError as error:
        msg = (
            f"Cannot write beside the bundle {bundle}: {error.strerror or error}. Choose another "
            "folder for it, or mend that (space, permissions)."
        )
        raise TagstackError(msg) from error
    return workspace


def _digest(dataset: Dataset, rules: Rules, settings: Settings) -> str:
    """Return a short hash of everything that a fit depends on."""
    state = hashlib.sha256()
    for text in (*(member.fingerprint for member in dataset.members), rules.to_toml()):
        state.update(text.encode())
    state.update(settings.model_dump_json().encode())
    state.update(labels_sha256(dataset).encode())
    state.update(np.ascontiguousarray(dataset.groups).tobytes())
    if (balance := dataset.balance(settings.stack)) is not None:
        state.update(balance.weight.tobytes())
    for worths in utility_worths(dataset, settings):
        state.update(b"" if worths is None else worths.tobytes())
    return state.hexdigest()[:16]
