"""A fitted stack whose taggers stay open: from pictures to tags without a file."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import NoReturn, Self

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.pictures.given import Given, is_picture
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scoring.sources import GivenPictures
from tagstack.base_models.threads import begin_work, was_forked
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.decisions import TaggedImage
from tagstack.ensemble.bundle.files import load_bundle, out_of_fold_of, save_bundle
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.cascade.routing import JoinedReader, Judges, Route, answering
from tagstack.ensemble.face.arguments import AnyPath, check_kind
from tagstack.ensemble.face.in_memory import Scores
from tagstack.ensemble.face.open_bundle import OpenBundle
from tagstack.ensemble.scoring.taggers import scoring_settings
from tagstack.ensemble.tasks.explain import Explanation, check_tag, explained


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
        self._opened: OpenBundle | None = None

    def __enter__(self) -> Self:
        self._route()
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
    def folder(self) -> Path | None:
        """Folder of the bundle; None for a stack that was made in memory."""
        return self._folder

    @property
    def models(self) -> tuple[str, ...] | None:
        """Where its taggers are now; None for where they were at fit time."""
        return self._models

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag that some tagger of the stack knows."""
        return self.bundle.vocabulary.tags

    def tag(self, image: Given, *, cascade: float | None = None) -> TaggedImage:
        """Return the tags of one picture.

        Parameters
        ----------
        image : Given
            A path, the bytes of an image file, an array of shape (height, width, 3), uint8, RGB
            (or RGBA, or without the last axis), or a PIL image.
        cascade : float, optional
            Largest share of the taggers' cost, on average, for a bundle with a cascade: only the
            taggers that it takes for needed look at the picture. By default what the settings say
            (``cascade.cost``, ``cascade.loss``): there all of them unless told otherwise.

        Raises
        ------
        TagstackError
            If the picture cannot be read, a tagger cannot be used, or there is no cascade.
        """
        (tagged,) = self.tag_many([image], cascade=cascade)
        if tagged.failure:
            raise TagstackError(f"Cannot read {tagged.image or 'the picture'}: {tagged.failure}.")
        return tagged

    def tag_many(
        self, images: Iterable[Given], *, cascade: float | None = None
    ) -> Iterator[TaggedImage]:
        """Yield the tags of each picture, in their order.

        A picture that cannot be read has no tags and says why in ``failure``. ``image`` is the
        path of a file, and for another picture its number in the order given, from 0. Pictures
        are taken ``score.batch_images`` at a time, so memory is bounded however many there are.
        ``cascade`` is as for `tag`.

        Raises
        ------
        TagstackError
            If one picture is given, which would be taken for its letters, bytes or rows.
        """
        if is_picture(images):
            kind = type(images).__name__
            msg = f"One picture ({kind}) where several are expected; use tag, or [picture]."
            raise TagstackError(msg)
        return self._tagged_in_turn(images, self._route(cascade))

    def _tagged_in_turn(
        self, images: Iterable[Given], route: Route | None
    ) -> Iterator[TaggedImage]:
        numbered, batch = zip(count(), images, strict=False), self.settings.score.batch_images
        while chunk := list(islice(numbered, batch)):
            names = {str(number): _name_of(image, number) for number, image in chunk}
            done = self._tagged({str(number): image for number, image in chunk}, route)
            for number, name in names.items():
                yield replace(done[number], image=name)

    def __reduce__(self) -> NoReturn:
        msg = (
            "A Stack goes to no other process: its taggers and their threads stay in this one. "
            "Load its folder there: tagstack.load(folder)."
        )
        raise TypeError(msg)

    def explain(
        self, image: Given, tag: str | None = None, *, cascade: float | None = None
    ) -> Explanation:
        """Return what led to a picture's tags, or to one tag's being there or not.

        ``cascade`` is as for `tag`: the tags that are explained are those that it gives.

        Raises
        ------
        TagstackError
            If the picture cannot be read, no tagger knows the tag, or there is no cascade.
        """
        check_tag(self.bundle, tag)
        route, name = self._route(cascade), _name_of(image, 0)
        with self._lock:
            opened = self._open()

            def look(members: tuple[str, ...]) -> MemorySink:
                sink = opened.sink_of(members)
                opened.score(GivenPictures({name: image}), sink, members)
                for record in sink.failures():
                    raise TagstackError(f"Cannot read {name}: {record.reason}.")
                return sink

            return explained(self.bundle, *answering(self.bundle, route, name, look), tag)

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
        begin_work()
        check_kind(scores, (Scores, Level1Scores), "scores", "tagstack.score(...)")
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
        if was_forked():
            return  # they are the other process's, and so is the lock
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
        new._route()
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
        new._route()
        if not self.shares_taggers(new):
            new = Stack(bundle, self.settings)
            new._open()
            return new
        with self._lock:
            new._lock = self._lock
            new._opened = self._open().judging(bundle, self.settings)
        return new

    def _route(self, cascade: float | None = None) -> Route | None:
        """Return who looks at which picture; refuses what the bundle or this process cannot."""
        begin_work()
        return Route.asked(self.bundle, self.settings.cascade, cascade)

    def _open(self) -> OpenBundle:
        with self._lock:
            if self._opened is None:
                self._opened = OpenBundle.of(self.bundle, self.settings, self._models)
            return self._opened

    def _tagged(self, pictures: Mapping[str, Given], route: Route | None) -> dict[str, TaggedImage]:
        if route is not None:
            return self._routed(pictures, route)
        with self._lock:
            scores, failures = self._scored(pictures)
            judged = self._open().judge.judge(scores) if scores.n_images else ()
            done = {tagged.image: tagged for tagged in judged}
        for name, reason in failures.items():
            done[name] = TaggedImage(image=name, entries=(), failure=reason)
        return done

    def _routed(self, pictures: Mapping[str, Given], route: Route) -> dict[str, TaggedImage]:
        output = self.settings.output
        with self._lock:
            opened = self._open()
            left = list(pictures)
            sinks: list[MemorySink] = []
            failures: dict[str, str] = {}
            for stage in range(route.n_stages):
                members = route.newcomers(stage)
                sinks.append(opened.sink_of(members))
                asked = GivenPictures({name: pictures[name] for name in left})
                opened.score(asked, sinks[-1], members)
                failures |= {record.path: record.reason for record in sinks[-1].failures()}
                good = [name for name in left if name not in failures]
                left = route.going_on(stage, JoinedReader(sinks), good)
                if not left:
                    break
            judges = Judges(route, output.score_floor, implied=output.implied)
            good = [name for name in pictures if name not in failures]
            done = route.tagged(JoinedReader(sinks), good, judges)
        for name, reason in failures.items():
            done[name] = TaggedImage(image=name, entries=(), failure=reason)
        return done

    def _scored(self, pictures: Mapping[str, Given]) -> tuple[Level1Scores, dict[str, str]]:
        opened = self._open()
        sink = opened.sink_of()
        opened.score(GivenPictures(pictures), sink)
        failures = {record.path: record.reason for record in sink.failures()}
        good = [name for name in pictures if name not in failures]
        chunks = self.bundle.score_chunks(sink, max(1, len(good)), good)
        return next(chunks, opened.no_scores), failures


def _name_of(image: Given, number: int) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else str(number)
