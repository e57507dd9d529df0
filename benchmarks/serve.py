"""What the service costs over loopback: one picture, a hundred clients at once, many requests.

Fits a small stack on drawn pictures and the three embedded taggers (or, with a folder as
benchmarks/real.py wants it, the five networks and photographs of its set ``fashion``), starts
``tagstack serve`` as a process of its own on a free port of 127.0.0.1, and asks it.

    python benchmarks/serve.py [--folder FOLDER | --bundle BUNDLE --images FOLDER]
        [--pictures 40] [--turns 5] [--clients 100] [--requests 300] [--many 1000]

With ``--bundle`` nothing is fitted: a bundle that is there answers, of pictures in a folder.
Printed: CPU seconds of the service a picture when asked one by one, beside those of the bare
networks on pixels that are framed already, in turns, so that whatever else the machine does
lengthens both; requests lost and quantiles of the time to an answer with so many clients at once;
resident memory after each tenth of ``--many`` requests.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from python_face import SETTINGS, drawn, models_alone, photographs

import tagstack
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.files import load_bundle

TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def service(bundle: Path) -> Iterator[tuple[str, int]]:
    """Run the service and give its address and process."""
    program = [sys.executable, "-m", "tagstack", "serve", "--bundle", str(bundle), "--port", "0"]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    stderr = process.stderr
    if stderr is None:
        raise RuntimeError("no pipe")
    try:
        said = []
        for line in stderr:
            said.append(line)
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/tags", line):
                threading.Thread(target=stderr.read, daemon=True).start()
                yield found[1], process.pid
                return
        raise RuntimeError(f"the service did not start: {said}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        print(f"stopped with exit code {process.returncode}")


def asked(url: str, data: bytes) -> float:
    """Return the seconds until a picture was answered; raises if it was not."""
    began = time.perf_counter()
    with urlopen(Request(f"{url}/tags", data=data), timeout=120) as answer:
        (picture,) = json.load(answer)["images"]
    if picture["error"]:
        raise RuntimeError(picture["error"])
    return time.perf_counter() - began


def cpu_seconds(process: int) -> float:
    """Return the user and system seconds of a process and its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(process: int) -> float:
    """Return the memory of a process that is in use."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def in_turns(
    url: str, process: int, pictures: Sequence[bytes], bare: Callable[[], None], turns: int
) -> None:
    """Print what a picture costs when nobody else asks, each turn beside the bare networks."""
    for data in pictures[:5]:
        asked(url, data)
    bare()
    ratios, n = [], len(pictures)
    for turn in range(turns):
        began = time.process_time()
        bare()
        floor = (time.process_time() - began) / n
        began = cpu_seconds(process)
        waits = [asked(url, data) for data in pictures]
        cost = (cpu_seconds(process) - began) / n
        ratios.append(cost / floor)
        print(
            f"turn {turn + 1}, {n} pictures one by one: {1000 * cost:.1f} ms CPU each, median "
            f"{1000 * statistics.median(waits):.1f} ms to the answer; the networks alone "
            f"{1000 * floor:.1f} ms CPU; ratio {ratios[-1]:.2f}",
            flush=True,
        )
    middle = statistics.median(ratios)
    print(f"median ratio {middle:.2f}, of {min(ratios):.2f} to {max(ratios):.2f}")


def at_once(url: str, pictures: Sequence[bytes], clients: int, requests: int) -> None:
    """Print what becomes of requests of many clients."""

    def ask(number: int) -> float | None:
        try:
            return asked(url, pictures[number % len(pictures)])
        except (URLError, OSError, RuntimeError):
            return None

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        waits = list(pool.map(ask, range(requests)))
    seconds = time.perf_counter() - began
    done = sorted(wait for wait in waits if wait is not None)
    if len(done) < 2:
        raise RuntimeError("no request was answered")
    print(
        f"{clients} clients, {requests} requests: {requests - len(done)} lost, "
        f"{len(done) / seconds:.1f} a second, median {statistics.median(done):.2f} s, p95 "
        f"{done[int(0.95 * (len(done) - 1))]:.2f} s, longest {done[-1]:.2f} s"
    )


def many(url: str, process: int, pictures: Sequence[bytes], requests: int) -> None:
    """Print the memory after each tenth of many requests."""
    done = 0
    with ThreadPoolExecutor(8) as pool:
        for end in (requests * tenth // 10 for tenth in range(1, 11)):
            list(pool.map(lambda n: asked(url, pictures[n % len(pictures)]), range(done, end)))
            done = end
            mib = resident_mib(process)
            print(f"{mib:.0f} MiB resident after {done} more requests", flush=True)


def fitted(folder: Path | None, scratch: Path) -> tuple[Path, list[Path], tuple[str, ...]]:
    """Fit a bundle; return it, pictures and where its taggers are."""
    images, models, labels, rules = photographs(folder, scratch) if folder else drawn(scratch)
    stack = tagstack.fit(tagstack.score(images, models), labels, rules, settings=SETTINGS)
    stack.save(scratch / "bundle")
    return scratch / "bundle", images, tuple(models)


def given(bundle: Path, folder: Path) -> tuple[Path, list[Path], tuple[str, ...]]:
    """Return a bundle that is there, the folder's pictures, and where its taggers are."""
    kinds = (".jpg", ".jpeg", ".png", ".webp")
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
    return bundle, images, load_bundle(bundle).tagger_sources(None)


def main() -> None:
    """Fit or take what is there, serve, ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--folder", type=Path)
    source.add_argument("--bundle", type=Path)
    parser.add_argument("--images", type=Path, help="pictures to ask about, with --bundle")
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--many", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.bundle is not None and arguments.images is None:
        parser.error("--bundle needs --images FOLDER")
    let_idle_threads_sleep()  # as the service does
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.bundle is not None:
            bundle, images, models = given(arguments.bundle, arguments.images)
        else:
            bundle, images, models = fitted(arguments.folder, Path(temporary))
        stacker = load_bundle(bundle).stacker
        some = images[: arguments.pictures]
        print(f"{len(models)} taggers, rung {stacker.chosen_}, {len(some)} pictures")
        taggers = load_taggers(models, load_settings().score, threads=2)
        bare = models_alone(taggers, some)
        pictures = [path.read_bytes() for path in some]
        with service(bundle) as (url, process):
            in_turns(url, process, pictures, bare, arguments.turns)
            for tagger in taggers:
                tagger.close()
            at_once(url, pictures, arguments.clients, arguments.requests)
            many(url, process, pictures, arguments.many)


if __name__ == "__main__":
    main()
