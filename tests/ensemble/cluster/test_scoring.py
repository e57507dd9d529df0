"""A cluster on this machine: the bytes of one process, a worker that is killed, what is refused."""

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.locks import ProcessLock
from tagstack.base_models.scores.shards import FOLDER, merge_shards
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scoring.pipeline import ScoreProgress
from tagstack.base_models.scoring.sources import ImageSources, find_images
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.cluster.planned import Shard, identified, shards_of
from tagstack.ensemble.cluster.run import ClusterRun, joined_summary
from tagstack.ensemble.cluster.scoring import prepared, score_on_cluster
from tagstack.ensemble.cluster.session import Cluster, connected, refuse_unreachable
from tagstack.ensemble.cluster.worker import PLAN, Job, ShardWorker, _Listener
from tagstack.ensemble.progress import Silent

MODEL = "doll_resnet"
SETTINGS = load_settings(
    changes={
        "threads": 2,
        "score": {"part_images": 4, "batch_images": 2},
        "cluster": {"shard_images": 5, "retries": 2},
    }
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> ImageSources:
    """Twelve pictures, of which two are one, and one that is none."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(11):
        noise = rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    (folder / os.fsdecode(b"no\xe9.png")).write_bytes(b"no picture")
    return find_images([folder], extensions=(".png",))


def plan_of(sources: ImageSources, n_shards: int) -> list[Shard]:
    return shards_of(sources, identified(SETTINGS.score, sources), n_shards)


def job_in(store: Path, **changes: Any) -> Job:
    (store / FOLDER).mkdir(parents=True, exist_ok=True)
    (store / FOLDER / PLAN).write_text("key")
    facts = {"models": (MODEL,), "settings": SETTINGS, "retry_failed": False, "plan": "key"}
    return Job(store=store, **{**facts, **changes})


def digests(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.rglob("part-*")
    }


@pytest.fixture(scope="module")
def alone(sources: ImageSources, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process makes of the pictures, without any engine."""
    store = tmp_path_factory.mktemp("alone")
    worker = ShardWorker(job_in(store))
    for shard in plan_of(sources, 3):
        assert worker.run(shard).error == ""
    merge_shards(store, part_images=4)
    return digests(store)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connected("local", SETTINGS) as found:
        yield found


class Stopping(Silent):
    """Interrupts as soon as workers are at it."""

    def scored(self, state: ScoreProgress) -> None:
        raise KeyboardInterrupt


class Killing(Silent):
    """Kills a worker as soon as there are any."""

    def __init__(self) -> None:
        self.killed: list[int] = []
        self.last: ScoreProgress | None = None

    def scored(self, state: ScoreProgress) -> None:
        self.last = state
        if not self.killed and (there := workers()):
            os.kill(there[0], signal.SIGKILL)
            self.killed.append(there[0])


def workers() -> list[int]:
    """Return the processes of this run's shard workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::ShardWorker") and os.getpid() in parents(path):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def ended_soon() -> bool:
    """Return whether no worker is left, after the moment that Ray needs to end one."""
    until = time.monotonic() + 60
    while workers() and time.monotonic() < until:
        time.sleep(0.05)
    return workers() == []


def parents(cmdline: Path) -> list[int]:
    """Return the processes above one."""
    found, pid = [], int(cmdline.parent.name)
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


@pytest.mark.usefixtures("cluster")
def test_an_interrupted_run_and_a_killed_worker_give_the_bytes_of_one_process(
    sources: ImageSources, tmp_path: Path, alone: dict[str, str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        score_on_cluster(sources, [MODEL], tmp_path / "s", SETTINGS, Stopping(), address="local")
    assert len((tmp_path / "s" / FOLDER / PLAN).read_text()) == 64
    assert ended_soon()
    killing, checked = Killing(), list[str]()
    summary = score_on_cluster(
        sources, [MODEL], tmp_path / "s", SETTINGS, killing,
        address="local", check=lambda members: checked.extend(m.name for m in members),
    )  # fmt: skip
    assert len(killing.killed) == 1
    assert checked == [MODEL]
    assert [failure.name for failure in summary.failures] == [os.fsdecode(b"no\xe9.png")]
    assert summary.n_scored + summary.n_skipped == 12
    assert killing.last is not None
    assert killing.last.n_images == 13
    assert digests(tmp_path / "s") == alone
    assert not (tmp_path / "s" / FOLDER).exists()


def test_a_shard_goes_on_from_its_last_part(
    sources: ImageSources, tmp_path: Path, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, (shard,) = job_in(tmp_path), plan_of(sources, 1)
    first, told = ShardWorker(job), _Listener.scored

    def stopping(listener: Any, state: ScoreProgress) -> None:
        if state.n_scored:
            first.stop()
        told(listener, state)

    with monkeypatch.context() as patch:
        patch.setattr(_Listener, "scored", stopping)
        assert first.run(shard).error == "interrupted"
    first.close()
    again = ShardWorker(job)
    summary = again.run(shard).summary
    again.close()
    assert summary is not None
    assert summary.n_skipped > 1  # the copy is one
    merge_shards(tmp_path, part_images=4)
    assert digests(tmp_path) == alone


def test_a_killed_worker_may_hold_its_shard_a_moment_longer(
    sources: ImageSources, tmp_path: Path, alone: dict[str, str]
) -> None:
    job, (shard,) = job_in(tmp_path), plan_of(sources, 1)
    folder = tmp_path / FOLDER / "00000"
    folder.mkdir()
    dying = ProcessLock(folder / "lock")
    assert dying.take()
    worker = ShardWorker(job)
    worker.members()  # what takes time before the shard is opened
    end = threading.Timer(0.5, dying.release)
    end.start()
    assert worker.run(shard).error == ""
    end.join()
    merge_shards(tmp_path, part_images=4)
    assert digests(tmp_path) == alone


def test_shards_of_another_plan_are_joined_before_a_run(
    sources: ImageSources, tmp_path: Path
) -> None:
    shards = plan_of(sources, 2)
    job = prepared(shards, [MODEL], tmp_path, SETTINGS, retry_failed=False)
    ShardWorker(job).run(shards[1])
    assert prepared(shards, [MODEL], tmp_path, SETTINGS, retry_failed=False) == job
    assert (tmp_path / FOLDER / "00001").exists()
    other = prepared(plan_of(sources, 3), [MODEL], tmp_path, SETTINGS, retry_failed=False)
    assert other.plan != job.plan
    assert not (tmp_path / FOLDER / "00001").exists()
    assert 0 < ScoreStore(tmp_path).load().n_images < 12


class Lost:
    """Ray as a run sees it, whose workers are all lost."""

    class exceptions:  # noqa: N801
        class RayError(Exception): ...

        class RayTaskError(RayError): ...

        class RayActorError(RayError): ...


def test_a_shard_that_is_lost_again_and_again_ends_the_run(
    sources: ImageSources, tmp_path: Path
) -> None:
    (shard,) = plan_of(sources, 1)
    job = job_in(tmp_path)
    run = ClusterRun(Cluster(Lost, SETTINGS.cluster), job, [shard], Silent())
    error = Lost.exceptions.RayActorError("The worker died: out of memory.\nmore")
    folder = tmp_path / FOLDER / "00000"
    folder.mkdir()
    for n in range(4):  # a worker that gets further each time may be lost more often
        (folder / f"part-{n}").touch()
        run.lost(shard, error)
    run.lost(shard, error)
    with pytest.raises(TagstackError, match=r"Shard 0 \(13 pictures\) was lost .*out of memory\)"):
        run.lost(shard, error)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "0.1"}, r"the command 0\.1\. Expected one version on all machines"),
        ({"plan": "other"}, "does not see the score store"),
        ({"models": ("no_such_tagger",)}, "no_such_tagger"),
    ],
)
def test_a_worker_says_what_it_cannot_use(
    sources: ImageSources, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    (shard,) = plan_of(sources, 1)
    result = ShardWorker(job_in(tmp_path, **changes)).run(shard)
    with pytest.raises(TagstackError, match=said):
        raise TagstackError(result.error)


def test_devices_and_a_cluster_are_not_both_taken(sources: ImageSources, tmp_path: Path) -> None:
    score = SETTINGS.score.model_copy(update={"devices": ("cpu",)})
    both = SETTINGS.model_copy(update={"score": score})
    with pytest.raises(TagstackError, match="both share pictures out"):
        score_on_cluster(sources, [MODEL], tmp_path, both, Silent(), address="local")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(TagstackError, match=r"pip install 'tagstack\[ray\]'"),
        connected("auto", SETTINGS),
    ):
        pass


def test_nothing_to_join_is_nothing() -> None:
    assert joined_summary([], (), 1.0).n_scored == 0


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:99999999"])
def test_an_address_where_nothing_listens_is_named_at_once(address: str) -> None:
    with pytest.raises(TagstackError, match=rf"--ray {address}: Ray cannot be reached or started"):
        refuse_unreachable(address)
