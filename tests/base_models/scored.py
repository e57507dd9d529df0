"""Scoring into a store, as tests of what runs below commands want it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import ScoreProgress, ScoreSummary, score_images
from tagstack.base_models.scoring.sources import PictureSource
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.configs.level1 import ScoreSettings


def score_to_store(
    sources: PictureSource,
    taggers: Sequence[Tagger],
    store: Path,
    settings: ScoreSettings,
    *,
    threads: int,
    progress: Callable[[ScoreProgress], None] | None = None,
    retry_failed: bool = False,
) -> ScoreSummary:
    """Score images into the store in a folder, which is created if needed."""
    with ScoreWriter(store, Members.of(taggers), retry_failed=retry_failed) as sink:
        return score_images(sources, taggers, sink, settings, threads=threads, progress=progress)
