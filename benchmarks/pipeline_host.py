"""What the host does to a batch before a GPU has it, with a network that costs nothing.

    python benchmarks/pipeline_host.py [--size 448] [--batch 32] [--rounds 7] [--report FILE]

Pictures are framed already, as the pipeline hands them over. Two ways to the memory that the GPU
reads: scaled, transposed and copied as float32, or copied as the uint8 pixels that they are
(``score.engines.pixels_on_device``), for three kinds of contract. CPU time of one thread, user and
system, the median of the rounds; the last column says how many times as many images that is.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tagstack.base_models.contract import Contract, contract_from_toml
from tagstack.base_models.pictures.preprocess import input_tensor

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
    values = {
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


def main() -> None:
    """Measure every contract and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--report", type=Path, help="JSON with all figures.")
    arguments = parser.parse_args()
    lines = measured(arguments.size, arguments.batch, arguments.rounds)
    print("| contract | float32, CPU ms a batch | uint8, CPU ms a batch | times |")
    print("|---|--:|--:|--:|")
    for line in lines:
        before, after = 1e3 * line["float32_s"], 1e3 * line["pixels_s"]
        times = f"{before / after:.1f}" if after else ""
        print(f"| {line['contract']} | {before:.1f} | {after:.1f} | {times} |")
    if arguments.report is not None:
        arguments.report.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
