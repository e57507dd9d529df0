"""Before scoring: say what runs, and compare what is new with ONNX Runtime."""

from collections.abc import Sequence

from tagstack.base_models.engines.first_use import (
    has_lost_its_source,
    needs_report,
    verify_first_use,
)
from tagstack.base_models.runtimes.selection import RuntimeChoice, choose
from tagstack.base_models.sources import ImageSources
from tagstack.base_models.tagger import Tagger
from tagstack.base_models.threads import thread_count
from tagstack.configs.settings import Settings
from tagstack.ensemble.progress import Progress


def check_runtimes(
    sources: ImageSources, taggers: Sequence[Tagger], settings: Settings, progress: Progress
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
