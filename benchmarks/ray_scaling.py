"""What a local Ray cluster costs and gains over one process, as far as this machine's cores go.

The same drawn pictures are scored by one process without Ray and by local clusters of so many
workers, each on one thread. Printed are wall-clock seconds of the whole and of scoring alone (the
start of Ray and of its workers left out), and CPU seconds of all processes together, which say what
Ray adds where other work keeps the machine busy.

    python benchmarks/ray_scaling.py [--pictures 240] [--workers 0,1,2]
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagstack.base_models.scoring.pipeline import ScoreProgress
from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.scoring import score_folder

TAGGERS = ("doll_resnet", "doll_vit", "doll_convnext")
_LOOK_S = 0.2


class Clock(Silent):
    """Notes when the first pictures were through, and the last."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []

    def scored(self, state: ScoreProgress) -> None:
        """Note a state."""
        self.seen.append((time.monotonic(), state.n_done))

    def rate(self) -> float:
        """Return pictures a second between the first that were seen and the last."""
        some = [(at, n) for at, n in self.seen if n]
        (began, first), (ended, last) = some[0], next(one for one in some if one[1] == some[-1][1])
        return (last - first) / (ended - began) if ended > began else float("nan")


@contextmanager
def all_cpu_seconds(found: dict[int, float]) -> Iterator[None]:
    """Note the CPU seconds of this process and of all below it, as long as they live."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            found.update(_below(os.getpid()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _below(root: int) -> dict[int, float]:
    parent, cpu, tick = {}, {}, os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        parent[pid], cpu[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / tick
    found = {}
    for pid in cpu:
        above = pid
        while above > 1 and above != root:
            above = parent.get(above, 0)
        if above == root:
            found[pid] = cpu[pid]
    return found


def main() -> None:
    """Score with each number of workers and print a row of each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=240)
    parser.add_argument("--workers", default="0,1,2", help="0 = one process without Ray")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        draw_gallery(root / "images", n_images=arguments.pictures, seed=5)
        print("| workers | wall s | pictures/s of scoring alone | CPU s, all processes |")
        print("|--:|--:|--:|--:|")
        for workers in map(int, arguments.workers.split(",")):
            changes = {"threads": max(1, workers), "cluster": {"shard_images": 20}}
            clock, cpu, began = Clock(), dict[int, float](), time.monotonic()
            before = sum(_below(os.getpid()).values())
            with all_cpu_seconds(cpu):
                score_folder(
                    [root / "images"], TAGGERS, root / f"scores{workers}",
                    load_settings(changes=changes), clock, ray="local" if workers else None,
                )  # fmt: skip
            spent = sum(cpu.values()) - before
            wall = time.monotonic() - began
            print(f"| {workers} | {wall:.1f} | {clock.rate():.1f} | {spent:.1f} |", flush=True)


if __name__ == "__main__":
    main()
