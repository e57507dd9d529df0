"""Level 1 as one call: taggers by name, images by path, scores into a store."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.base_models.pipeline import ScoreSummary, score_images
from tagstack.base_models.registry import load_taggers
from tagstack.base_models.sources import ImageFailure, ImageSources, find_images
from tagstack.base_models.tagger import Tagger
from tagstack.base_models.threads import thread_count
from tagstack.configs.settings import Settings
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.runtime_check import check_runtimes

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
        return score_sources(sources, taggers, store, settings, progress)


def score_sources(
    sources: ImageSources,
    taggers: Sequence[Tagger],
    store: Path,
    settings: Settings,
    progress: Progress,
) -> ScoreSummary:
    """Score found images with loaded taggers; see `score_folder`."""
    check_runtimes(sources, taggers, settings, progress)
    progress.stage("scoring")
    summary = score_images(
        sources, taggers, store, settings.score, threads=settings.threads, progress=progress.scored
    )
    write_failures(store / FAILURES, summary.failures)
    return summary


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
