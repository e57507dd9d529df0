"""From images and a bundle to tags: score, stack, decode, write, in bounded memory.

Scores go to a store inside the output folder, so that an interrupted run goes on where it was, and
a run for another format scores nothing again.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.atomic import remove_leftovers
from tagstack.base_models.sources import ImageFailure, ImageSources, find_images
from tagstack.base_models.store import ScoreStore
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle import Bundle, load_bundle
from tagstack.ensemble.decisions import Judge
from tagstack.ensemble.outputs import WRITERS, OutputFolder
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring import FAILURES, loaded_taggers, score_sources, write_failures

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
        Of `outputs.WRITERS`.
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
        return score_sources(sources, taggers, store, settings, progress).failures


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
            stack.enter_context(WRITERS[name](folder, settings.output)) for name in request.formats
        ]
        for chunk in store.iter_chunks(_CHUNK, sources.names, members):
            for tagged in judge.judge(chunk):
                n_images += 1
                n_tags += len(tagged.tags)
                for write in writers:
                    write(tagged)
    return n_images, n_tags
