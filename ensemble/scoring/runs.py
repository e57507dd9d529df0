"""One run of taggers over pictures into a sink, and the file that names what failed."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.sink import ScoreSink
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import ScoreSummary, score_images
from tagstack.base_models.scoring.sources import (
    ImageFailure,
    ImageSources,
    PictureSource,
    find_images,
)
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.configs.settings import Settings
from tagstack.configs.shown import shown
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.taggers import check_runtimes
from tagstack.ensemble.scoring.words import features_text, passes_text

FAILURES = "failures.csv"


def found_images(images: Sequence[Path], settings: Settings, progress: Progress) -> ImageSources:
    """Return the images that files and folders hold, and say what else is there."""
    sources = find_images(images, extensions=settings.score.extensions)
    if passed_over := sources.passed_over_text():
        progress.notice(f"Passed over {passed_over}.")
    return sources


def score_to_store(
    sources: PictureSource,
    taggers: Sequence[Tagger],
    store: Path,
    settings: Settings,
    progress: Progress,
    *,
    retry_failed: bool = False,
) -> ScoreSummary:
    """Score found images with loaded taggers; see `score_sources`."""
    with ScoreWriter(store, Members.of(taggers), retry_failed=retry_failed) as sink:
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
    if settings.score.devices:
        progress.notice("score.devices is for `tagstack score`; here one device does it all.")
    check_runtimes(sources, taggers, settings, progress)
    if said := passes_text(taggers):
        progress.notice(said)
    if said := features_text(taggers, len(sources.names)):
        progress.notice(said)
    progress.stage("scoring")
    return score_images(
        sources, taggers, sink, settings.score, threads=settings.threads, progress=progress.scored
    )


def write_failures(target: Path, failures: Iterable[ImageFailure]) -> None:
    """Write ``image,reason`` for each failed image; remove the file when there is none."""
    text = io.StringIO()
    table = TableWriter(text)
    table.writerow(("image", "reason"))
    rows = [(shown(failure.name), shown(failure.reason)) for failure in failures]
    table.writerows(rows)
    if rows:
        write_text(target, text.getvalue())
    else:
        target.unlink(missing_ok=True)
