"""From taggers alone to a bundle: no label, and unlabelled images only if asked to look at some."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.scores.reading import OK
from tagstack.base_models.scores.store import ScoreStore
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.files import refuse_existing, refuse_other_content, save_bundle
from tagstack.ensemble.bundle.start import start_bundle
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.scoring.taggers import loaded_taggers
from tagstack.ensemble.tasks.fit import workspace_of
from tagstack.ensemble.tasks.scoring import score_folder


@dataclass(frozen=True, kw_only=True)
class StartRequest:
    """Which taggers to start with, and where the bundle goes.

    Parameters
    ----------
    models : tuple of str
        Registry names or folders; with ``scores``, names of members of the store, all of them if
        empty.
    bundle : Path
    images : tuple of Path
        Unlabelled files or folders to look at; none by default.
    scores : Path, optional
        A score store to look at instead.
    rules : str, optional
        Name of a shipped rule file, a TOML file or a tags table; no rules by default.
    overwrite : bool
        Whether an existing bundle is replaced.
    """

    models: tuple[str, ...]
    bundle: Path
    images: tuple[Path, ...] = ()
    scores: Path | None = None
    rules: str | None = None
    overwrite: bool = False


def start(request: StartRequest, settings: Settings, progress: Progress) -> Bundle:
    """Make a start bundle, write it to ``request.bundle`` and return it.

    Scores of ``request.images`` are kept beside the bundle until it is written, so that the same
    command goes on where it was interrupted.

    Raises
    ------
    TagstackError
        If taggers, images, scores or rules cannot be used, both images and scores are given, or
        the bundle exists or cannot be written.
    """
    refuse_existing(request.bundle, overwrite=request.overwrite)
    refuse_other_content(request.bundle)
    if request.images and request.scores is not None:
        msg = "Both --images and --scores are given; say one of them."
        raise TagstackError(msg)
    if not request.models and request.scores is None:
        msg = "No tagger is named; say --models A,B,C, or --scores STORE to take those of a store."
        raise TagstackError(msg)
    rules = Rules.none() if request.rules is None else load_rules(request.rules)
    workspace = workspace_of(request.bundle, _digest(request, settings))
    bundle = _made(request, rules, settings, workspace, progress)
    save_bundle(bundle, request.bundle, overwrite=request.overwrite)
    shutil.rmtree(workspace.parent)
    return bundle


def bundle_of_taggers(models: tuple[str, ...], rules: str | None, settings: Settings) -> Bundle:
    """Return the bundle of taggers as published, which has looked at no image.

    Raises
    ------
    TagstackError
        If a tagger or the rules cannot be used.
    """
    found = Rules.none() if rules is None else load_rules(rules)
    with loaded_taggers(models, settings) as taggers:
        return start_bundle(taggers, found, settings)


def _digest(request: StartRequest, settings: Settings) -> str:
    """Return a short hash of what is scored: scores of other images or taggers are no use."""
    named = (*request.models, "", *(os.path.abspath(path) for path in request.images))
    text = "\n".join((*named, settings.score.model_dump_json()))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _made(
    request: StartRequest, rules: Rules, settings: Settings, workspace: Path, progress: Progress
) -> Bundle:
    if request.images:
        summary = score_folder(request.images, request.models, workspace, settings, progress)
        if summary.n_failed:
            progress.notice(f"{summary.n_failed} images could not be read and are left out.")
        return _of_store(workspace, (), rules, settings, progress)
    if request.scores is not None:
        return _of_store(request.scores, request.models, rules, settings, progress)
    return bundle_of_taggers(request.models, request.rules, settings)


def _of_store(
    folder: Path, names: tuple[str, ...], rules: Rules, settings: Settings, progress: Progress
) -> Bundle:
    """Return the bundle of a store's members, with what its images show."""
    store = ScoreStore(folder)
    by_name = {member.name: member for member in store.members()}
    scores = _drawn(store, names or tuple(by_name), settings)
    progress.stage("looking at unlabelled images")
    members = tuple(by_name[name] for name in scores.members)
    return start_bundle(members, rules, settings, scores)


def _drawn(store: ScoreStore, names: tuple[str, ...], settings: Settings) -> Level1Scores:
    """Return the scores of as many images as are looked at, drawn by the seed."""
    images = [record.path for record in store.records() if record.status == OK]
    if len(images) > settings.start.images:
        rng = np.random.default_rng(settings.seed)
        chosen = np.sort(rng.choice(len(images), settings.start.images, replace=False))
        images = [images[place] for place in chosen]
    return store.load(images, names)
