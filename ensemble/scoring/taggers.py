"""Taggers for one job: loaded, held against the reference, freed at the end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tagstack.base_models.parity.first_use import (
    has_lost_its_source,
    needs_report,
    verify_first_use,
)
from tagstack.base_models.runtimes.selection import RuntimeChoice, choose
from tagstack.base_models.scoring.sources import PictureSource
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.threads import thread_count
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.progress import Progress


@contextmanager
def loaded_taggers(models: Sequence[str], settings: Settings) -> Iterator[tuple[Tagger, ...]]:
    """Load taggers by registry name or folder, and free them at the end."""
    taggers = load_taggers(tuple(models), settings.score, threads=thread_count(settings.threads))
    try:
        yield taggers
    finally:
        for tagger in taggers:
            tagger.close()


def scoring_settings(bundle: Bundle, settings: Settings) -> Settings:
    """Return settings with what the bundle was fitted on: floor, features, tags with sides."""
    fitted = bundle.settings.score
    kept = {"floor": fitted.floor, "features": fitted.features, "sided": fitted.sided}
    return settings.model_copy(update={"score": settings.score.model_copy(update=kept)})


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
