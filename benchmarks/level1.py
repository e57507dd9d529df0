"""Speed and memory of level 1, each part by itself or all in turn.

    python benchmarks/level1.py [--only bare,decode,memory,real-size,peers] [--report FILE]
        [--taggers FOLDER_OR_NAME ...] [--architectures vit,convnext,swin --size 448]
        [--images N] [--rounds N] [--threads N] [--backend NAME] [--precision NAME]
        [--scaled-decoding] [--resampling NAME] [--memory 5000,50000]
        [--peers-python PYTHON] [--peers vit,convnext]

Taggers are folders or names of the registry, by default the three that ship; ``--architectures``
makes networks of published architectures with random weights instead (needs ``onnx``). Pictures
are drawn JPEGs, all different. In each round everybody takes turns on the same pictures; the
tables have medians over the rounds. Progress goes to standard error.

- bare: the sessions alone on ready tensors, one batch after the other, as the pipeline hands them,
  against the whole run from files to score store; for each tagger, and for all of them together
- decode: CPU of one thread from a JPEG of 2048 x 3072 pixels to 448 x 448, by geometry, with full
  and with scaled decoding, resized by Pillow and compiled, the picture's hash included
- memory: largest resident size of a process that scores so many small JPEGs (96 x 128); numba,
  which --resampling auto loads for the larger number alone, takes some 100 MiB by itself
- real-size: the same with ``--images`` JPEGs of 768 x 1024, and a tenth of them
- peers: dghs-imgutils and wdtagger, installed in another environment (level1_peers.py), against
  this package with ONNX Runtime in fp32 and OpenVINO in fp32 and bf16
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from level1_material import draw_folder, draw_jpeg, made_taggers

from tagstack.base_models.pictures.framed_pixels import framed_picture
from tagstack.base_models.pictures.images import DecodingBudget
from tagstack.base_models.pictures.preprocess import Framing, input_tensor
from tagstack.base_models.pictures.resampling import chosen_resampler
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import score_images
from tagstack.base_models.scoring.sources import find_images
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.threads import let_idle_threads_sleep, thread_count
from tagstack.configs.level1 import ScoreSettings
from tagstack.configs.settings import load_settings

SHIPPED = ("doll_resnet", "doll_convnext", "doll_vit")
PARTS = ("bare", "decode", "memory", "real-size", "peers")
OURS = (("ort", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
UNLIMITED = 10**9


def say(text: str) -> None:
    """Say what is under way."""
    print(text, file=sys.stderr, flush=True)


def bare_seconds(taggers: Sequence[Tagger], pixels: Sequence[np.ndarray], batch: int) -> float:
    """Return the seconds that the sessions alone take for everyone's ready tensors."""
    tensors = [
        [input_tensor(own[i : i + batch], tagger.contract.input) for i in range(0, len(own), batch)]
        for tagger, own in zip(taggers, pixels, strict=True)
    ]
    began = time.perf_counter()
    for tagger, batches in zip(taggers, tensors, strict=True):
        for tensor in batches:
            tagger.session.run(tensor)
    return time.perf_counter() - began


def whole_seconds(
    taggers: Sequence[Tagger], images: Path, settings: ScoreSettings, threads: int
) -> float:
    """Return the seconds from files to a new score store."""
    sources = find_images([images], extensions=settings.extensions)
    with tempfile.TemporaryDirectory() as store:
        began = time.perf_counter()
        with ScoreWriter(Path(store), Members.of(taggers)) as sink:
            score_images(sources, taggers, sink, settings, threads=threads)
        return time.perf_counter() - began


def framed_folder(images: Path, tagger: Tagger) -> np.ndarray:
    """Return every picture of a folder as the tagger wants it."""
    budget = DecodingBudget(UNLIMITED)
    found = []
    for path in sorted(images.iterdir()):
        picture = framed_picture(
            path.read_bytes(), [tagger.framing], max_pixels=UNLIMITED, budget=budget
        )
        found.append(picture.pixels[tagger.framing])
    return np.stack(found)


def paired(
    taggers: Sequence[Tagger], images: Path, settings: ScoreSettings, threads: int, rounds: int
) -> dict[str, Any]:
    """Return medians over rounds in which the bare sessions and the whole run take turns."""
    pixels = [framed_folder(images, tagger) for tagger in taggers]
    n_images = len(pixels[0])
    # The first full batch also finds out whether batches are exact; that is not speed.
    bare_seconds(taggers, [own[: settings.batch_images] for own in pixels], settings.batch_images)
    rates: dict[str, list[float]] = {"bare": [], "whole": []}
    cpu: dict[str, list[float]] = {"bare": [], "whole": []}
    for number in range(rounds):
        say(f"{'+'.join(t.name for t in taggers)}: round {number + 1} of {rounds}")
        for kind in ("bare", "whole"):
            began = time.process_time()
            if kind == "bare":
                seconds = bare_seconds(taggers, pixels, settings.batch_images)
            else:
                seconds = whole_seconds(taggers, images, settings, threads)
            rates[kind].append(n_images / seconds)
            cpu[kind].append((time.process_time() - began) / n_images)
    ratios = [after / before for before, after in zip(rates["bare"], rates["whole"], strict=True)]
    return {
        "taggers": "+".join(tagger.name for tagger in taggers),
        "bare_images_per_s": statistics.median(rates["bare"]),
        "whole_images_per_s": statistics.median(rates["whole"]),
        "whole_of_bare": statistics.median(ratios),
        "bare_cpu_s": statistics.median(cpu["bare"]),
        "whole_cpu_s": statistics.median(cpu["whole"]),
    }


def measure_bare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each tagger, and all of them together."""
    threads, settings = thread_count(options.threads), score_settings(options)
    with tempfile.TemporaryDirectory() as work:
        taggers = loaded(options, Path(work) / "taggers")
        say(f"drawing {options.images} pictures")
        images = draw_folder(Path(work) / "images", options.images)
        groups = [[tagger] for tagger in taggers] + ([taggers] if len(taggers) > 1 else [])
        return [paired(group, images, settings, threads, options.rounds) for group in groups]


def measure_decode(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the CPU milliseconds of one thread, by geometry, decoding and resampling."""
    data = draw_jpeg(0, 2048, 3072)
    cases = product(("pad_square", "squash", "fit_pad"), (False, True), ("pillow", "compiled"))
    rows = []
    for geometry, scaled, resampling in cases:
        white = (255, 255, 255)
        framing = Framing(
            height=448, width=448, geometry=geometry, pad=white, matte=white,
            resample="bicubic", rounding="down", canvas=None, scaled_decoding=scaled,
        )  # fmt: skip
        spent = decode_milliseconds(data, framing, resampling, max(9, options.rounds))
        rows.append(
            {
                "geometry": geometry,
                "scaled": scaled,
                "resampling": resampling,
                "file_kib": len(data) // 1024,
                "median_ms": statistics.median(spent),
                "least_ms": min(spent),
            }
        )
    return rows


def decode_milliseconds(data: bytes, framing: Framing, resampling: Any, rounds: int) -> list[float]:
    """Return what each round took; compiling comes before the first."""
    resampler, budget = chosen_resampler(resampling), DecodingBudget(UNLIMITED)
    spent = []
    for _ in range(rounds + 1):
        began = time.thread_time()
        framed_picture(data, [framing], max_pixels=UNLIMITED, budget=budget, resampler=resampler)
        spent.append(1000 * (time.thread_time() - began))
    return spent[1:]


def measure_memory(options: argparse.Namespace, size: str, counts: str) -> list[dict[str, Any]]:
    """Measure the peak of one process for each number of pictures."""
    rows = []
    for count in (int(part) for part in counts.split(",") if part):
        say(f"memory: {count} pictures of {size}")
        command = [sys.executable, __file__, *options.given, "--measure-memory", f"{count},{size}"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append({"images": count, "size": size} | json.loads(done.stdout.splitlines()[-1]))
    return rows


def print_peak(options: argparse.Namespace) -> None:
    """Score so many pictures and print this process's peak in MiB."""
    count, size = options.measure_memory.split(",")
    width, height = map(int, size.split("x"))
    threads = thread_count(options.threads)
    with tempfile.TemporaryDirectory() as work:
        # Drawn by another process, so that drawing does not raise the peak.
        folder = Path(work) / "images"
        code = (
            "import sys; from level1_material import *; from pathlib import Path; "
            "draw_folder(Path(sys.argv[1]), int(sys.argv[2]), (int(sys.argv[3]), int(sys.argv[4])))"
        )
        draw = [sys.executable, "-c", code, str(folder), count, str(width), str(height)]
        subprocess.run(draw, check=True, cwd=Path(__file__).parent)
        taggers = loaded(options, Path(work) / "taggers")
        loaded_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = whole_seconds(taggers, folder, score_settings(options), threads)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_mib": peak, "loaded_mib": loaded_mib, "seconds": seconds}))


def measure_against_peers(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure both peers and this package's backends."""
    from level1_peers import measure_peers

    ours = [score_settings(options, *choice) for choice in OURS]
    with tempfile.TemporaryDirectory() as work:
        images = draw_folder(Path(work) / "images", options.images)
        return measure_peers(
            options.peers.split(","),
            images,
            ours,
            python=options.peers_python,
            rounds=options.rounds,
            threads=thread_count(options.threads),
            batch=options.peer_batch,
        )


def loaded(options: argparse.Namespace, work: Path) -> list[Tagger]:
    """Return the taggers to measure."""
    names = options.taggers
    if options.architectures:
        names = made_taggers(work, options.architectures.split(","), options.size)
    threads = thread_count(options.threads)
    return list(load_taggers(names, score_settings(options), threads=threads))


def score_settings(
    options: argparse.Namespace, backend: str | None = None, precision: str | None = None
) -> ScoreSettings:
    """Return the default settings with this run's backend and decoding."""
    changes = {
        "backend": backend or options.backend,
        "precision": precision or options.precision,
        "scaled_decoding": options.scaled_decoding,
        "resampling": options.resampling,
    }
    return load_settings(None, {"score": changes}).score


def parsed() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default=",".join(PARTS[:4]))
    parser.add_argument("--taggers", nargs="*", default=list(SHIPPED))
    parser.add_argument("--architectures", default="")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--backend", default="ort")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--scaled-decoding", action="store_true")
    parser.add_argument("--resampling", default="auto")
    parser.add_argument("--memory", default="5000,50000")
    parser.add_argument("--peers", default="vit,convnext")
    parser.add_argument("--peers-python", type=Path)
    parser.add_argument("--peer-batch", type=int, default=8)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--measure-memory", help=argparse.SUPPRESS)
    options = parser.parse_args(namespace=argparse.Namespace(given=sys.argv[1:]))
    unknown = set(options.only.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"--only: {sorted(unknown)} are none of {PARTS}")
    if "peers" in options.only.split(",") and options.peers_python is None:
        parser.error("peers need --peers-python")
    return options


def main() -> None:
    """Measure the parts that were asked for and print a table of each."""
    let_idle_threads_sleep()
    options = parsed()
    if options.measure_memory:
        print_peak(options)
        return
    tenth = f"{max(1, options.images // 10)},{options.images}"
    parts = {
        "bare": lambda: measure_bare(options),
        "decode": lambda: measure_decode(options),
        "memory": lambda: measure_memory(options, "96x128", options.memory),
        "real-size": lambda: measure_memory(options, "768x1024", tenth),
        "peers": lambda: measure_against_peers(options),
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for part in options.only.split(","):
        found[part] = parts[part]()
        print_table(part, found[part])
    if options.report:
        content = {"options": vars(options) | {"report": None, "peers_python": None}} | found
        options.report.write_text(json.dumps(content, indent=1) + "\n")


def print_table(part: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows of equal keys, columns as wide as they need."""
    table = [list(rows[0])] + [
        [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()]
        for row in rows
    ]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    print(f"\n{part}")
    for row in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main()
