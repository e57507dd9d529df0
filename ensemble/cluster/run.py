"""The workers of a cluster at the shards of one run: started, listened to, replaced."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tagstack.base_models.runtimes.selection import RuntimeChoice, choose
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.scores.shards import FOLDER
from tagstack.base_models.scoring.pipeline import ScoreProgress, ScoreSummary
from tagstack.base_models.scoring.sources import ImageFailure
from tagstack.base_models.scoring.tally import summed
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ON_CPU
from tagstack.configs.settings import Settings
from tagstack.ensemble.cluster.faults import lost_text, of_task
from tagstack.ensemble.cluster.planned import Shard
from tagstack.ensemble.cluster.session import Cluster
from tagstack.ensemble.cluster.worker import Job, ShardResult, ShardWorker, WorkerState
from tagstack.ensemble.progress import Progress

_LOOK_S = 0.5  # how long news may wait
_STOP_S = 1.5  # after an interruption, for the images that taggers have

Check = Callable[[Sequence[MemberInfo]], None]


@dataclass
class _Worker:
    """A worker, the shard it is at, and the last that it told."""

    actor: Any
    shard: Shard
    done: Any  # what `run` will return
    asked: Any = None
    told: ScoreProgress | None = None


@dataclass
class ClusterRun:
    """The workers of one run, and the shards that are not through yet.

    Parameters
    ----------
    cluster : Cluster
    job : Job
    plan : sequence of Shard
    progress : Progress
    summaries : list of ScoreSummary
        Of shards that are through.
    """

    cluster: Cluster
    job: Job
    plan: Sequence[Shard]
    progress: Progress
    summaries: list[ScoreSummary] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._gpus = _gpus_wanted(self.job.settings)
        self._waiting = deque(self.plan)
        self._workers: list[_Worker] = []
        self._idle: list[Any] = []
        self._losses: dict[int, tuple[int, int]] = {}  # shard: parts it had, losses since
        self._said: set[str] = set()
        self._n_images = sum(len(shard.contents) for shard in self.plan)
        self._began = time.monotonic()

    def listen(self, check: Check) -> None:
        """Give every shard to a worker, and those of lost workers again, until all are through."""
        self.progress.stage("scoring")
        ray = self.cluster.ray
        if self._waiting:
            self._check_first(check)
        while self._waiting or self._workers:
            self._start()
            jobs = [worker.done for worker in self._workers]
            ready, _ = ray.wait(jobs, timeout=_LOOK_S)
            for worker in [own for own in self._workers if own.done in ready]:
                self._workers.remove(worker)
                self._take(worker)
            self._hear()

    def end(self) -> None:
        """Let what still runs finish what it is at, as far as a moment goes."""
        ray = self.cluster.ray
        for worker in self._workers:
            worker.actor.stop.remote()
        with suppress(Exception):  # the run has failed already, or was interrupted
            ray.wait(
                [worker.done for worker in self._workers],
                num_returns=len(self._workers),
                timeout=_STOP_S,
            )
        for actor in (*self._idle, *(worker.actor for worker in self._workers)):
            ray.kill(actor)

    def _check_first(self, check: Check) -> None:
        ray, left = self.cluster.ray, self.job.settings.cluster.retries
        while True:
            actor = self._actor()
            try:
                check(ray.get(actor.members.remote()))
            except ray.exceptions.RayTaskError as error:
                raise of_task(error) from error
            except ray.exceptions.RayActorError as error:
                left -= 1
                if left < 0:
                    raise TagstackError(lost_text("A worker", error)) from error
            else:
                self._idle.append(actor)
                return

    def _actor(self) -> Any:
        settings = self.job.settings
        return (
            self.cluster.ray.remote(ShardWorker)
            .options(num_cpus=settings.cluster.cpus, num_gpus=self._gpus, max_concurrency=2)
            .remote(self.job)
        )

    def _start(self) -> None:
        """Give waiting shards to as many workers as the cluster has room for."""
        settings = self.job.settings
        room = self.cluster.slots(gpus=self._gpus)
        if not room and not self._workers:
            raise TagstackError(_no_room(settings, self._gpus))
        while self._waiting and len(self._workers) < max(1, room):
            actor = self._idle.pop() if self._idle else self._actor()
            shard = self._waiting.popleft()
            self._workers.append(_Worker(actor, shard, actor.run.remote(shard)))

    def _take(self, worker: _Worker) -> None:
        """Take in what a worker made of its shard, or put the shard of a lost one back."""
        ray = self.cluster.ray
        try:
            result: ShardResult = ray.get(worker.done)
        except ray.exceptions.RayTaskError as error:
            raise of_task(error) from error
        except ray.exceptions.RayError as error:
            self.lost(worker.shard, error)
            return
        if result.summary is None:
            raise TagstackError(result.error)
        self.summaries.append(result.summary)
        self._idle.append(worker.actor)

    def lost(self, shard: Shard, error: Exception) -> None:
        """Put the shard of a lost worker back, unless that happens at the same part too often.

        Raises
        ------
        TagstackError
            If ``cluster.retries`` are used up.
        """
        retries = self.job.settings.cluster.retries
        folder = self.job.store / FOLDER / f"{shard.number:05d}"
        parts = sum(1 for _ in folder.rglob("part-*"))
        before, losses = self._losses.get(shard.number, (parts, 0))
        losses = losses + 1 if parts == before else 1
        self._losses[shard.number] = (parts, losses)
        if losses > retries:
            what = f"Shard {shard.number} ({len(shard.contents)} pictures)"
            raise TagstackError(lost_text(what, error))
        self._waiting.appendleft(shard)

    def _hear(self) -> None:
        """Ask workers how far they are, without waiting for those that are slow to say."""
        ray = self.cluster.ray
        for worker in self._workers:
            if worker.asked is None:
                worker.asked = worker.actor.state.remote()
        for worker in self._workers:
            if ray.wait([worker.asked], timeout=0)[0]:
                with suppress(ray.exceptions.RayError):  # lost: its shard says so
                    self._note(worker, ray.get(worker.asked))
                worker.asked = None
        states = [worker.told for worker in self._workers if worker.told is not None]
        seconds = time.monotonic() - self._began
        self.progress.scored(_joined_progress(self.summaries, states, self._n_images, seconds))

    def _note(self, worker: _Worker, state: WorkerState) -> None:
        worker.told = state.scored
        for text in state.notices:
            if text not in self._said:  # all say most of them
                self._said.add(text)
                self.progress.notice(text)


def joined_summary(
    summaries: Sequence[ScoreSummary], failures: Sequence[ImageFailure], seconds: float
) -> ScoreSummary:
    """Return what all workers did together."""
    every = [*failures, *(failure for own in summaries for failure in own.failures)]
    return ScoreSummary(
        n_scored=sum(own.n_scored for own in summaries),
        n_skipped=sum(own.n_skipped for own in summaries),
        n_failed=len(every),
        failures=tuple(sorted(every, key=lambda failure: failure.name)),
        seconds=seconds,
        stage_seconds=summed([own.stage_seconds for own in summaries]),
        stage_rates=summed([own.stage_rates for own in summaries]),
    )


def _joined_progress(
    summaries: Sequence[ScoreSummary],
    states: Sequence[ScoreProgress],
    n_images: int,
    seconds: float,
) -> ScoreProgress:
    both: list[ScoreSummary | ScoreProgress] = [*summaries, *states]
    return ScoreProgress(
        n_images=n_images,
        n_scored=sum(own.n_scored for own in both),
        n_skipped=sum(own.n_skipped for own in both),
        n_failed=sum(own.n_failed for own in both),
        seconds=seconds,
        stage_rates=summed([own.stage_rates for own in states]),
    )


def _gpus_wanted(settings: Settings) -> int:
    return 0 if choose(RuntimeChoice.of_settings(settings.score)).backend in ON_CPU else 1


def _no_room(settings: Settings, gpus: int) -> str:
    wanted = f"{settings.cluster.cpus} processors" + (" and a GPU" if gpus else "")
    return (
        f"The cluster has no room for a worker of {wanted}. Expected a machine with so much. Set "
        f"cluster.cpus lower, take another backend with --backend, or add a machine."
    )
