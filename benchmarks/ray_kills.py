"""What is left of a cluster's work when its workers are killed at random: the same bytes.

A small drawn collection is scored, fitted and tagged once without Ray. Then the same is done by
local Ray clusters of 1, 2 and 4 workers, over and over, while a thread kills (SIGKILL) workers that
are at a shard or at a task, each after a random time, until so many were killed. Counted are runs
whose store, bundle or tags have other bytes than without Ray (wrong), and runs that failed: both
must be 0.

    python benchmarks/ray_kills.py [--kills 50] [--jobs score,fit,tag] [--workers 1,2,4]
        [--pictures 120] [--minutes 60] [--seed 0]

Prints a line a run: the job, its workers, how many of them were killed, seconds, and the SHA-256 of
what it made.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.cluster.session import connected
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.ensemble.tasks.tag import tag_images
from tagstack.ensemble.tasks.tag_request import TagRequest

TAGGERS = ("doll_resnet", "doll_vit")
WORKERS = (1, 2, 4)
_LOOK_S = 0.2
# Ray's own processes, and workers that have nothing to do.
_OTHERS = ("IDLE", "DashboardAgent", "RuntimeEnvAgent", "SPILL", "RESTORE")


def settings_for(workers: int) -> Settings:
    """Return settings under which small work has many shards, parts and tasks."""
    changes: dict[str, object] = {
        "threads": workers,
        "score": {"part_images": 8, "batch_images": 4},
        "cluster": {"shard_images": 25, "retries": 100},
        "stack": {"folds": 3, "tuning": {"trials": 3}},
        "thresholds": {"frontier": [], "joint_rounds": 2},
    }
    return load_settings(changes=changes)


def score(root: Path, out: Path, settings: Settings, ray: str | None) -> None:
    """Score the pictures: on a cluster, or as one share, which is joined like all others."""
    if ray is None:
        score_folder([root / "images"], TAGGERS, out / "shared", settings, Silent(), shard="1/1")
        from tagstack.ensemble.tasks.scores_merge import merge_stores

        merge_stores([out / "shared"], out / "scores", settings, Silent())
        shutil.rmtree(out / "shared")
    else:
        score_folder([root / "images"], TAGGERS, out / "scores", settings, Silent(), ray=ray)


def fit(root: Path, out: Path, settings: Settings, ray: str | None) -> None:
    """Fit a bundle, trials included, on scores that are there."""
    source = DatasetSource(scores=root / "scores", labels=root / "images/labels.csv")
    request = FitRequest(source=source, bundle=out / "bundle", rules=None, overwrite=False, ray=ray)
    fit_bundle(request, settings, Silent())


def tag(root: Path, out: Path, settings: Settings, ray: str | None) -> None:
    """Score and tag the pictures with a bundle that is there."""
    request = TagRequest(
        images=(root / "images",), bundle=root / "bundle", out=out, formats=("txt", "csv"), ray=ray
    )
    tag_images(request, settings, Silent())


JOBS: dict[str, Callable[[Path, Path, Settings, str | None], None]] = {
    "score": score, "fit": fit, "tag": tag,
}  # fmt: skip


def digest(out: Path, job: str) -> str:
    """Return the SHA-256 of all files that a job made, by their names."""
    found = hashlib.sha256()
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        # A store's own book-keeping beside tags is no tag; locks name processes.
        if not path.is_file() or path.name == "lock" or (job == "tag" and name.startswith(".")):
            continue
        found.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def workers_of_ours() -> Iterator[int]:
    """Yield Ray's workers below this process that are at something."""
    parent = {}
    names = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(path.name)] = (path / "cmdline").read_bytes().split(b"\0")[0].decode()
        except OSError:
            continue
    for pid, name in names.items():
        above = pid
        while above > 1 and above != os.getpid():
            above = parent.get(above, 0)
        if above == os.getpid() and name.startswith("ray::") and name[5:] not in _OTHERS:
            yield pid


def cpu_seconds(pid: int) -> float:
    """Return how long a process has computed: on a busy machine it lives so much longer."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def killing(rng: random.Random, killed: list[int], mean_s: float) -> Iterator[None]:
    """Give every worker a random time to live, while the block runs."""
    over, lifetime = threading.Event(), dict[int, float]()

    def kill() -> None:
        while not over.wait(_LOOK_S):
            for pid in sorted(workers_of_ours()):
                limit = lifetime.setdefault(pid, rng.expovariate(1 / mean_s))
                try:
                    if cpu_seconds(pid) < limit:
                        continue
                    os.kill(pid, signal.SIGKILL)
                except (OSError, ValueError):  # it has ended by itself
                    continue
                killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def main() -> None:
    """Run jobs under fire until so many workers are dead; print every run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--jobs", default="score,fit,tag")
    parser.add_argument("--workers", default=",".join(map(str, WORKERS)))
    parser.add_argument("--minutes", type=float, default=60, help="no run begins after that")
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--mean-seconds", type=float, default=4.0, help="a worker's CPU time")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    jobs, rng = arguments.jobs.split(","), random.Random(arguments.seed)
    workers, last = [*map(int, arguments.workers.split(","))], 60 * arguments.minutes
    started = time.monotonic()
    killed: list[int] = []
    wrong = failed = runs = 0
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        draw_gallery(root / "images", n_images=arguments.pictures, seed=5)
        wanted = {}
        for job in JOBS:  # each leaves what the next one needs
            out = root / "alone" / job
            out.mkdir(parents=True)
            JOBS[job](root, out, settings_for(1), None)
            wanted[job] = digest(out, job)
            print(f"{job:<6} without Ray                       {wanted[job][:16]}", flush=True)
            if job != "tag":
                shutil.copytree(out, root, dirs_exist_ok=True)
        while len(killed) < arguments.kills or runs < len(jobs) * len(workers):
            if time.monotonic() - started > last:
                break
            job, n = jobs[runs % len(jobs)], workers[runs // len(jobs) % len(workers)]
            out, before, began = root / "run", len(killed), time.monotonic()
            out.mkdir()
            runs += 1
            # The cluster has n workers; the settings, which a bundle records, are those of one.
            with (
                connected("local", settings_for(n)),
                killing(rng, killed, arguments.mean_seconds),
            ):
                try:
                    JOBS[job](root, out, settings_for(1), "local")
                except TagstackError as error:
                    failed += 1
                    print(f"{job}: {error}", flush=True)
            made = digest(out, job)
            wrong += made != wanted[job]
            print(
                f"{job:<6} {n} workers, {len(killed) - before:3d} killed, "
                f"{time.monotonic() - began:6.1f} s   {made[:16]}",
                flush=True,
            )
            shutil.rmtree(out)
    print(f"{runs} runs, {len(killed)} workers killed: {wrong} wrong, {failed} failed")
    sys.exit(bool(wrong or failed))


if __name__ == "__main__":
    main()
