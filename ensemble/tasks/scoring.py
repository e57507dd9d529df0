"""Scoring of folders: here, on several devices, or by the workers of a cluster."""

from collections.abc import Sequence
from pathlib import Path

from tagstack.base_models.addresses import addresses_of
from tagstack.base_models.remote.pictures import find_remote
from tagstack.base_models.remote.stores import writable_here
from tagstack.base_models.scoring.pipeline import ScoreSummary
from tagstack.base_models.scoring.sources import ImageSources, SharedSource
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.shown import shown
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.runs import FAILURES, found_images, score_to_store, write_failures
from tagstack.ensemble.scoring.taggers import loaded_taggers
from tagstack.ensemble.scoring.words import faster_text


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
        from tagstack.ensemble.scoring.devices import score_on_devices

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


def _found_pictures(images: Sequence[Path], settings: Settings, progress: Progress) -> SharedSource:
    """Return the pictures of files, folders or an address, and say what else is there."""
    if not (addresses := addresses_of(images)):
        return found_images(images, settings, progress)
    progress.stage(f"listing {shown(addresses[0])}")
    found = find_remote(addresses, settings.remote, extensions=settings.score.extensions)
    if passed_over := found.passed_over_text():
        progress.notice(f"Passed over {passed_over}.")
    return found
