"""From images and a bundle to tags: score, stack, decode, write, in bounded memory.

Scores go to a store inside the output folder, so that an interrupted run goes on where it was, and
a run for another format scores nothing again.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.atomic import remove_leftovers, write_text
from tagstack.base_models.parity.first_use import (
    has_lost_its_source,
    needs_report,
    verify_first_use,
)
from tagstack.base_models.runtimes.selection import RuntimeChoice, choose
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.sink import ScoreSink
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import ScoreSummary, score_images
from tagstack.base_models.scoring.sources import (
    ImageFailure,
    ImageSources,
    PictureSource,
    find_images,
)
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.threads import thread_count
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle, load_bundle
from tagstack.ensemble.bundle.decisions import Judge
from tagstack.ensemble.outputs.outputs import OutputFolder, writer
from tagstack.ensemble.progress import Progress


def check_runtimes(
    sources: PictureSource, taggers: Sequence[Tagger], settings: Settings, progress: Progress
) -> None:
    """Say what ``auto`` took, compare taggers that have no report yet, and refuse bad ones.

    Raises
    ------
    TagstackError
        If a tagger's scores are too far from those of ONNX Runtime in fp32.
    """
    if settings.score.backend == "auto":
        chosen = choose(RuntimeChoice.of_settings(settings.score))
        progress.notice(f"score.backend = auto takes {chosen.backend} ({chosen.reason}).")
    for tagger in taggers:
        if has_lost_its_source(tagger):
            progress.notice(
                f"{tagger.name} is quantised and the float32 tagger that it was made from is gone: "
                f"how far it is from that cannot be told."
            )
    if not any(needs_report(tagger) for tagger in taggers):
        return
    progress.stage("comparing with ONNX Runtime")
    threads = thread_count(settings.threads)
    for report in verify_first_use(sources, taggers, settings.score, threads=threads):
        progress.notice(
            f"{report.tagger} runs in {report.runtime}, {report.precision}: of its tags on "
            f"{report.n_images} images, {report.flip_share:.1%} differ from {report.reference}."
        )


SCORES = ".scores"
_CHUNK = 1000  # images stacked together: bounds memory, changes no result


@dataclass(frozen=True, kw_only=True)
class TagRequest:
    """What to tag, with what, and where the tags go.

    Parameters
    ----------
    images : tuple of Path
        Files or folders.
    bundle, out : Path
    formats : tuple of str
        Of `hooks.OUTPUT_FORMATS`.
    models : tuple of str, optional
        Where the bundle's taggers are now; where they were at fit time by default.
    overwrite : bool
        Whether existing files with other content are replaced.
    """

    images: tuple[Path, ...]
    bundle: Path
    out: Path
    formats: tuple[str, ...] = ("txt",)
    models: tuple[str, ...] | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class TagSummary:
    """What a run wrote.

    Parameters
    ----------
    n_images, n_tags : int
        Images tagged, and tags over all of them.
    thresholds : str
        Version of the bundle's thresholds that decided.
    failures : tuple of ImageFailure
    kept : tuple of Path
        Files that were there with other content and stay as they are.
    collisions : tuple of str
        Images that share their stem with another and keep their suffix in sidecar names.
    """

    n_images: int
    n_tags: int
    thresholds: str
    failures: tuple[ImageFailure, ...]
    kept: tuple[Path, ...]
    collisions: tuple[str, ...]

    @property
    def n_failed(self) -> int:
        """Images without tags."""
        return len(self.failures)


def tag_images(request: TagRequest, settings: Settings, progress: Progress) -> TagSummary:
    """Tag images and write the files; run again to go on after an interruption.

    Raises
    ------
    TagstackError
        If the bundle, its taggers or the output folder cannot be used, or there is no image.
    """
    bundle = load_bundle(request.bundle)
    sources = find_images(request.images, extensions=settings.score.extensions)
    failures = _score(request, bundle, sources, settings, progress)
    progress.stage("tagging")
    remove_leftovers(request.out, below=True)
    folder = OutputFolder(request.out, sources.names, overwrite=request.overwrite)
    n_images, n_tags = _write(request, bundle, sources, settings, folder)
    failures = tuple(sorted((*failures, *folder.failures), key=lambda item: item.name))
    write_failures(request.out / FAILURES, failures)
    return TagSummary(
        n_images=n_images,
        n_tags=n_tags,
        thresholds=bundle.threshold_version,
        failures=failures,
        kept=tuple(folder.kept),
        collisions=folder.collisions,
    )


def _score(
    request: TagRequest,
    bundle: Bundle,
    sources: ImageSources,
    settings: Settings,
    progress: Progress,
) -> tuple[ImageFailure, ...]:
    models = bundle.tagger_sources(request.models)
    # What counts as "too small to store" is part of the scores that the stack was fitted on.
    floor = {"floor": bundle.settings.score.floor}
    settings = settings.model_copy(update={"score": settings.score.model_copy(update=floor)})
    with loaded_taggers(models, settings) as taggers:
        bundle.check_members(taggers)
        store = request.out / SCORES
        return _to_store(sources, taggers, store, settings, progress).failures


def _write(
    request: TagRequest,
    bundle: Bundle,
    sources: ImageSources,
    settings: Settings,
    folder: OutputFolder,
) -> tuple[int, int]:
    judge = Judge(bundle, settings.output.score_floor, implied=settings.output.implied)
    store = ScoreStore(request.out / SCORES)
    members = [member.name for member in bundle.members]
    n_images = n_tags = 0
    with ExitStack() as stack:
        writers = [
            stack.enter_context(writer(name, folder, settings.output)) for name in request.formats
        ]
        for chunk in store.iter_chunks(_CHUNK, sources.names, members):
            for tagged in judge.judge(chunk):
                n_images += 1
                n_tags += len(tagged.tags)
                for write in writers:
                    write(tagged)
    return n_images, n_tags


FAILURES = "failures.csv"


def score_folder(
    images: Sequence[Path],
    models: Sequence[str],
    store: Path,
    settings: Settings,
    progress: Progress,
) -> ScoreSummary:
    """Score images with taggers; name every image that failed in the store's failures.csv.

    Parameters
    ----------
    images : sequence of Path
        Files or folders.
    models : sequence of str
        Registry names or tagger folders.
    store : Path
        Folder of the score store; what it has already is not computed again.

    Raises
    ------
    TagstackError
        If a tagger or the store cannot be used, or there is no image.
    """
    sources = find_images(images, extensions=settings.score.extensions)
    with loaded_taggers(models, settings) as taggers:
        return _to_store(sources, taggers, store, settings, progress)


def _to_store(
    sources: ImageSources,
    taggers: Sequence[Tagger],
    store: Path,
    settings: Settings,
    progress: Progress,
) -> ScoreSummary:
    """Score found images with loaded taggers; see `score_folder`."""
    with ScoreWriter(store, Members.of(taggers)) as sink:
        summary = score_sources(sources, taggers, sink, settings, progress)
    write_failures(store / FAILURES, summary.failures)
    return summary


def score_sources(
    sources: PictureSource,
    taggers: Sequence[Tagger],
    sink: ScoreSink,
    settings: Settings,
    progress: Progress,
) -> ScoreSummary:
    """Score images with loaded taggers into an open sink, after a look at the runtimes."""
    check_runtimes(sources, taggers, settings, progress)
    progress.stage("scoring")
    return score_images(
        sources, taggers, sink, settings.score, threads=settings.threads, progress=progress.scored
    )


@contextmanager
def loaded_taggers(models: Sequence[str], settings: Settings) -> Iterator[tuple[Tagger, ...]]:
    """Load taggers by registry name or folder, and free them at the end."""
    taggers = load_taggers(tuple(models), settings.score, threads=thread_count(settings.threads))
    try:
        yield taggers
    finally:
        for tagger in taggers:
            tagger.close()


def write_failures(target: Path, failures: Iterable[ImageFailure]) -> None:
    """Write ``image,reason`` for each failed image; remove the file when there is none."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("image", "reason"))
    rows = [(failure.name, failure.reason) for failure in failures]
    table.writerows(rows)
    if rows:
        write_text(target, text.getvalue())
    else:
        target.unlink(missing_ok=True)
