"""Scoring as commands do it: taggers loaded, runtimes checked, failures named in a file."""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.base_models.parity.first_use import (
    has_lost_its_source,
    needs_report,
    verify_first_use,
)
from tagstack.base_models.remote.address import addresses_of
from tagstack.base_models.remote.pictures import find_remote
from tagstack.base_models.remote.stores import writable_here
from tagstack.base_models.runtimes.bf16 import bf16_advice, bf16_units
from tagstack.base_models.runtimes.selection import RuntimeChoice, choose
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.sink import ScoreSink
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import ScoreSummary, score_images
from tagstack.base_models.scoring.sources import (
    ImageFailure,
    ImageSources,
    PictureSource,
    SharedSource,
    find_images,
)
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.threads import thread_count
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.shown import shown
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.progress import Progress

FAILURES = "failures.csv"


def score_folder(
    images: Sequence[Path],
    models: Sequence[str],
    store: Path,
    settings: Settings,
    progress: Progress,
    *,
    retry_failed: bool = False,
    shard: str | None = None,
    ray: str | None = None,
    shards: int | None = None,
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
    retry_failed : bool
        Whether to try images again whose decoding took too long or crashed in an earlier run.
    shard : str, optional
        ``"I/N"``: only the I-th of N shares of the images (see `ImageSources.share`).
    ray : str, optional
        Address of a Ray cluster whose workers do it; see `cluster.score_on_cluster`.
    shards : int, optional
        Into how many shards the images go there.

    Raises
    ------
    TagstackError
        If a tagger or the store cannot be used, there is no image, or the shard is none.
    """
    with writable_here(store, settings.remote) as here:
        number, of = _share(shard) if shard is not None else (1, 1)
        sources = _found_pictures(images, settings, progress).share(number, of)
        if here != store and ray is not None:
            raise TagstackError(_NO_SHARED_STORE)
        return _scored(
            sources, models, here, settings, progress,
            retry_failed=retry_failed, ray=ray, shards=shards,
        )  # fmt: skip


_NO_SHARED_STORE = (
    "--ray with a store in an object store: workers write shards into a folder that all of them "
    "see. Expected such a folder for --scores. Score into one, or share out with --shard I/N into "
    "stores of their own, which may lie in an object store, and merge those."
)


def _scored(
    sources: SharedSource,
    models: Sequence[str],
    store: Path,
    settings: Settings,
    progress: Progress,
    *,
    retry_failed: bool,
    ray: str | None,
    shards: int | None,
) -> ScoreSummary:
    """Score pictures where the settings and the address of a cluster say."""
    if ray is not None:
        from tagstack.ensemble.cluster.scoring import score_on_cluster

        summary = score_on_cluster(
            sources, models, store, settings, progress,
            address=ray, shards=shards, retry_failed=retry_failed,
        )  # fmt: skip
        write_failures(store / FAILURES, summary.failures)
        return summary
    if settings.score.devices:
        from tagstack.ensemble.tasks.devices import score_on_devices

        if not isinstance(sources, ImageSources):
            msg = (
                f"score.devices are for pictures on this machine; these are at "
                f"{shown(sources.origin)}. Expected one device. Leave out --devices, or share out "
                f"with --shard I/N or --ray."
            )
            raise TagstackError(msg)
        summary = score_on_devices(
            sources, models, store, settings, progress, retry_failed=retry_failed
        )
        write_failures(store / FAILURES, summary.failures)
        return summary
    with loaded_taggers(models, settings) as taggers:
        if said := faster_text(taggers):
            progress.notice(said)
        return score_to_store(
            sources, taggers, store, settings, progress, retry_failed=retry_failed
        )


def _share(shard: str) -> tuple[int, int]:
    """Return which share of how many a text such as ``2/4`` names."""
    number, slash, of = shard.partition("/")
    digits = slash and all(text.isascii() and text.isdigit() for text in (number, of))
    if not digits or len(of) > 6 or not 1 <= int(number[-7:]) <= int(of):
        msg = f"--shard is {shown(shard)!r}, expected I/N with I from 1 to N, such as 2/4."
        raise TagstackError(msg)
    return int(number), int(of)


def found_images(images: Sequence[Path], settings: Settings, progress: Progress) -> ImageSources:
    """Return the images that files and folders hold, and say what else is there."""
    sources = find_images(images, extensions=settings.score.extensions)
    if passed_over := sources.passed_over_text():
        progress.notice(f"Passed over {passed_over}.")
    return sources


def _found_pictures(images: Sequence[Path], settings: Settings, progress: Progress) -> SharedSource:
    """Return the pictures of files, folders or an address, and say what else is there."""
    if not (addresses := addresses_of(images)):
        return found_images(images, settings, progress)
    progress.stage(f"listing {shown(addresses[0])}")
    found = find_remote(addresses, settings.remote, extensions=settings.score.extensions)
    if passed_over := found.passed_over_text():
        progress.notice(f"Passed over {passed_over}.")
    return found


def scoring_settings(bundle: Bundle, settings: Settings) -> Settings:
    """Return settings with what the bundle was fitted on: floor, features, tags with sides."""
    fitted = bundle.settings.score
    kept = {"floor": fitted.floor, "features": fitted.features, "sided": fitted.sided}
    return settings.model_copy(update={"score": settings.score.model_copy(update=kept)})


def score_to_store(
    sources: PictureSource,
    taggers: Sequence[Tagger],
    store: Path,
    settings: Settings,
    progress: Progress,
    *,
    retry_failed: bool = False,
) -> ScoreSummary:
    """Score found images with loaded taggers; see `score_folder`."""
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


def faster_text(taggers: Sequence[Tagger]) -> str:
    """Return how to score in half the time, where taggers run in fp32 on a CPU with bf16 units."""
    infos = [tagger.session.info for tagger in taggers]
    slow = any((info.device, info.precision) == ("cpu", "fp32") for info in infos)
    units = bf16_units() if slow else ()
    return bf16_advice(units) if units else ""


def passes_text(taggers: Sequence[Tagger]) -> str:
    """Return what a mirrored pass costs; nothing where no tagger has one."""
    mirrored = [tagger for tagger in taggers if tagger.mirror is not None]
    if not mirrored:
        return ""
    sided = {tag for tagger in mirrored for tag in tagger.sided_tags}
    named = ", ".join(sorted(sided)[:3]) + (", ..." if len(sided) > 3 else "")
    kept = f"; {len(sided)} tags of left and right ({named}) keep the first run's scores"
    runs = "runs" if len(mirrored) == 1 else "run"
    return (
        f"{', '.join(tagger.name for tagger in mirrored)} {runs} twice on a picture, as it is and "
        f"mirrored, which takes twice the time{kept if sided else ''}."
    )


def features_text(taggers: Sequence[Tagger], n_images: int) -> str:
    """Return how much room features take beside the scores; nothing where none are kept."""
    widths = {tagger.name: tagger.n_features for tagger in taggers if tagger.n_features}
    if not widths:
        return ""
    each = 2 * sum(widths.values())
    named = ", ".join(f"{name} {width:,}" for name, width in widths.items())
    return (
        f"Features are kept beside the scores ({named}): {each / 1e3:,.1f} kB a picture, "
        f"{each * n_images / 1e6:,.1f} MB for {n_images:,} pictures."
    )


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
    table = TableWriter(text)
    table.writerow(("image", "reason"))
    rows = [(shown(failure.name), shown(failure.reason)) for failure in failures]
    table.writerows(rows)
    if rows:
        write_text(target, text.getvalue())
    else:
        target.unlink(missing_ok=True)
