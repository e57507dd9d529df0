"""All that is to be known on a GPU, in one command of at most ten minutes.

    python benchmarks/gpu.py --report report.json [--minutes 10]
    python benchmarks/gpu_table.py report.json docs/engines.md

Sections (``--sections``), in this order: ``loads``, which backends load; ``pipeline``, JPEGs from
the file to the store, how busy the GPU is and what each stage can do; ``networks``, PyTorch, ONNX
Runtime and TensorRT on the same networks and images; ``trees``, XGBoost on the GPU; ``decode``.
When the minutes are up, what is measured is written and the program ends; what is missing then is
not in the report. For more, name sections or rows, and keep engines with ``--cache``.

    python benchmarks/gpu.py [--architectures vit,convnext,swin] [--size 448] [--batches 1,8,32]
        [--rows ort-cuda,tensorrt ...] [--rounds 3] [--seconds 0.3] [--pictures 1500] [--with-cpu]
        [--tiny] [--cache FOLDER]

Networks are a ViT-B/16, a ConvNeXt-B and a SwinV2-B with random weights and 10,861 outputs: speed
does not need training. Each row runs all batches: some warm-up, then rounds of at least
``--seconds``, and the median of the rounds. A call is timed from an array on the host to scores on
the host, with the device waited for, so copies count for everyone; ``trtexec`` alone times what is
on the device. Parity is the largest difference of logits from ONNX Runtime on the CPU in fp32.

What is not installed, or has no GPU to run on, is named with the reason and skipped.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from gpu_networks import FAULTS, N_TAGS, Result, markdown, measured_networks
from gpu_sections import Figure, decoding, loading, pipeline, trees

from tagstack.base_models.runtimes.driver import examine_driver
from tagstack.base_models.runtimes.faults import one_line

SECTIONS = ("loads", "pipeline", "networks", "trees", "decode")


class Report:
    """What is measured so far; it can be written at any time."""

    def __init__(self, path: Path | None, machine: str, scratch: Path) -> None:
        self._path, self._machine, self._scratch = path, machine, scratch
        self._lock = threading.Lock()
        self.networks: list[Result] = []
        self.figures: list[Figure] = []

    def end(self, note: str = "") -> None:
        """Print the tables and write the report."""
        with self._lock:
            if self.networks:
                print(markdown(self.networks))
            for one in self.figures:
                value = "" if one.value is None else f"{one.value:.4g} {one.unit}".strip()
                print(f"{one.section}: {one.name}: {value or 'skipped: ' + one.note}")
            if note:
                print(note, file=sys.stderr)
            if self._path is not None:
                found = {
                    "machine": self._machine,
                    "networks": [asdict(one) for one in self.networks],
                    "figures": [asdict(one) for one in self.figures],
                }
                self._path.write_text(json.dumps(found, indent=1))
            sys.stdout.flush()

    def stop(self) -> None:
        """End the program, whatever it is at: a build cannot be interrupted otherwise."""
        self.end("The minutes are up; the rest was not measured.")
        shutil.rmtree(self._scratch, ignore_errors=True)
        os._exit(0)


def parsed() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--architectures", default="vit,convnext")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--tags", type=int, default=N_TAGS)
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--rows", help="Only rows whose names begin so, comma-separated.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="Of one round, at least.")
    parser.add_argument("--pictures", type=int, default=1500, help="Of the pipeline.")
    parser.add_argument("--pairs", type=int, default=4_000_000, help="Of the trees.")
    parser.add_argument("--with-cpu", action="store_true", help="Rows that run on the CPU, too.")
    parser.add_argument("--tiny", action="store_true", help="Small networks, to try this program.")
    parser.add_argument("--cache", type=Path, help="Where engines are kept for the next time.")
    parser.add_argument("--report", type=Path, help="JSON with all figures.")
    arguments = parser.parse_args()
    arguments.batches = arguments.batches or [1, 8, 32]
    unknown = set(arguments.sections.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"--sections has {', '.join(sorted(unknown))}; expected {', '.join(SECTIONS)}")
    return arguments


def main() -> None:
    """Run every section that was asked for."""
    arguments = parsed()
    driver = examine_driver()
    machine = driver.fault or ", ".join(map(str, driver.devices))
    print(f"GPU: {machine}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        report = Report(arguments.report, machine, scratch)
        limit = threading.Timer(60 * arguments.minutes, report.stop)
        limit.daemon = True
        limit.start()
        sections: dict[str, Callable[[], Iterator[Figure]]] = {
            "loads": loading,
            "pipeline": lambda: pipeline(
                scratch, arguments.pictures, arguments.size, arguments.with_cpu, arguments.tiny
            ),
            "trees": lambda: trees(arguments.pairs, arguments.with_cpu),
            "decode": lambda: decoding(min(arguments.pictures, 64)),
        }
        for name in arguments.sections.split(","):
            print(f"section {name}", file=sys.stderr)
            try:
                if name == "networks":
                    report.networks.extend(measured_networks(arguments, scratch))
                else:
                    report.figures.extend(sections[name]())
            except FAULTS as error:
                report.figures.append(Figure(name, "ended early", None, "", one_line(error)))
        limit.cancel()
        report.end()


if __name__ == "__main__":
    main()
