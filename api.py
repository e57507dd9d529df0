"""tagstack from Python: the verbs of the command line, in memory.

Nothing is written unless a method says so (``save``, ``write``). The commands run the same code
and only add the files, so both give the same tags. What the names here do in one piece is told in
docs/python.md.

What happens by the way is told to the logger ``tagstack``: what of the labels could not be used at
level INFO, the stages at level DEBUG.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Self, TypeAlias

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.pictures.given import Given
from tagstack.base_models.scores.members import NO_ROWS, Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scores.reading import OK, ScoreReader
from tagstack.base_models.scores.shards import copy_images
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import ScoreProgress, score_images
from tagstack.base_models.scoring.sources import GivenPictures, PictureSource
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.threads import let_idle_threads_sleep, thread_count
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.bundle import Bundle, load_bundle, out_of_fold_of, save_bundle
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.decisions import Judge, TaggedImage
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.tasks.calibrate import Goal, calibrated
from tagstack.ensemble.tasks.compare import Compared, compared
from tagstack.ensemble.tasks.explain import Explanation, check_tag, explained
from tagstack.ensemble.tasks.fit import fit_dataset, fit_images
from tagstack.ensemble.tasks.scoring import (
    check_runtimes,
    found_images,
    loaded_taggers,
    score_sources,
    scoring_settings,
)
from tagstack.meta.labels.label_files import LabelRow, LabelTable, read_labels

logger = logging.getLogger("tagstack")

CALIBRATED = "calibrated"  # what the thresholds' version of such a stack is called until saved

AnyPath: TypeAlias = "str | os.PathLike[str]"
# The keys of default.toml, nested alike; or a TOML file of them; or settings that are ready.
AnySettings: TypeAlias = "Settings | Mapping[str, object] | str | os.PathLike[str] | None"

__all__ = ["Labels", "Scores", "Stack", "calibrate", "compare", "fit", "load", "score"]


class Labels:
    """Which tags images have, from a file or a program.

    Parameters
    ----------
    tags : mapping of image name to tags
        Names as in `Scores.images`; every tag that an image has.
    columns : mapping of column name to mapping of image name to value, optional
        Further columns, for ``where`` and ``group``; a column has a value for every image.

    Examples
    --------
    >>> labels = Labels({"1.png": ["1girl", "long_hair"], "2.png": ["no_humans"]})
    >>> len(labels)
    2
    """

    def __init__(
        self,
        tags: Mapping[str, Iterable[str]],
        columns: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        more = columns or {}
        for name, values in more.items():
            if lacking := [image for image in tags if image not in values]:
                msg = f"The column {name!r} has no value for {lacking[0]!r}; give one for each."
                raise TagstackError(msg)
        rows = tuple(
            LabelRow(
                image=image,
                tags=tuple(dict.fromkeys(own)),
                columns={name: str(values[image]) for name, values in more.items()},
            )
            for image, own in tags.items()
        )
        if not rows:
            raise TagstackError("There are no labels; expected at least one image with its tags.")
        self.table = LabelTable(source="the labels given", rows=rows)

    @classmethod
    def read(cls, path: AnyPath) -> "Labels":
        """Return the labels of a CSV or JSONL file or of a folder of sidecars."""
        own = cls.__new__(cls)
        own.table = read_labels(Path(path))
        return own

    def __len__(self) -> int:
        return len(self.table.rows)


class Scores:
    """Every tagger's scores of some images, from a store's folder or from memory.

    Parameters
    ----------
    reader : ScoreReader
        As `score` and `Scores.read` make them.
    """

    def __init__(self, reader: ScoreReader) -> None:
        self.reader = reader

    @classmethod
    def read(cls, folder: AnyPath) -> "Scores":
        """Return the scores of a store that ``tagstack score`` or `save` wrote, as needed."""
        return cls(ScoreStore(Path(folder)))

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the images that have scores, sorted."""
        return tuple(record.path for record in self.reader.records() if record.status == OK)

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the taggers."""
        return tuple(member.name for member in self.reader.members())

    @property
    def failures(self) -> dict[str, str]:
        """Why images have no scores, by name."""
        return {record.path: record.reason for record in self.reader.failures()}

    def level1(
        self, images: Sequence[str] | None = None, members: Sequence[str] | None = None
    ) -> Level1Scores:
        """Return the scores as arrays, of all images and taggers or of some in the order given."""
        return self.reader.load(images, members)

    def save(self, folder: AnyPath) -> None:
        """Add the scores to a store, made where there is none; ``tagstack fit`` reads it."""
        members = Members(self.reader.members())
        with ScoreWriter(Path(folder), members) as writer:
            part_images = load_settings().score.part_images
            copy_images([self.reader], writer, part_images=part_images)

    def __len__(self) -> int:
        return len(self.images)


class Stack:
    """A fitted stack with its taggers: from pictures to tags.

    A context manager: the taggers are opened when it is entered, or at the first picture, and
    stay open until it is left or closed. Any number of threads may share one; pictures are worked
    on one call at a time, each with all the threads that the settings allow.

    Parameters
    ----------
    bundle : Bundle
    settings : Settings
    models : tuple of str, optional
        Where the taggers are now; where they were at fit time by default.
    folder : Path, optional
        Of the bundle, for what is read of it only where it is wanted.

    Examples
    --------
    >>> stack.tag(picture).names  # doctest: +ELLIPSIS
    ('...
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        *,
        models: tuple[str, ...] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.bundle = bundle
        self.settings = scoring_settings(bundle, settings)
        self._models = models
        self._folder = folder
        self._lock = RLock()
        self._opened: _Opened | None = None

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag that some tagger of the stack knows."""
        return self.bundle.vocabulary.tags

    def tag(self, image: Given) -> TaggedImage:
        """Return the tags of one picture.

        Parameters
        ----------
        image : Given
            A path, the bytes of an image file, an array of shape (height, width, 3), uint8, RGB
            (or RGBA, or without the last axis), or a PIL image.

        Raises
        ------
        TagstackError
            If the picture cannot be read, or a tagger cannot be used.
        """
        (tagged,) = self.tag_many([image])
        if tagged.failure:
            raise TagstackError(f"Cannot read {tagged.image or 'the picture'}: {tagged.failure}.")
        return tagged

    def tag_many(self, images: Iterable[Given]) -> Iterator[TaggedImage]:
        """Yield the tags of each picture, in their order.

        A picture that cannot be read has no tags and says why in ``failure``. ``image`` is the
        path of a file, and for another picture its number in the order given, from 0. Pictures
        are taken ``score.batch_images`` at a time, so memory is bounded however many there are.
        """
        numbered, batch = zip(count(), images, strict=False), self.settings.score.batch_images
        while chunk := list(islice(numbered, batch)):
            names = {str(number): _name_of(image, number) for number, image in chunk}
            done = self._tagged({str(number): image for number, image in chunk})
            for number, name in names.items():
                yield replace(done[number], image=name)

    def explain(self, image: Given, tag: str | None = None) -> Explanation:
        """Return what led to a picture's tags, or to one tag's being there or not.

        Raises
        ------
        TagstackError
            If the picture cannot be read, or no tagger knows the tag.
        """
        check_tag(self.bundle, tag)
        name = _name_of(image, 0)
        with self._lock:
            scores, failures = self._scored({name: image})
            if failures:
                raise TagstackError(f"Cannot read {name}: {failures[name]}.")
            return explained(self.bundle, scores, tag)

    def predict_proba(self, scores: "Scores | Level1Scores") -> PairProba:
        """Return the stack's calibrated probabilities of scored images, before rules.

        Parameters
        ----------
        scores : Scores or Level1Scores
            Of the stack's taggers; Level1Scores in the order of the stack's members.

        Raises
        ------
        TagstackError
            If they are of other taggers.
        """
        if isinstance(scores, Scores):
            self.bundle.check_members(scores.reader.members())
            scores = self.bundle.scores(scores.reader)
        return self.bundle.stacker.predict_proba(self.bundle.stacker.completed(scores))

    def save(self, folder: AnyPath, *, overwrite: bool = False) -> None:
        """Write the stack as a bundle, without its taggers.

        Raises
        ------
        TagstackError
            If the folder exists and ``overwrite`` is false, or cannot be written.
        """
        bundle = replace(self.bundle, out_of_fold=self.out_of_fold())
        save_bundle(bundle, Path(folder), overwrite=overwrite)

    def close(self) -> None:
        """Free the taggers; the next picture opens them again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def out_of_fold(self) -> OutOfFold | None:
        """Return the probabilities of the fitted images that thresholds can be fitted on anew."""
        if self._folder is None:
            return self.bundle.out_of_fold
        return out_of_fold_of(self._folder)

    def reloaded(self) -> "Stack":
        """Return the stack that the folder holds now: another fit, or other thresholds.

        Where the taggers are the same they go over as they are, open, and this one may work on
        beside the new one until it is let go: then close only the new one. Otherwise the new
        one's are opened, and this one is to be closed after its last picture.

        Raises
        ------
        TagstackError
            If the folder holds no bundle that can be used, or its taggers cannot be opened.
        """
        if self._folder is None:
            raise TagstackError("The stack was made in memory; there is no folder to read again.")
        new = Stack(
            load_bundle(self._folder), self.settings, models=self._models, folder=self._folder
        )
        if not self.shares_taggers(new):
            new._open()
            return new
        with self._lock:
            new._lock = self._lock  # the taggers take one call at a time, whoever calls
            if self._opened is not None:
                new._opened = self._opened.judging(new.bundle, new.settings)
        return new

    def shares_taggers(self, other: "Stack") -> bool:
        """Return whether two stacks have the same taggers, run alike."""
        return (
            self.bundle.members == other.bundle.members
            and self.settings.score == other.settings.score
        )

    def with_bundle(self, bundle: Bundle) -> "Stack":
        """Return another bundle with the same taggers, for one with other thresholds."""
        return Stack(bundle, self.settings, models=self._models)

    def beside(self, bundle: Bundle) -> "Stack":
        """Return another bundle; over the taggers that are open here, where they are its own.

        Both may work at once; then close only one of them. Where it has other taggers these are
        opened.
        """
        new = Stack(bundle, self.settings, models=self._models)
        if not self.shares_taggers(new):
            new = Stack(bundle, self.settings)
            new._open()
            return new
        with self._lock:
            new._lock = self._lock
            new._opened = self._open().judging(bundle, self.settings)
        return new

    def _open(self) -> "_Opened":
        with self._lock:
            if self._opened is None:
                let_idle_threads_sleep()
                sources = self.bundle.tagger_sources(self._models)
                threads = thread_count(self.settings.threads)
                taggers = load_taggers(sources, self.settings.score, threads=threads)
                try:
                    self._opened = _Opened(taggers, self.bundle, self.settings)
                except BaseException:
                    _close(taggers)
                    raise
            return self._opened

    def _tagged(self, pictures: Mapping[str, Given]) -> dict[str, TaggedImage]:
        with self._lock:
            scores, failures = self._scored(pictures)
            judged = self._open().judge.judge(scores) if scores.n_images else ()
            done = {tagged.image: tagged for tagged in judged}
        for name, reason in failures.items():
            done[name] = TaggedImage(image=name, entries=(), failure=reason)
        return done

    def _scored(self, pictures: Mapping[str, Given]) -> tuple[Level1Scores, dict[str, str]]:
        opened = self._open()
        sink = MemorySink(opened.members, hashes=False)
        opened.score(GivenPictures(pictures), sink)
        failures = {record.path: record.reason for record in sink.failures()}
        good = [name for name in pictures if name not in failures]
        chunks = self.bundle.score_chunks(sink, max(1, len(good)), good)
        return next(chunks, opened.no_scores), failures


class _Opened:
    """What an open stack holds: its taggers, checked, and the judge of their scores."""

    def __init__(self, loaded: Sequence[Tagger], bundle: Bundle, settings: Settings) -> None:
        bundle.check_members(loaded)
        by_name = {tagger.name: tagger for tagger in loaded}
        self.taggers = tuple(by_name[member.name] for member in bundle.members)
        self.members = Members.of(self.taggers)
        self.judge = Judge(bundle, settings.output.score_floor, implied=settings.output.implied)
        self.no_scores = self.members.joined((), [NO_ROWS] * len(self.taggers))
        self._loaded = loaded
        self._settings = settings
        self._checked = False

    def score(self, pictures: PictureSource, sink: MemorySink) -> None:
        """Score pictures; on the first ones other backends than the reference are compared."""
        if not self._checked:
            check_runtimes(pictures, self.taggers, self._settings, _Told())
            self._checked = True
        threads = self._settings.threads
        score_images(pictures, self.taggers, sink, self._settings.score, threads=threads)

    def judging(self, bundle: Bundle, settings: Settings) -> "_Opened":
        """Return the same taggers, open, with the judge of another bundle."""
        other = _Opened(self._loaded, bundle, settings)
        other._checked = self._checked
        return other

    def close(self) -> None:
        """Free the taggers."""
        _close(self._loaded)


def load(
    bundle: AnyPath, models: Sequence[str] | None = None, settings: AnySettings = None
) -> Stack:
    """Return the stack in a bundle's folder.

    Parameters
    ----------
    bundle : path
        As ``tagstack fit`` or `Stack.save` wrote it.
    models : sequence of str, optional
        Where its taggers are now, names or folders; where they were at fit time by default.
    settings : Settings, mapping or path, optional
        Laid over the defaults, as the command line's ``--config``.

    Raises
    ------
    TagstackError
        If it is no bundle or was changed, or the settings hold an unknown key.
    """
    let_idle_threads_sleep()
    folder = Path(bundle)
    given = None if models is None else tuple(models)
    return Stack(load_bundle(folder), _settings(settings), models=given, folder=folder)


def score(
    images: "AnyPath | Sequence[AnyPath] | Mapping[str, Given]",
    models: Sequence[str],
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
    models : sequence of str
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
    own = _settings(settings)
    if isinstance(images, Mapping):
        sources: PictureSource = GivenPictures(images)
    else:
        given = [images] if isinstance(images, str | os.PathLike) else images
        sources = found_images([Path(path) for path in given], own, _Told())
    let_idle_threads_sleep()
    with loaded_taggers(tuple(models), own) as taggers:
        sink = MemorySink(Members.of(taggers))
        score_sources(sources, taggers, sink, own, _Told(progress))
    return Scores(sink)


def fit(
    scores: Scores,
    labels: Labels,
    rules: "Rules | str | os.PathLike[str] | None" = None,
    *,
    where: str | None = None,
    group: str | None = None,
    models: Sequence[str] | None = None,
    settings: AnySettings = None,
) -> Stack:
    """Return a stack fitted on scored and labelled images, in memory.

    Parameters
    ----------
    scores : Scores
    labels : Labels
    rules : Rules, str or path, optional
        As they are, or names of shipped sets and files; no rules by default.
    where : str, optional
        ``COLUMN=VALUE``: only these labels.
    group : str, optional
        Column of the labels whose equal values no split may part.
    models : sequence of str, optional
        Where the taggers are now; where they were when they scored by default.
    settings : Settings, mapping or path, optional
        Laid over the defaults.

    Raises
    ------
    TagstackError
        If scores, labels or rules do not go together.
    """
    own = _settings(settings)
    if not isinstance(rules, Rules):
        rules = Rules.none() if rules is None else load_rules(str(rules))
    source = DatasetSource(scores=scores.reader, labels=labels.table, where=where, group=group)
    let_idle_threads_sleep()
    dataset = fit_images(source, rules, own, _Told())
    bundle = fit_dataset(dataset, rules, own, None, _Told())
    return Stack(bundle, own, models=None if models is None else tuple(models))


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
    source = DatasetSource(scores=scores.reader, labels=labels.table, where=where, group=group)
    return compared(stack.bundle, source, _settings(settings), _Told())


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
    own = _settings(settings)
    texts = tuple(f"{pattern}={text}" for pattern, text in (by_tag or {}).items())
    goal = Goal.of(objective, texts, own.thresholds)
    source = DatasetSource(scores=scores.reader, labels=labels.table, where=where, group=group)
    kept = stack.out_of_fold()
    found = calibrated(stack.bundle, kept, source, goal, own, _Told())
    return stack.with_bundle(found.used(replace(stack.bundle, out_of_fold=kept), CALIBRATED))


class _Told(Silent):
    """Progress of a program: notices and stages to the log."""

    def __init__(self, scored: Callable[[ScoreProgress], None] | None = None) -> None:
        self._scored = scored

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        logger.debug("%s %d of %d" if total else "%s", *(text, done, total)[: 3 if total else 1])

    def notice(self, text: str) -> None:
        logger.info("%s", text)

    def scored(self, state: ScoreProgress) -> None:
        if self._scored is not None:
            self._scored(state)


def _settings(given: AnySettings) -> Settings:
    if isinstance(given, Settings):
        return given
    if isinstance(given, Mapping):
        return load_settings(changes=given)
    return load_settings(None if given is None else Path(given))


def _name_of(image: Given, number: int) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else str(number)


def _close(taggers: Iterable[Tagger]) -> None:
    for tagger in taggers:
        tagger.close()
