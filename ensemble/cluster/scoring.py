"""Scoring on a cluster: shards fixed beforehand, a worker a device, lost work taken up again.

A shard of a worker that was lost goes to another one, which goes on from the shard's last part.
When every shard is through, they are joined, sorted by name: the files of a new store are the same,
byte for byte, however many workers there were, whichever of them died, in whatever order they were.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.base_models.scores.shards import FOLDER, merge_shards
from tagstack.base_models.scoring.pipeline import ScoreSummary
from tagstack.base_models.scoring.sources import SharedSource
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.cluster.planned import Identified, Shard, identified, plan_key, shards_of
from tagstack.ensemble.cluster.run import Check, ClusterRun, joined_summary
from tagstack.ensemble.cluster.session import Cluster, connected
from tagstack.ensemble.cluster.worker import GONE_S, PLAN, Job
from tagstack.ensemble.progress import Progress

_SLICE = 1000  # pictures that one task identifies


def score_on_cluster(
    sources: SharedSource,
    models: Sequence[str],
    store: Path,
    settings: Settings,
    progress: Progress,
    *,
    address: str,
    shards: int | None = None,
    retry_failed: bool = False,
    check: Check = lambda members: None,
) -> ScoreSummary:
    """Score images with the workers of a Ray cluster into a store that all of them see.

    Interrupted, what workers have done stays in their shards; run again, it goes on there.

    Parameters
    ----------
    sources : SharedSource
        Every machine can read it.
    models : sequence of str
        Registry names, or tagger folders.
    store : Path
        Folder of the score store.
    settings : Settings
        ``[cluster]`` says what a worker has.
    progress : Progress
    address : str
        As `session.connected` takes it.
    shards : int, optional
        How many; by ``cluster.shard_images`` otherwise.
    retry_failed : bool
    check : callable
        Told the members as the first worker has loaded them, before anything is scored.

    Raises
    ------
    TagstackError
        If the cluster cannot be used, a shard is lost again and again, or as `score_folder`.
    """
    _refuse_devices(settings)
    with connected(address, settings) as cluster:
        began = time.monotonic()
        found = _identified(cluster, sources, settings, progress)
        n_shards = shards or -(-len(found) // settings.cluster.shard_images)
        plan = shards_of(sources, found, max(1, n_shards))
        job = prepared(plan, models, store, settings, retry_failed=retry_failed)
        run = ClusterRun(cluster, job, plan, progress)
        try:
            run.listen(check)
        finally:
            run.end()
        progress.stage("joining shards")
        merge_shards(job.store, part_images=settings.score.part_images, wait_s=GONE_S)
    return joined_summary(run.summaries, sources.failures, time.monotonic() - began)


def _refuse_devices(settings: Settings) -> None:
    if settings.score.devices:
        msg = (
            "score.devices and --ray both share pictures out. Expected one of them. Leave out "
            "--devices: a cluster's workers take the devices that Ray gives them."
        )
        raise TagstackError(msg)


def _identified(
    cluster: Cluster, sources: SharedSource, settings: Settings, progress: Progress
) -> list[Identified]:
    """Let tasks read every picture once and say what its content is."""
    names = sources.names
    slices = (sources.chosen(names[i : i + _SLICE]) for i in range(0, len(names), _SLICE))
    found: list[Identified] = []
    for own in cluster.map(identified, [settings.score], slices):
        progress.stage("reading pictures", len(found), len(sources.names))
        found += own
    return found


def prepared(
    plan: Sequence[Shard],
    models: Sequence[str],
    store: Path,
    settings: Settings,
    *,
    retry_failed: bool,
) -> Job:
    """Return what workers are told; shards that another plan has left are joined before.

    Raises
    ------
    TagstackError
        If the store cannot be written, or those shards are damaged.
    """
    store = store.absolute()
    named = tuple(str(Path(m).absolute()) if Path(m).is_dir() else m for m in models)
    key = plan_key(plan, named)
    note = store / FOLDER / PLAN
    if not (note.is_file() and note.read_text("ascii") == key):
        # Shards of another plan: their numbers are others'.
        merge_shards(store, part_images=settings.score.part_images, wait_s=GONE_S)
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, key)
    own = settings.model_copy(update={"threads": settings.cluster.cpus})
    return Job(models=named, store=store, settings=own, retry_failed=retry_failed, plan=key)
