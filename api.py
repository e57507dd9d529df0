"""tagstack from Python: the verbs of the command line, in memory.

Nothing is written unless a method says so (``save``, ``write``). The commands run the same code
and only add the files, so both give the same tags. What the names here do in one piece is told in
docs/python.md.

What happens by the way is told to the logger ``tagstack``: what of the labels could not be used at
level INFO, the stages at level DEBUG.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.pictures.given import Given
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scoring.pipeline import ScoreProgress
from tagstack.base_models.scoring.sources import GivenPictures, PictureSource
from tagstack.base_models.taggers.draft import answered
from tagstack.base_models.threads import begin_work, let_idle_threads_sleep
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.audit.files import Audited
from tagstack.ensemble.audit.slices import TAG_KINDS
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import MANIFEST, load_bundle
from tagstack.ensemble.in_memory import (
    AnyPath,
    AnySettings,
    Labels,
    Scores,
    Told,
    check_kind,
    settings_from,
    texts,
)
from tagstack.ensemble.open_stack import Stack
from tagstack.ensemble.picture_quality import PictureQuality, picture_quality
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.tasks.audit import AuditQuestion, audited
from tagstack.ensemble.tasks.audit_probes import ProbeRequest
from tagstack.ensemble.tasks.audit_refits import RefitRequest
from tagstack.ensemble.tasks.calibrate import Goal, calibrated
from tagstack.ensemble.tasks.compare import Compared, compared
from tagstack.ensemble.tasks.fit import fit_dataset, fit_images
from tagstack.ensemble.tasks.init_tagger import Initialised, InitRequest
from tagstack.ensemble.tasks.init_tagger import init_tagger as write_contract
from tagstack.ensemble.tasks.scoring import (
    found_images,
    loaded_taggers,
    score_sources,
)
from tagstack.ensemble.tasks.train import train_tagger
from tagstack.ensemble.training.request import Trained, TrainRequest

_TAGGER = "wd-vit-tagger-v3"  # for messages
CALIBRATED = "calibrated"  # what the thresholds' version of such a stack is called until saved

__all__ = [
    "Labels",
    "Scores",
    "Stack",
    "audit",
    "calibrate",
    "compare",
    "fit",
    "load",
    "quality",
    "score",
    "train",
]


def load(
    bundle: AnyPath, models: "Sequence[AnyPath] | None" = None, settings: AnySettings = None
) -> Stack:
    """Return the stack in a bundle's folder.

    Parameters
    ----------
    bundle : path
        As ``tagstack fit`` or `Stack.save` wrote it.
    models : sequence of str or path, optional
        Where its taggers are now, names or folders; where they were at fit time by default.
    settings : Settings, mapping or path, optional
        Laid over the defaults, as the command line's ``--config``.

    Raises
    ------
    TagstackError
        If it is no bundle or was changed, or the settings hold an unknown key.
    """
    let_idle_threads_sleep()
    begin_work()
    folder = Path(bundle)
    given = _taggers(models)
    return Stack(load_bundle(folder), settings_from(settings), models=given, folder=folder)


def score(
    images: "AnyPath | Sequence[AnyPath] | Mapping[str, Given]",
    models: "Sequence[AnyPath]",
    settings: AnySettings = None,
    *,
    progress: Callable[[ScoreProgress], None] | None = None,
) -> Scores:
    """Return the taggers' scores of images, in memory.

    Parameters
    ----------
    images : path, sequence of paths, or mapping of name to picture
        Files or folders, named by their path below the folder; or pictures under names of yours.
        Those that cannot be read are in `Scores.failures`.
    models : sequence of str or path
        Registry names or tagger folders.
    settings : Settings, mapping or path, optional
        Laid over the defaults.
    progress : callable, optional
        Called after every batch.

    Raises
    ------
    TagstackError
        If a tagger cannot be used, or there is no image.

    Examples
    --------
    >>> import numpy as np
    >>> grey = np.full((64, 48, 3), 128, np.uint8)
    >>> scores = score({"grey": grey, "broken": b"no picture"}, ["doll_resnet"])
    >>> scores.images, scores.failures
    (('grey',), {'broken': 'not an image that can be read: unknown format'})
    """
    own = settings_from(settings)
    named = texts(models, "The models", _TAGGER)
    sources = _sources(images, own)
    let_idle_threads_sleep()
    begin_work()
    with loaded_taggers(named, own) as taggers:
        sink = MemorySink(Members.of(taggers))
        score_sources(sources, taggers, sink, own, Told(progress))
    return Scores(sink)


def quality(
    images: "AnyPath | Sequence[AnyPath] | Mapping[str, Given]",
    scorers: Sequence[str],
    settings: AnySettings = None,
) -> PictureQuality:
    """Return what scorers say of pictures, in memory.

    Parameters
    ----------
    images : path, sequence of paths, or mapping of name to picture
        As for `score`.
    scorers : sequence of str
        Names, folders or ``NAME=FOLDER``, as for ``tagstack quality score --scorer``.
    settings : Settings, mapping or path, optional
        Laid over the defaults.

    Raises
    ------
    TagstackError
        If a scorer cannot be used, or there is no image.

    Examples
    --------
    >>> import numpy as np
    >>> grey = np.full((64, 48, 3), 128, np.uint8)
    >>> found = quality({"grey": grey, "black": 0 * grey}, ["exposure"])
    >>> found.scores["exposure"].round(2).tolist(), found.lower_is_better
    ([0.0, 1.0], ('exposure',))
    >>> found.tags("noobai-aesthetic", "exposure")["grey"]
    ()
    """
    own = settings_from(settings)
    named = texts(scorers, "The scorers", "exposure")
    return picture_quality(_sources(images, own), named, own, Told())


def _sources(
    images: "AnyPath | Sequence[AnyPath] | Mapping[str, Given]", settings: Settings
) -> PictureSource:
    if isinstance(images, Mapping):
        names = texts(images, "The names of pictures", "1.png")
        if not images:
            raise TagstackError("No images given; expected at least one picture under a name.")
        return GivenPictures(dict(zip(names, images.values(), strict=True)))
    return found_images(_folders(images), settings, Told())


def _folders(images: "AnyPath | Sequence[AnyPath]") -> list[Path]:
    given = [images] if isinstance(images, str | os.PathLike) else images
    own = texts(given, "The images", "images/1.png")
    return [Path(path) for path in own]


def _taggers(models: "Sequence[AnyPath] | None") -> tuple[str, ...] | None:
    return None if models is None else texts(models, "The models", _TAGGER)


def fit(
    scores: Scores,
    labels: Labels,
    rules: "Rules | AnyPath | Sequence[AnyPath] | None" = None,
    *,
    where: str | None = None,
    group: str | None = None,
    models: "Sequence[AnyPath] | None" = None,
    settings: AnySettings = None,
) -> Stack:
    """Return a stack fitted on scored and labelled images, in memory.

    Parameters
    ----------
    scores : Scores
    labels : Labels
    rules : Rules, str, path or sequence of these two, optional
        As they are, or names of shipped sets and files; no rules by default.
    where : str, optional
        ``COLUMN=VALUE``: only these labels.
    group : str, optional
        Column of the labels whose equal values no split may part.
    models : sequence of str or path, optional
        Where the taggers are now; where they were when they scored by default.
    settings : Settings, mapping or path, optional
        Laid over the defaults.

    Raises
    ------
    TagstackError
        If scores, labels or rules do not go together.
    """
    own = settings_from(settings)
    named = _taggers(models)
    source = _labelled(scores, labels, where, group)
    ruled = _rules(rules)
    let_idle_threads_sleep()
    begin_work()
    dataset = fit_images(source, ruled, own, Told())
    bundle = fit_dataset(dataset, ruled, own, None, Told())
    return Stack(bundle, own, models=named)


def _rules(given: "Rules | AnyPath | Sequence[AnyPath] | None") -> Rules:
    if given is None or isinstance(given, Rules):
        return given or Rules.none()
    if isinstance(given, str):
        return load_rules(given)
    named = [given] if isinstance(given, os.PathLike) else given
    paths = texts(named, "The rules", "danbooru")
    return reduce(Rules.joined, map(load_rules, paths), Rules.none())


def _labelled(
    scores: Scores, labels: Labels, where: str | None, group: str | None
) -> DatasetSource:
    check_kind(scores, Scores, "scores", "tagstack.score(...) or Scores.read(folder)")
    check_kind(labels, Labels, "labels", "Labels({...}) or Labels.read(file)")
    check_kind(where or "", str, "where", "'part=fit'")
    check_kind(group or "", str, "group", "'series'")
    return DatasetSource(scores=scores.reader, labels=labels.table, where=where, group=group)


def _judged(
    stack: Stack, scores: Scores, labels: Labels, where: str | None, group: str | None
) -> DatasetSource:
    check_kind(stack, Stack, "stack", "tagstack.load(folder)")
    return _labelled(scores, labels, where, group)


def compare(
    stack: Stack,
    scores: Scores,
    labels: Labels,
    *,
    where: str | None = None,
    group: str | None = None,
    settings: AnySettings = None,
) -> Compared:
    """Return every rung of a stack, single taggers to stack, on images that it never saw.

    Parameters
    ----------
    stack : Stack
    scores : Scores
    labels : Labels
    where, group : str, optional
        As in `fit`.
    settings : Settings, mapping or path, optional
        Laid over the defaults.

    Returns
    -------
    Compared
        ``comparison`` holds the figures, ``write(folder)`` writes the report.

    Raises
    ------
    TagstackError
        If scores or labels cannot be used, or all of the images were fitted on.
    """
    source = _judged(stack, scores, labels, where, group)
    begin_work()
    return compared(stack.bundle, source, settings_from(settings), Told())


def calibrate(
    stack: Stack,
    scores: Scores,
    labels: Labels,
    objective: str | None = None,
    *,
    by_tag: Mapping[str, str] | None = None,
    where: str | None = None,
    group: str | None = None,
    settings: AnySettings = None,
) -> Stack:
    """Return the stack with thresholds fitted anew; the given one stays as it is.

    Parameters
    ----------
    stack : Stack
    scores : Scores
    labels : Labels
    objective : str, optional
        As ``tagstack calibrate --objective``; that of the settings by default.
    by_tag : mapping of pattern to objective, optional
        The last pattern that matches a tag wins.
    where, group : str, optional
        As in `fit`.
    settings : Settings, mapping or path, optional
        Laid over the defaults.

    Raises
    ------
    TagstackError
        If scores, labels or an objective cannot be used, or no image is left.
    """
    own = settings_from(settings)
    source = _judged(stack, scores, labels, where, group)
    check_kind(objective or "", str, "objective", "'precision>=0.9'")
    check_kind(by_tag or {}, Mapping, "by_tag", "{'*_hair': 'f1'}")
    each = tuple(f"{pattern}={text}" for pattern, text in (by_tag or {}).items())
    goal = Goal.of(objective, each, own.thresholds)
    kept = stack.out_of_fold()
    begin_work()
    found = calibrated(stack.bundle, kept, source, goal, own, Told())
    return stack.with_bundle(found.used(replace(stack.bundle, out_of_fold=kept), CALIBRATED))


def audit(
    stack: Stack,
    scores: Scores,
    labels: Labels,
    *,
    by: Sequence[str] | None = None,
    holding: Sequence[str] = (),
    parts: Sequence[str] = TAG_KINDS,
    against: "AnyPath | None" = None,
    probes: "AnyPath | None" = None,
    leave_out: Sequence[str] = (),
    drop_members: bool = False,
    where: str | None = None,
    group: str | None = None,
    settings: AnySettings = None,
) -> Audited:
    """Return what a stack's tags favour, as ``tagstack audit`` does; nothing is written.

    Parameters
    ----------
    stack : Stack
    scores : Scores
    labels : Labels
    by : sequence of str, optional
        Columns of the labels to slice by; all that part the images into a few kinds by default.
    holding : sequence of str
        Tags, or patterns of tags, whose images are slices.
    parts : sequence of {"category", "frequency", "family"}
        What parts the tags.
    against : path, optional
        Folder of an earlier audit (`Audited.write`): what got worse since?
    probes : path, optional
        Folder of the scored pictures, which the taggers are to see in other guises.
    leave_out : sequence of str
        Columns; quick fits go without each of their values.
    drop_members : bool
        Whether quick fits go without each tagger.
    where, group : str, optional
        As in `fit`.
    settings : Settings, mapping or path, optional
        Laid over the defaults.

    Raises
    ------
    TagstackError
        If scores, labels, a column or a tag cannot be used, or no image is left.
    """
    source = _judged(stack, scores, labels, where, group)
    own, folder = settings_from(settings), stack.folder
    asked = None if probes is None else ProbeRequest(images=Path(probes), models=stack.models)
    question = AuditQuestion(
        by=None if by is None else texts(by, "The columns", "part"),
        holding=texts(holding, "The tags", "1girl"),
        parts=texts(parts, "The parts", TAG_KINDS[0]),
        against=None if against is None else Path(against),
        probes=asked,
        refits=RefitRequest(columns=texts(leave_out, "The columns", "part"), members=drop_members),
    )
    digest = "in memory" if folder is None else file_sha256(folder / MANIFEST)[:12]
    kept = stack.out_of_fold()
    begin_work()
    return audited(stack.bundle, kept, source, question, own, Told(), digest)


def train(
    images: "AnyPath | Sequence[AnyPath]",
    labels: Labels,
    start: AnyPath,
    out: AnyPath,
    *,
    where: str | None = None,
    left_out: str | None = None,
    group: str | None = None,
    against: str | None = None,
    search: int = 0,
    overwrite: bool = False,
    settings: AnySettings = None,
) -> Trained:
    """Train a tagger on pictures and labels, and write its folder; needs the extra ``train``.

    Parameters
    ----------
    images : path or sequence of paths
        Folders of pictures.
    labels : Labels
    start : path
        ``"resnet"``, ``"convnext"``, ``"vit"``, a name of timm, or a folder with weights.
    out : path
        Folder of the new tagger; an ended training there goes on.
    where : str, optional
        ``COLUMN=VALUE``: only these labels.
    left_out : str, optional
        ``COLUMN=VALUE``: the rows that judge; whole groups are drawn by default.
    group : str, optional
        Column of the labels whose equal values no split may part.
    against : str, optional
        Column that the features must not tell.
    search : int
        Trainings to choose the best of; ``start`` may then name several, comma-separated.
    overwrite : bool
    settings : Settings, mapping or path, optional
        Laid over the defaults; those of ``train`` decide most.

    Raises
    ------
    TagstackError
        If torch is not installed, or pictures, labels, weights or the folder cannot be used.
    """
    check_kind(labels, Labels, "labels", "Labels({...}) or Labels.read(file)")
    request = TrainRequest(
        images=tuple(_folders(images)),
        labels=labels.table,
        start=os.fspath(start),
        out=Path(out),
        where=where,
        left_out=left_out,
        group=group,
        against=against,
        search=search,
        overwrite=overwrite,
    )
    return train_tagger(request, settings_from(settings), Told())


def init_tagger(
    folder: AnyPath,
    known: Mapping[str, object] | None = None,
    *,
    images: "AnyPath | None" = None,
    labels: "AnyPath | None" = None,
    force: bool = False,
    settings: AnySettings = None,
) -> Initialised:
    """Write the contract of a folder with a network and its tag file, and check it.

    Parameters
    ----------
    folder : path
    known : mapping of key to value, optional
        What you know of the contract, such as ``{"input.colour": "BGR"}``; it goes before files.
    images, labels : path, optional
        A folder of pictures and their label file, to decide colours, range and framing.
    force : bool
        Replace a contract that is there.
    settings : Settings, mapping or path, optional

    Returns
    -------
    Initialised
        Its ``path``, its ``draft`` with every value's ``source`` (``draft.facts``), and the
        ``report`` of its check.

    Raises
    ------
    TagstackError
        If a contract is there already, a value is left open, or the folder is none of a tagger.
    """
    request = InitRequest(
        folder=Path(folder),
        given={key: answered(key, value) for key, value in (known or {}).items()},
        images=None if images is None else Path(images),
        labels=None if labels is None else Path(labels),
        force=force,
    )
    score = settings_from(settings).score
    return write_contract(request, score, None, lambda done, total: None)
