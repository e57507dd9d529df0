"""Speed and memory of level 1: the whole run against the bare networks on the same pictures.

    python benchmarks/level1.py [--taggers FOLDER_OR_NAME ...] [--images N] [--rounds N]
        [--threads N] [--backend ort|openvino] [--precision fp32|bf16] [--scaled-decoding]
        [--architectures vit,convnext --size 448] [--memory 1000,5000] [--report FILE]

Taggers are folders or names of the registry, by default the three that ship; ``--architectures``
makes networks of published architectures with random weights instead (needs ``onnx``). Pictures
are JPEGs of 768 x 1024 pixels, drawn anew and all different. In each round the bare sessions and
the whole run take turns; the table has medians over the rounds.

- bare: the sessions alone on ready tensors, one batch after the other, as the pipeline hands them
- whole: files to score store, reading, hashing, decoding, resizing and writing included
- memory: largest resident size of a process that scores so many pictures
- decode: CPU of one thread for a JPEG of 2048 x 3072 pixels to the first tagger's pixels
"""

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tagstack.base_models.framed_pixels import framed_picture
from tagstack.base_models.pipeline import score_images
from tagstack.base_models.pixel_budget import PixelBudget
from tagstack.base_models.preprocess import input_tensor
from tagstack.base_models.registry import load_taggers
from tagstack.base_models.sources import find_images
from tagstack.base_models.tagger import Tagger
from tagstack.base_models.threads import thread_count
from tagstack.configs.level1 import ScoreSettings
from tagstack.configs.settings import load_settings

SHIPPED = ("doll_resnet", "doll_convnext", "doll_vit")
N_TAGS = 10_861
CONTRACT = """name = "{name}"
source = "random weights"
licence = "none"
[files]
tags = "tags.txt"
[input]
layout = "NCHW"
colour = "RGB"
size = {size}
geometry = "pad_square"
resample = "bicubic"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
batch = "dynamic"
[output]
kind = "probabilities"
[tags]
format = "tags_txt"
"""


def draw_jpeg(seed: int, width: int, height: int) -> bytes:
    """Return a soft picture with some grain, about as large a file as an illustration."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    image = np.asarray(rough.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-6, 7, (height, width, 1), dtype=np.int16)
    stream = io.BytesIO()
    pixels = (image + grain).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=88)
    return stream.getvalue()


def draw_folder(folder: Path, n_images: int) -> Path:
    """Fill a folder with different pictures."""
    folder.mkdir(parents=True)
    for i in range(n_images):
        (folder / f"{i:06d}.jpg").write_bytes(draw_jpeg(i, 768, 1024))
    return folder


def made_taggers(folder: Path, names: Sequence[str], size: int) -> list[str]:
    """Write networks of published architectures with random weights; return their folders."""
    import level1_networks

    made = []
    for name in names:
        place = folder / name
        place.mkdir(parents=True)
        getattr(level1_networks, name)(place / "model.onnx", size=size, n_tags=N_TAGS)
        (place / "tagger.toml").write_text(CONTRACT.format(name=name, size=size))
        (place / "tags.txt").write_text("\n".join(f"t{i}" for i in range(N_TAGS)))
        made.append(str(place))
    return made


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
        score_images(sources, taggers, Path(store) / "scores", settings, threads=threads)
        return time.perf_counter() - began


def framed_folder(images: Path, tagger: Tagger) -> np.ndarray:
    """Return all pictures in a tagger's framing."""
    found = []
    for path in sorted(images.iterdir()):
        budget = PixelBudget(10**9)
        pixels, _ = framed_pixels(
            path.read_bytes(), [tagger.framing], max_pixels=10**9, budget=budget
        )
        found.append(pixels[tagger.framing])
    return np.stack(found)


def paired(
    taggers: Sequence[Tagger], images: Path, settings: ScoreSettings, threads: int, rounds: int
) -> dict[str, float]:
    """Return medians over rounds in which the bare sessions and the whole run take turns."""
    pixels = [framed_folder(images, tagger) for tagger in taggers]
    n_images = len(pixels[0])
    # The first full batch also finds out whether batches are exact; that is not speed.
    bare_seconds(taggers, [own[: settings.batch_images] for own in pixels], settings.batch_images)
    bare, whole = [], []
    for _ in range(rounds):
        bare.append(n_images / bare_seconds(taggers, pixels, settings.batch_images))
        whole.append(n_images / whole_seconds(taggers, images, settings, threads))
    ratios = [after / before for before, after in zip(bare, whole, strict=True)]
    return {
        "members": len(taggers),
        "bare_images_per_s": statistics.median(bare),
        "whole_images_per_s": statistics.median(whole),
        "whole_of_bare": statistics.median(ratios),
    }


def decode_ms(tagger: Tagger, rounds: int) -> float:
    """Return the CPU milliseconds from a JPEG of 2048 x 3072 to the tagger's pixels."""
    data, spent = draw_jpeg(0, 2048, 3072), []
    for _ in range(rounds):
        began = time.thread_time()
        framed_picture(data, [tagger.framing], max_pixels=10**9, budget=PixelBudget(10**9))
        spent.append(time.thread_time() - began)
    return 1000 * statistics.median(spent)


def peak_mib(n_images: int, arguments: Sequence[str]) -> float:
    """Return the largest resident size of a process that scores so many pictures."""
    command = [sys.executable, __file__, *arguments, "--measure-memory", str(n_images)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def measure_memory(options: argparse.Namespace, load: Callable[[Path], list[Tagger]]) -> None:
    """Score so many pictures and print this process's peak in MiB."""
    with tempfile.TemporaryDirectory() as work:
        taggers = load(Path(work))
        images = draw_folder(Path(work) / "images", options.measure_memory)
        settings = score_settings(options)
        whole_seconds(taggers, images, settings, thread_count(options.threads))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def score_settings(options: argparse.Namespace) -> ScoreSettings:
    """Return the default settings with this run's backend and decoding."""
    changes = {
        "backend": options.backend,
        "precision": options.precision,
        "scaled_decoding": options.scaled_decoding,
    }
    return load_settings(None, {"score": changes}).score


def parsed() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--taggers", nargs="*", default=list(SHIPPED))
    parser.add_argument("--architectures", default="")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--backend", default="ort")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--scaled-decoding", action="store_true")
    parser.add_argument("--memory", default="")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--measure-memory", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print one table."""
    options = parsed()
    threads = thread_count(options.threads)
    settings = score_settings(options)

    def load(work: Path) -> list[Tagger]:
        names = options.taggers
        if options.architectures:
            names = made_taggers(work, options.architectures.split(","), options.size)
        return list(load_taggers(names, settings, threads=threads))

    if options.measure_memory:
        measure_memory(options, load)
        return
    with tempfile.TemporaryDirectory() as work:
        taggers = load(Path(work) / "taggers")
        images = draw_folder(Path(work) / "images", options.images)
        groups = [[tagger] for tagger in taggers] + ([taggers] if len(taggers) > 1 else [])
        rows = [
            {"taggers": "+".join(tagger.name for tagger in group)}
            | paired(group, images, settings, threads, options.rounds)
            for group in groups
        ]
        decode = decode_ms(taggers[0], max(5, options.rounds))
        print_table(options, rows, decode, taggers)
    arguments = [item for item in sys.argv[1:] if item]
    peaks = {int(n): peak_mib(int(n), arguments) for n in options.memory.split(",") if n}
    for n_images, peak in peaks.items():
        print(f"peak memory for {n_images} images: {peak:.0f} MiB")
    if options.report:
        content = {"rows": rows, "decode_ms": decode, "peak_mib": peaks, "threads": threads}
        options.report.write_text(json.dumps(content, indent=1) + "\n")


def print_table(
    options: argparse.Namespace,
    rows: Sequence[dict[str, object]],
    decode: float,
    taggers: Sequence[Tagger],
) -> None:
    """Print what ran and the medians."""
    info = taggers[0].session.info
    versions = " ".join(f"{name} {version}" for name, version in info.versions)
    print(
        f"{options.images} JPEGs of 768 x 1024, medians of {options.rounds} rounds, {versions}, "
        f"{info.precision}, {info.threads} threads, scaled decoding {options.scaled_decoding}"
    )
    print(f"{'taggers':40} {'bare /s':>9} {'whole /s':>9} {'whole/bare':>11}")
    for row in rows:
        print(
            f"{row['taggers']:40} {row['bare_images_per_s']:9.1f} {row['whole_images_per_s']:9.1f} "
            f"{row['whole_of_bare']:11.1%}"
        )
    print(f"2048 x 3072 JPEG to {taggers[0].name}'s pixels: {decode:.1f} ms of CPU")


if __name__ == "__main__":
    main()
