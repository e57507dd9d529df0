"""From images and a bundle to tags: score, stack, decode, write, in bounded memory.

Scores go to a store inside the output folder, so that an interrupted run goes on where it was, and
a run for another format scores nothing again. What a folder has is brought up to date: pictures
and files that have not changed since are not read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from tagstack.base_models.atomic import file_sha256, remove_leftovers
from tagstack.base_models.atomic_batch import remove_leftovers_in
from tagstack.base_models.locks import ProcessLock
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scoring.sources import ImageFailure, ImageSources
from tagstack.base_models.taggers.tagger import Tagger
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
from tagstack.ensemble.outputs.opening import output_folder
from tagstack.ensemble.outputs.stale import settle_stale, stale_rows
from tagstack.ensemble.outputs.written import FOLDER, WrittenRecord, uncollected
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.tasks.scoring import (
    FAILURES,
    found_images,
    loaded_taggers,
    score_to_store,
    scoring_settings,
    write_failures,
)
from tagstack.ensemble.tasks.stored_scores import NamedContents, hashed
from tagstack.ensemble.tasks.tag_plan import Pictures, look_at
from tagstack.ensemble.tasks.tag_request import TagRequest, TagSummary, decision_key

SCORES = ".scores"
_CHUNK = 1000  # images stacked and written together: bounds memory, changes no result
_NAMED = 5

# Gives the taggers of some names under settings, for as long as the block runs.
Taggers: TypeAlias = Callable[[Sequence[str], Settings], AbstractContextManager[Sequence[Tagger]]]


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
        run = _Run(
            request, settings, progress, bundle, sources, out, record, folder, taggers, route
        )
        return run.done()


def _bundle(request: TagRequest, settings: Settings) -> tuple[Bundle, Route | None, str]:
    """Return the bundle, made of taggers where none is given, its route, and a hash of both."""
    if request.bundle is not None:
        if request.rules is not None:
            msg = "A bundle has rules of its own; leave out --rules, or make a bundle with others."
            raise TagstackError(msg)
        bundle = load_bundle(request.bundle)
        route = Route.of(bundle, request.cascade, request.cascade_loss)
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
        Route.of(bundle, request.cascade, request.cascade_loss),
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
    taggers: Taggers
    route: Route | None = None

    def done(self) -> TagSummary:
        """Do what is due and return what was done."""
        self.progress.stage("looking for changes")
        with uncollected():
            pictures = look_at(self.sources, self.folder, self.record, rehash=self.request.rehash)
            current = self._current(pictures.known)
        contents, failures = self._settled(pictures, current)
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

    def _settled(
        self, pictures: Pictures, current: Set[str]
    ) -> tuple[dict[str, str], tuple[ImageFailure, ...]]:
        """Return the content of every picture that has scores, and what failed."""
        if self.request.scores is not None:
            return self._looked_up(self.request.scores, pictures, current)
        failures = self._score(pictures, current)
        return self._contents(pictures, failures), failures

    def _looked_up(
        self, store: Path, pictures: Pictures, current: Set[str]
    ) -> tuple[dict[str, str], tuple[ImageFailure, ...]]:
        """Return the contents that a store has scores of; the others fail."""
        reader = ScoreStore(store)
        self.bundle.check_members(reader.members())
        read, failed = hashed(self.sources, pictures.unknown, self.settings, self.progress)
        contents = {**pictures.known, **{name: record.sha256 for name, record in read.items()}}
        members = list(self.bundle.member_names)
        there = set(NamedContents(reader, contents).scored(list(contents), members)) | current
        lacking = {
            name: f"{store} has no scores of it by all of {', '.join(members)}"
            for name in contents.keys() - there
        }
        failures = [ImageFailure(name, why) for name, why in {**failed, **lacking}.items()]
        return (
            {name: contents[name] for name in sorted(contents) if name in there},
            (*self.sources.failures, *failures),
        )

    def _score(self, pictures: Pictures, current: Set[str]) -> tuple[ImageFailure, ...]:
        """Score what has no scores yet; without loading a tagger where that is nothing."""
        names = set(pictures.unknown)
        lacking = self._lacking(pictures)
        needed = {
            n: sha256 for n, sha256 in pictures.known.items() if n not in current or n in lacking
        }
        names |= needed.keys() - (self._scored(needed) if self.route is None else set())
        if not names:
            return self.sources.failures
        models = self.bundle.tagger_sources(self.request.models)
        settings = scoring_settings(self.bundle, self.settings)
        sources = replace(self.sources, names=tuple(sorted(names)))
        if self.request.ray is not None:
            return self._on_cluster(self.request.ray, sources, models, settings)
        with self.taggers(models, settings) as taggers:
            self.bundle.check_members(taggers)
            if self.route is not None:
                return self._in_stages(self.route, sources, taggers, settings)
            return score_to_store(
                sources,
                taggers,
                self.out / SCORES,
                settings,
                self.progress,
                retry_failed=self.request.retry_failed,
            ).failures

    def _on_cluster(
        self, address: str, sources: ImageSources, models: Sequence[str], settings: Settings
    ) -> tuple[ImageFailure, ...]:
        """Score pictures with the workers of a cluster; no tagger is loaded here."""
        from tagstack.ensemble.cluster.scoring import score_on_cluster

        if self.route is not None:
            msg = (
                "--ray asks all taggers, --cascade only those that a picture needs. Expected one "
                "of the two. Leave one out."
            )
            raise TagstackError(msg)
        return score_on_cluster(
            sources,
            models,
            self.out / SCORES,
            settings,
            self.progress,
            address=address,
            retry_failed=self.request.retry_failed,
            check=self.bundle.check_members,
        ).failures

    def _in_stages(
        self, route: Route, sources: ImageSources, taggers: Sequence[Tagger], settings: Settings
    ) -> tuple[ImageFailure, ...]:
        """Score pictures with the first taggers, and those that go on with the next ones."""
        by_name = {tagger.name: tagger for tagger in taggers}
        failures: list[ImageFailure] = []
        counts = []
        for stage in range(route.n_stages):
            summary = score_to_store(
                sources,
                [by_name[name] for name in route.newcomers(stage)],
                self.out / SCORES,
                settings,
                self.progress,
                retry_failed=self.request.retry_failed,
            )
            failures += summary.failures
            store = ScoreStore(self.out / SCORES)
            here = store.scored(sources.names, route.members(stage))
            going_on = route.going_on(stage, store, here)
            counts.append(len(here) - len(going_on))
            sources = replace(sources, names=tuple(going_on), failures=())
            if not going_on:
                break
        counts += [0] * (route.n_stages - len(counts))
        self.progress.notice(route.said(counts))
        write_failures(self.out / SCORES / FAILURES, failures)
        return tuple(failures)

    def _lacking(self, pictures: Pictures) -> set[str]:
        """Return those pictures that tables will hold and whose rows no table has yet."""
        if not self.folder.tables:
            return set()
        keys = pictures.row_keys(pictures.known)
        tables = pictures.due_tables(self.folder, keys)
        return self.folder.lacking(tuple(self.folder.tables) if pictures.unknown else tables, keys)

    def _scored(self, contents: Mapping[str, str]) -> set[str]:
        """Return those pictures whose contents have scores of the bundle's taggers."""
        if not contents:
            return set()
        store = ScoreStore(self.out / SCORES)
        try:
            self.bundle.check_members(store.members())
        except TagstackError:  # no store, a damaged one, or scores of other taggers
            return set()
        records, members = store.image_records(), list(self.bundle.member_names)
        same = [n for n, sha256 in contents.items() if n in records and records[n].sha256 == sha256]
        return set(store.scored(same, members))

    def _contents(self, pictures: Pictures, failures: Sequence[ImageFailure]) -> dict[str, str]:
        """Return the SHA-256 of every picture that has scores now."""
        contents = dict(pictures.known)
        if pictures.unknown:
            failed = {failure.name for failure in failures}
            read = ScoreStore(self.out / SCORES).image_records()
            for name in pictures.unknown:
                if name in read and name not in failed and name in pictures.seen:
                    contents[name] = read[name].sha256
        return dict(sorted(contents.items()))

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
        store, done = self._reader(wanted), 0
        if self.route is not None:
            yield from self._routed(self.route, store, wanted)
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

    def _reader(self, wanted: Mapping[str, str]) -> ScoreReader:
        if self.request.scores is not None:
            return NamedContents(ScoreStore(self.request.scores), wanted)
        return ScoreStore(self.out / SCORES)

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
