"""What the service costs over loopback: one picture, a hundred clients at once, many requests.

Fits a small stack on drawn pictures and the three embedded taggers (or, with a folder as
benchmarks/real.py wants it, the five networks and photographs of its set ``fashion``), starts
``tagstack serve`` as a process of its own on a free port of 127.0.0.1, and asks it.

    python benchmarks/serve.py [--folder FOLDER] [--clients 100] [--requests 300] [--many 1000]

Printed: CPU seconds of the service a picture when asked one by one, beside those of the bare
networks on pixels that are framed already; requests lost and quantiles of the time to an answer
with so many clients at once; resident memory after a tenth and after all of ``--many`` requests.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from python_face import SETTINGS, drawn, models_alone, photographs

import tagstack
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.configs.settings import load_settings

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


def one_by_one(url: str, process: int, pictures: Sequence[bytes], floor: float) -> None:
    """Print what a picture costs when nobody else asks."""
    for data in pictures[:5]:
        asked(url, data)
    began, waits = cpu_seconds(process), [asked(url, data) for data in pictures]
    cost = (cpu_seconds(process) - began) / len(pictures)
    print(
        f"one by one, {len(pictures)} pictures: {1000 * cost:.1f} ms CPU each, median "
        f"{1000 * statistics.median(waits):.1f} ms to the answer; the networks alone "
        f"{1000 * floor:.1f} ms CPU; ratio {cost / floor:.2f}"
    )


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
    """Print the memory after a tenth of many requests and after all."""
    with ThreadPoolExecutor(8) as pool:
        for part in (requests // 10, requests - requests // 10):
            list(pool.map(lambda n: asked(url, pictures[n % len(pictures)]), range(part)))
            print(f"{resident_mib(process):.0f} MiB resident after {part} more requests")


def main() -> None:
    """Fit, serve, ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--many", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        made = photographs(arguments.folder, scratch) if arguments.folder else drawn(scratch)
        images, models, labels, rules = made
        stack = tagstack.fit(tagstack.score(images, models), labels, rules, settings=SETTINGS)
        stack.save(scratch / "bundle")
        print(f"{len(models)} taggers, {len(stack.tags)} tags, rung {stack.bundle.stacker.chosen_}")
        some = images[: arguments.pictures]
        taggers = load_taggers(tuple(models), load_settings().score, threads=2)
        run = models_alone(taggers, some)
        run()
        began = time.process_time()
        run()
        floor = (time.process_time() - began) / len(some)
        for tagger in taggers:
            tagger.close()
        pictures = [path.read_bytes() for path in some]
        with service(scratch / "bundle") as (url, process):
            one_by_one(url, process, pictures, floor)
            at_once(url, pictures, arguments.clients, arguments.requests)
            many(url, process, pictures, arguments.many)


if __name__ == "__main__":
    main()
