"""From images and a bundle to tags: score, stack, decode, write, in bounded memory.

Scores go to a store inside the output folder, so that an interrupted run goes on where it was, and
a run for another format scores nothing again. What a folder has is brought up to date: pictures
and files that have not changed since are not read.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tagstack.base_models.atomic import file_sha256, remove_leftovers
from tagstack.base_models.atomic_batch import remove_leftovers_in
from tagstack.base_models.locks import ProcessLock
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.base_models.scoring.sources import ImageFailure, ImageSources
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.decisions import Judge, TaggedImage
from tagstack.ensemble.bundle.files import MANIFEST, load_bundle
from tagstack.ensemble.bundle.start import start_facts
from tagstack.ensemble.cascade.routing import Judges, Route
from tagstack.ensemble.moderation.moderator import moderator_of
from tagstack.ensemble.outputs.captions import TaggedFile
from tagstack.ensemble.outputs.folder import OutputFolder, failures_of
from tagstack.ensemble.outputs.idle_names import idle_names
from tagstack.ensemble.outputs.opening import output_folder
from tagstack.ensemble.outputs.stale import settle_stale, stale_rows
from tagstack.ensemble.outputs.written import FOLDER, WrittenRecord, uncollected
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.runs import FAILURES, found_images, write_failures
from tagstack.ensemble.scoring.taggers import loaded_taggers
from tagstack.ensemble.tasks.tag_plan import Pictures, look_at
from tagstack.ensemble.tasks.tag_request import TagRequest, TagSummary, decision_key
from tagstack.ensemble.tasks.tag_scoring import SCORES, Taggers, TagScoring

_CHUNK = 1000  # images stacked and written together: bounds memory, changes no result
_NAMED = 5


def tag_images(
    request: TagRequest,
    settings: Settings,
    progress: Progress,
    *,
    sources: ImageSources | None = None,
    taggers: Taggers = loaded_taggers,
) -> TagSummary:
    """Tag images and write the files; run again to go on, or to bring the files up to date.

    Parameters
    ----------
    request : TagRequest
    settings : Settings
    progress : Progress
    sources : ImageSources, optional
        What was found of the request's images already.
    taggers : callable
        Gives the bundle's taggers where a picture is to be scored; loads them by default.

    Raises
    ------
    TagstackError
        If the bundle, its taggers or the output folder cannot be used, there is no image, neither
        a bundle nor taggers are named, or not every image can be accounted for.
    """
    if request.overwrite:
        replacing = settings.output.model_copy(update={"existing": "replace"})
        settings = settings.model_copy(update={"output": replacing})
    bundle, route, key = _bundle(request, settings)
    for line in idle_names(settings.output, request.given, bundle.vocabulary):
        progress.notice(line)
    if sources is None:
        sources = found_images(request.images, settings, progress)
    out = request.out if request.out is not None else sources.root
    with _held(out), WrittenRecord(out) as record:
        folder = output_folder(
            request.formats,
            sorted({*sources.names, *sources.apart}),
            settings,
            root=sources.root,
            out=out,
            record=record,
            decided_by=key,
            categories=bundle.vocabulary.category_of,
            moderator=moderator_of(settings, bundle.vocabulary),
        )
        scoring = TagScoring(
            request, settings, progress, bundle, sources, out / SCORES, taggers, route
        )
        run = _Run(request, settings, progress, bundle, sources, out, record, folder, scoring)
        return run.done()


def _bundle(request: TagRequest, settings: Settings) -> tuple[Bundle, Route | None, str]:
    """Return the bundle, made of taggers where none is given, its route, and a hash of both."""
    if request.bundle is not None:
        if request.rules is not None:
            msg = "A bundle has rules of its own; leave out --rules, or make a bundle with others."
            raise TagstackError(msg)
        bundle = load_bundle(request.bundle)
        route = Route.asked(bundle, settings.cascade, request.cascade, request.cascade_loss)
        key = "" if route is None else route.key
        return bundle, route, decision_key(file_sha256(request.bundle / MANIFEST), bundle, key)
    if not request.models:
        msg = (
            "Neither a bundle nor taggers are named. Say --bundle FOLDER, or --models A,B,C to "
            "tag without one."
        )
        raise TagstackError(msg)
    from tagstack.ensemble.tasks.start import bundle_of_taggers  # what only it needs is a lot

    bundle = bundle_of_taggers(request.models, request.rules, settings)
    return (
        bundle,
        Route.asked(bundle, settings.cascade, request.cascade, request.cascade_loss),
        decision_key(start_facts(bundle), bundle),
    )


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Hold the lock of an output folder."""
    folder = out / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = ProcessLock(folder / "lock")
        taken = lock.take()
    except OSError as error:
        msg = f"Cannot write to {out}: {error.strerror or error}."
        raise TagstackError(msg) from error
    if not taken:
        msg = (
            f"Process {lock.owner()} is writing tags to {out}. Wait for it to end, or use another "
            "folder."
        )
        raise TagstackError(msg)
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class _Run:
    """One call of `tag_images`."""

    request: TagRequest
    settings: Settings
    progress: Progress
    bundle: Bundle
    sources: ImageSources
    out: Path
    record: WrittenRecord
    folder: OutputFolder
    scoring: TagScoring

    def done(self) -> TagSummary:
        """Do what is due and return what was done."""
        self.progress.stage("looking for changes")
        with uncollected():
            pictures = look_at(self.sources, self.folder, self.record, rehash=self.request.rehash)
            current = self._current(pictures.known)
        contents, failures = self.scoring.settled(pictures, current, self._lacking(pictures))
        current |= self._current({n: contents[n] for n in pictures.unknown if n in contents})
        self._write(pictures, contents, [name for name in contents if name not in current])
        self._note_seen(pictures, contents, current)
        self.folder.note_kept(sorted(current))
        failures = (*failures, *failures_of(self.folder.outcome))
        self._account(contents, pictures, failures)
        return self._summary(pictures, contents, current, failures)

    def _current(self, contents: Mapping[str, str]) -> set[str]:
        """Return those pictures whose sidecars are what they should be."""
        return {name for name, sha256 in contents.items() if self.folder.is_current(name, sha256)}

    def _lacking(self, pictures: Pictures) -> set[str]:
        """Return those pictures that tables will hold and whose rows no table has yet."""
        if self.request.scores is not None or not self.folder.tables:
            return set()
        keys = pictures.row_keys(pictures.known)
        tables = pictures.due_tables(self.folder, keys)
        return self.folder.lacking(tuple(self.folder.tables) if pictures.unknown else tables, keys)

    def _write(self, pictures: Pictures, contents: Mapping[str, str], due: Sequence[str]) -> None:
        keys = pictures.row_keys(contents) if self.folder.tables else {}
        tables = pictures.due_tables(self.folder, keys)
        written = frozenset(due)
        names = written | self.folder.lacking(tables, keys)
        if not names and not tables:
            return
        every = {**pictures.others, **contents}
        wanted = {name: every[name] for name in sorted(names)}
        self.progress.stage("tagging")
        remove_leftovers(self.out)
        remove_leftovers_in(self.folder.folders_of(due))
        with self.folder.tables_opened(tables, keys) as add:
            for done, files in self._tagged(wanted):
                self.progress.stage("tagging", done, len(wanted))
                for file in files:
                    add(file)
                chosen = [file for file in files if file.tagged.image in written]
                self.folder.write(chosen, pictures.seen, str(self.sources.root))

    def _tagged(self, wanted: Mapping[str, str]) -> Iterator[tuple[int, list[TaggedFile]]]:
        """Yield pictures with their tags, a chunk at a time, with how many are done."""
        if not wanted:
            return
        output = self.settings.output
        judge = Judge(
            self.bundle,
            output.score_floor,
            implied=output.implied,
            detailed=self.folder.detailed,
        )
        store, done = self.scoring.reader(wanted), 0
        if self.scoring.route is not None:
            yield from self._routed(self.scoring.route, store, wanted)
            return
        for chunk in self.bundle.score_chunks(store, _CHUNK, list(wanted)):
            tagged = list(judge.judge(chunk))
            done += len(tagged)
            yield done, [self._file(image, wanted[image.image]) for image in tagged]
        if done < len(wanted) and set(wanted) - set(self.sources.names):
            self.progress.notice(
                f"{len(wanted) - done} pictures of earlier runs have no scores any more; the "
                "tables are without them."
            )

    def _routed(
        self, route: Route, store: ScoreReader, wanted: Mapping[str, str]
    ) -> Iterator[tuple[int, list[TaggedFile]]]:
        output, names = self.settings.output, list(wanted)
        judges = Judges(
            route, output.score_floor, implied=output.implied, detailed=self.folder.detailed
        )
        for start in range(0, len(names), _CHUNK):
            found = route.tagged(store, names[start : start + _CHUNK], judges)
            files = [self._file(image, wanted[name]) for name, image in found.items()]
            yield min(start + _CHUNK, len(names)), files

    def _file(self, tagged: TaggedImage, sha256: str) -> TaggedFile:
        row = self.record.images.get(tagged.image)
        here = row is None or tagged.image in self._names
        root = self.sources.root if here or row is None else Path(row.root)
        return TaggedFile(tagged=tagged, path=root / tagged.image, sha256=sha256)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.sources.names)

    def _note_seen(
        self, pictures: Pictures, contents: Mapping[str, str], current: Set[str]
    ) -> None:
        """Record pictures that look otherwise but hold what they held."""
        touched = [name for name in pictures.unknown if name in current]
        rows = [
            self.record.images[name]._replace(
                seen=pictures.seen[name],
                root=str(self.sources.root),
                sha256=contents[name],
            )
            for name in touched
            if name in self.record.images
        ]
        if rows:
            self.record.save(images=rows)

    def _account(
        self,
        contents: Mapping[str, str],
        pictures: Pictures,
        failures: Sequence[ImageFailure],
    ) -> None:
        """Raise unless tagged, failed and skipped pictures are those that were found."""
        tagged = {name for name in contents if name in self.record.images}
        through = tagged | pictures.skipped | {failure.name for failure in failures}
        left = [name for name in self.sources.names if name not in through]
        if left:
            names = ", ".join(left[:_NAMED])
            msg = (
                f"{len(self.sources.names)} pictures were found, but {len(left)} were neither "
                f"tagged nor failed nor skipped: {names}. This is a fault of tagstack; the others "
                "are done. Please report it."
            )
            raise TagstackError(msg)

    def _summary(
        self,
        pictures: Pictures,
        contents: Mapping[str, str],
        current: Set[str],
        failures: Sequence[ImageFailure],
    ) -> TagSummary:
        failures = tuple(sorted(failures, key=lambda item: item.name))
        write_failures(self.out / FAILURES, failures)
        rows = stale_rows(self.record, self.sources.root, self.sources.names)
        stale, pruned = settle_stale(self.record, rows, prune=self.request.prune)
        failed = {failure.name for failure in failures}
        tagged = [name for name in contents if name not in failed]
        return TagSummary(
            n_images=len(tagged),
            n_tags=sum(self.record.images[name].n_tags for name in tagged),
            n_current=len(current),
            n_skipped=len(pictures.skipped),
            thresholds=self.bundle.threshold_version,
            failures=failures,
            kept=tuple(self.folder.outcome.kept),
            moved=tuple(self.folder.outcome.moved),
            stale=tuple(stale),
            pruned=pruned,
            collisions=self.folder.names.collisions,
            caution=self.bundle.caution,
            unwritten=tuple(sorted(self.folder.outcome.failures)),
        )
