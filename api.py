"""tagstack from Python: the verbs of the command line, in memory.

Nothing is written unless a method says so (``save``, ``write``). The commands run the same code
and only add the files, so both give the same tags. What the names here do in one piece is told in
docs/python.md.

What happens by the way is told to the logger ``tagstack``: what of the labels could not be used at
level INFO, the stages at level DEBUG.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.pictures.given import Given
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scoring.pipeline import ScoreProgress
from tagstack.base_models.scoring.sources import GivenPictures, PictureSource
from tagstack.base_models.threads import begin_work, let_idle_threads_sleep
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.audit.files import Audited
from tagstack.ensemble.audit.slices import TAG_KINDS
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import MANIFEST, load_bundle
from tagstack.ensemble.face.arguments import (
    TAGGER,
    AnyPath,
    AnySettings,
    check_kind,
    folders_of,
    rules_from,
    settings_from,
    taggers_named,
    texts,
)
from tagstack.ensemble.face.in_memory import Labels, Scores, Told
from tagstack.ensemble.face.open_stack import Stack
from tagstack.ensemble.face.own_taggers import init_tagger, train
from tagstack.ensemble.face.picture_quality import PictureQuality, picture_quality
from tagstack.ensemble.fitting.dataset_fit import fit_dataset
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.scoring.runs import found_images, score_sources
from tagstack.ensemble.scoring.taggers import loaded_taggers
from tagstack.ensemble.tasks.audit import audited
from tagstack.ensemble.tasks.audit_probes import ProbeRequest
from tagstack.ensemble.tasks.audit_question import AuditQuestion
from tagstack.ensemble.tasks.audit_refits import RefitRequest
from tagstack.ensemble.tasks.calibrate import Goal, calibrated
from tagstack.ensemble.tasks.compare import Compared, compared
from tagstack.ensemble.tasks.fit import fit_images

CALIBRATED = "calibrated"  # what the thresholds' version of such a stack is called until saved

__all__ = [
    "Labels",
    "Scores",
    "Stack",
    "audit",
    "calibrate",
    "compare",
    "fit",
    "init_tagger",
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
    given = taggers_named(models)
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
    named = texts(models, "The models", TAGGER)
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
    return found_images(folders_of(images), settings, Told())


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
    named = taggers_named(models)
    source = _labelled(scores, labels, where, group)
    ruled = rules_from(rules)
    let_idle_threads_sleep()
    begin_work()
    dataset = fit_images(source, ruled, own, Told())
    bundle = fit_dataset(dataset, ruled, own, None, Told())
    return Stack(bundle, own, models=named)


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
