"""One device of a cluster: it takes shards, one after the other, and says how far it is.

A shard is a small store of its own, written part by part: a worker that takes up the shard of one
that was lost goes on from the last part. Nothing else is kept between shards but the taggers.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tagstack import __version__
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.shards import FOLDER, ShardWriter
from tagstack.base_models.scoring.pipeline import ScoreProgress, ScoreSummary
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.cluster.planned import Shard
from tagstack.ensemble.scoring.runs import score_sources
from tagstack.ensemble.scoring.taggers import loaded_taggers

PLAN = "plan"
"""File below the store's shards that holds the key of the run's plan."""

GONE_S = 30.0
"""Seconds that a worker may hold its shard after it was killed, or lost sight of."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all workers of a run are told.

    Parameters
    ----------
    models : tuple of str
        Registry names, or folders that every machine has under the same path.
    store : Path
        Absolute; every machine sees it.
    settings : Settings
        With the threads of one worker.
    retry_failed : bool
    plan : str
        Key of the plan.
    version : str
        Of tagstack, where the run was started.
    """

    models: tuple[str, ...]
    store: Path
    settings: Settings
    retry_failed: bool
    plan: str
    version: str = __version__


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What became of a shard: a summary, or why there is none."""

    summary: ScoreSummary | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkerState:
    """How far a worker is with the shard at hand, and what it has to say."""

    scored: ScoreProgress | None
    notices: tuple[str, ...]


class ShardWorker:
    """Scores shards; `run` is one call at a time, the others may come meanwhile.

    Parameters
    ----------
    job : Job
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._open = ExitStack()
        self._taggers: Sequence[Tagger] | None = None
        self._listener = _Listener()

    def members(self) -> tuple[MemberInfo, ...]:
        """Return what the taggers are, after loading them."""
        return Members.of(self._loaded()).infos

    def run(self, shard: Shard) -> ShardResult:
        """Score a shard from where it is; an error that would meet every worker is returned."""
        try:
            self._check()
            with ShardWriter(
                self._job.store,
                Members.of(self._loaded()),
                shard.number,
                retry_failed=self._job.retry_failed,
                wait_s=GONE_S,
            ) as sink:
                summary = score_sources(
                    shard, self._loaded(), sink, self._job.settings, self._listener
                )
        except TagstackError as error:
            return ShardResult(error=str(error))
        except KeyboardInterrupt:
            return ShardResult(error="interrupted")
        finally:
            self._listener.scored_last = None
        return ShardResult(summary=summary)

    def state(self) -> WorkerState:
        """Return how far it is."""
        return WorkerState(scored=self._listener.scored_last, notices=tuple(self._listener.notices))

    def stop(self) -> None:
        """Let the shard at hand end after the images that the taggers have."""
        self._listener.stopped.set()

    def close(self) -> None:
        """Free the taggers."""
        self._open.close()
        self._taggers = None

    def _loaded(self) -> Sequence[Tagger]:
        if self._taggers is None:
            models = loaded_taggers(self._job.models, self._job.settings)
            self._taggers = self._open.enter_context(models)
        return self._taggers

    def _check(self) -> None:
        """Refuse another version of tagstack, or a store that is another folder here."""
        if self._job.version != __version__:
            msg = (
                f"A worker runs tagstack {__version__}, the command {self._job.version}. Expected "
                f"one version on all machines. Install the same on each."
            )
            raise TagstackError(msg)
        plan = self._job.store / FOLDER / PLAN
        found = plan.read_text("ascii") if plan.is_file() else ""
        if found != self._job.plan:
            msg = (
                f"A worker does not see the score store {self._job.store}, which the command has "
                f"made. Expected a folder that every machine has under the same path, such as a "
                f"mounted one, or an address such as s3://BUCKET/scores."
            )
            raise TagstackError(msg)


class _Listener:
    """Progress of the shard at hand, kept until it is asked for."""

    def __init__(self) -> None:
        self.scored_last: ScoreProgress | None = None
        self.notices: list[str] = []
        self.stopped = threading.Event()

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Ignore a stage: the run has its own."""

    def notice(self, text: str) -> None:
        """Keep what the user should know, once."""
        if text not in self.notices:
            self.notices.append(text)

    def scored(self, state: ScoreProgress) -> None:
        """Keep how far it is; end where the run was interrupted."""
        self.scored_last = state
        if self.stopped.is_set():
            raise KeyboardInterrupt
