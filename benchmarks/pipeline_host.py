"""What the host does around a network that costs nothing: a batch alone, and the whole of scoring.

    python benchmarks/pipeline_host.py [--size 448] [--batch 32] [--rounds 7] [--images 192]
        [--tags 10861] [--threads 0] [--report FILE]

First a batch: two ways to the memory that the GPU reads, scaled, transposed and copied as float32,
or copied as the uint8 pixels that they are (``score.engines.pixels_on_device``), for three kinds of
contract. CPU time of one thread, user and system, the median of the rounds.

Then everything from the file to the store, with three taggers of these contracts: as it was, with
floats made and everything behind the decoders done by one thread, and as it is. Once with drawn
JPEGs of 768 x 1024, once with pixels that need no decoding. "CPU" is the process's; the "busiest
thread" is that behind the decoders which has most to do: no number of cores gets past it, and the
last column is what it would reach. CPU time depends little on how busy the machine is; the report
has images/s by the clock as well. The two stores are compared.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
from free_taggers import free_tagger, score_in_one_thread
from level1_material import draw_folder

from tagstack.base_models.contract import Contract, contract_from_toml
from tagstack.base_models.pictures.preprocess import input_tensor
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.intake import Intake
from tagstack.base_models.scoring.pipeline import score_images
from tagstack.base_models.scoring.sources import GivenPictures, PictureSource, find_images
from tagstack.base_models.scoring.tally import Tally
from tagstack.base_models.threads import thread_count
from tagstack.configs.settings import load_settings

CONTRACTS: dict[str, dict[str, Any]] = {
    "mean and std, NCHW, RGB": {
        "layout": "NCHW",
        "colour": "RGB",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "-1 to 1, NCHW, BGR": {"layout": "NCHW", "colour": "BGR", "range": "-1-1"},
    "0 to 255, NHWC, BGR": {"layout": "NHWC", "colour": "BGR", "range": "0-255"},
}


def made_contract(size: int, facts: dict[str, Any]) -> Contract:
    """Return a contract of that input."""
    common = {"size": size, "geometry": "pad_square", "resample": "bicubic", "batch": "dynamic"}
    values: dict[str, object] = {
        "name": "net",
        "source": "this benchmark",
        "licence": "none",
        "input": {**common, **facts},
        "output": {"kind": "probabilities"},
        "tags": {"format": "tags_txt"},
    }
    return contract_from_toml(values, origin="pipeline_host.py")


def timed(work: Callable[[], None], rounds: int) -> float:
    """Return the median CPU seconds of one call, after one that is not counted."""
    work()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return statistics.median(found)


def measured(size: int, batch: int, rounds: int) -> list[dict[str, Any]]:
    """Return one line a contract."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(batch)]
    floats = np.empty((batch, 3 * size * size), np.float32)
    bytes_ = np.empty((batch, size, size, 3), np.uint8)

    def as_pixels() -> None:
        bytes_[:] = np.stack(pictures)

    lines = []
    for name, facts in CONTRACTS.items():
        contract = made_contract(size, facts)

        def as_floats(contract: Contract = contract) -> None:
            floats[:] = input_tensor(np.stack(pictures), contract.input).reshape(batch, -1)

        before, after = timed(as_floats, rounds), timed(as_pixels, rounds)
        lines.append({"contract": name, "float32_s": before, "pixels_s": after, "batch": batch})
    return lines


@dataclass(frozen=True)
class Line:
    """What one way of scoring cost an image."""

    pictures: str
    way: str
    n_images: int
    cpu_ms: float
    busiest_ms: float
    images_per_s: float


def scored(
    sources: PictureSource, way: str, pictures: str, store: Path, options: argparse.Namespace
) -> Line:
    """Score once into a new store."""
    now = way == "now"
    settings = load_settings().score.model_copy(update={"batch_images": options.batch})
    taggers = [
        free_tagger(made_contract(options.size, facts), f"t{i}", options.tags, pixels=now)
        for i, facts in enumerate(CONTRACTS.values())
    ]
    threads = thread_count(options.threads)
    n_images = len(sources.names)
    with ScoreWriter(store, Members.of(taggers)) as sink:
        began, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
        if now:
            score_images(sources, taggers, sink, settings, threads=threads)
        else:
            tally = Tally(n_images, (), threads)
            intake = Intake(sources, taggers, sink, settings, tally, lambda: None)
            with ThreadPoolExecutor(threads) as pool:
                score_in_one_thread(intake, pool, taggers, sink, settings, tally)
            intake.close()
        main, cpu = time.thread_time() - own, time.process_time() - cpu
        wall = time.perf_counter() - began
    lanes = [
        seconds
        for tagger in taggers
        for thread, seconds in tagger.session.thread_seconds.items()  # type: ignore[attr-defined]
        if thread != get_ident()
    ]
    each = 1e3 / n_images
    return Line(pictures, way, n_images, each * cpu, each * max([main, *lanes]), n_images / wall)


def measured_whole(options: argparse.Namespace) -> list[Line]:
    """Score drawn JPEGs and pixels, as it was and as it is; the stores must be equal."""
    rng = np.random.default_rng(0)
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = draw_folder(Path(scratch) / "images", options.images)
        shape = (options.size, options.size, 3)
        pixels = {f"{i:06d}": rng.integers(0, 256, shape, np.uint8) for i in range(options.images)}
        kinds: dict[str, PictureSource] = {
            "JPEG, 768 x 1024": find_images([folder], extensions=(".jpg",)),
            f"pixels, {options.size} x {options.size}": GivenPictures(pixels),
        }
        for number, (kind, sources) in enumerate(kinds.items()):
            stores = []
            for way in ("before", "now"):
                stores.append(Path(scratch) / f"{number}-{way}")
                lines.append(scored(sources, way, kind, stores[-1], options))
            before, now = (ScoreStore(store).load() for store in stores)
            if before.images != now.images or not np.array_equal(before.logit, now.logit):
                raise SystemExit(f"{kind}: the stores differ")
    return lines


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=192, help="0 leaves the whole out.")
    parser.add_argument("--tags", type=int, default=10_861)
    parser.add_argument("--threads", type=int, default=0, help="That decode; 0 = all cores.")
    parser.add_argument("--report", type=Path, help="JSON with all figures.")
    options = parser.parse_args()
    lines = measured(options.size, options.batch, options.rounds)
    print("| contract | float32, CPU ms a batch | uint8, CPU ms a batch | times |")
    print("|---|--:|--:|--:|")
    for line in lines:
        before, after = 1e3 * line["float32_s"], 1e3 * line["pixels_s"]
        times = f"{before / after:.1f}" if after else ""
        print(f"| {line['contract']} | {before:.1f} | {after:.1f} | {times} |")
    whole = measured_whole(options) if options.images else []
    print("\n| pictures, 3 taggers | | CPU ms an image | busiest thread, ms | images/s at most |")
    print("|---|---|--:|--:|--:|")
    for one in whole:
        most = f"{1e3 / one.busiest_ms:.0f}" if one.busiest_ms else ""
        print(f"| {one.pictures} | {one.way} | {one.cpu_ms:.1f} | {one.busiest_ms:.2f} | {most} |")
    if options.report is not None:
        report = {"batch": lines, "whole": [asdict(one) for one in whole]}
        options.report.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
