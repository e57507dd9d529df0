"""What `gpu.py` measures of single networks: each in PyTorch, ONNX Runtime, TensorRT and `trtexec`.

Every way to run a network is a row. What is not installed, or has no GPU to run on, is a row with
the reason and without figures.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit

from tagstack.base_models.contract import Contract, read_contract
from tagstack.base_models.runtimes.driver import examine_driver
from tagstack.base_models.runtimes.faults import one_line
from tagstack.base_models.runtimes.probing import is_installed, probe
from tagstack.base_models.runtimes.selection import REFERENCE, RuntimeChoice, open_session
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings

N_TAGS = 10_861
N_PARITY = 4
CONTRACT = """name = "{name}"
source = "random weights"
licence = "none"
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
TINY: dict[str, dict[str, Any]] = {
    "vit": {"width": 64, "depth": 1},
    "convnext": {"widths": (8, 16), "depths": (1, 1)},
    "swin": {"width": 32, "depths": (2, 2), "heads": (1, 2), "window": 4},
}
FAULTS = (TagstackError, RuntimeError, ImportError, OSError, ValueError)
Run = Callable[[np.ndarray], np.ndarray]


class SkippedError(Exception):
    """A row cannot be run here; the message says why."""


@dataclass(frozen=True)
class Job:
    """One network to run."""

    name: str
    model: Path
    contract: Contract
    size: int
    choice: RuntimeChoice


@dataclass(frozen=True)
class Row:
    """A way to run a network: a name, and what opens it."""

    name: str
    open: Callable[[Job], Any]


@dataclass(frozen=True)
class Result:
    """One line of the table; without figures it was skipped for ``note``."""

    network: str
    row: str
    batch: int | None
    milliseconds: float | None
    images_per_s: float | None
    spread: float | None
    max_difference: float | None
    note: str


def made_job(folder: Path, name: str, size: int, n_tags: int, tiny: bool, cache: Path) -> Job:
    """Write a network and its contract."""
    import level1_networks
    import swin_network

    folder.mkdir(parents=True, exist_ok=True)
    write = swin_network.swin if name == "swin" else getattr(level1_networks, name)
    write(folder / "model.onnx", size=size, n_tags=n_tags, **(TINY[name] if tiny else {}))
    (folder / "tagger.toml").write_text(CONTRACT.format(name=name, size=size))
    # A row is what its name says, and all rows take the same floats.
    changes = {"folder": str(cache), "on_failure": "error", "pixels_on_device": False}
    engines = load_settings().score.engines.model_copy(update=changes)
    choice = replace(REFERENCE, engines=engines)
    return Job(name, folder / "model.onnx", read_contract(folder / "tagger.toml"), size, choice)


@contextmanager
def session(job: Job, backend: str, precision: str) -> Iterator[Run]:
    """Open a network in one of our backends; no other is taken if it fails."""
    found = probe(backend)
    if not found.available:
        raise SkippedError(f"{found.reason}; {found.install}")
    choice = replace(job.choice, backend=backend, precision=precision)
    try:
        opened = open_session(job.model, job.contract, choice, threads=1)
    except TagstackError as error:
        raise SkippedError(str(error)) from error
    yield opened.run
    opened.close()


def ours(backend: str, precision: str) -> Row:
    """Return the row of one of our backends."""
    return Row(f"{backend} {precision}", lambda job: session(job, backend, precision))


@contextmanager
def torch_run(job: Job, kind: str, compiled: bool, on_cpu: bool) -> Iterator[Run]:
    """Run the same graph in PyTorch, eagerly or compiled."""
    if not is_installed("torch"):
        raise SkippedError("torch is not installed; pip install 'tagstack[train]'")
    import torch
    from torch_graph import TorchGraph

    if not torch.cuda.is_available() and not on_cpu:
        raise SkippedError("torch sees no GPU")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = kind == "tf32"
    dtype = torch.float16 if kind == "fp16" else torch.float32
    module: Any = TorchGraph(job.model).eval().to(device, dtype)
    if compiled:
        module = torch.compile(module)

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            images = torch.from_numpy(batch)
            if device == "cuda":
                images = images.pin_memory()
            scores = module(images.to(device, dtype, non_blocking=True))
            return np.asarray(scores.float().cpu().numpy())  # waits for the device

    yield run


def torch_row(kind: str, compiled: bool, on_cpu: bool) -> Row:
    """Return a row of PyTorch."""
    how = "compile" if compiled else "eager"
    return Row(f"torch {how} {kind}", lambda job: torch_run(job, kind, compiled, on_cpu))


def all_rows(on_cpu: bool) -> list[Row]:
    """Return every row, in the order of the table."""
    cpu = [ours("ort", "fp32"), ours("openvino", "fp32"), ours("openvino", "bf16")]
    precisions = ("fp32", "tf32", "fp16")
    return [
        *(cpu if on_cpu else []),
        *(torch_row(kind, False, on_cpu) for kind in precisions),
        torch_row("fp16", True, on_cpu),
        *(ours("ort-cuda", kind) for kind in precisions),
        *(ours("ort-tensorrt", kind) for kind in precisions[1:]),
        *(ours("tensorrt", kind) for kind in (*precisions, "bf16")),
    ]


def timed(run: Run, images: np.ndarray, rounds: int, seconds: float) -> tuple[float, float]:
    """Return the median and the spread (largest less smallest) of seconds a call."""
    for _ in range(3):  # the first loads kernels, the second records, the third is ready
        run(images)
    began = time.perf_counter()
    run(images)
    calls = max(1, round(seconds / max(time.perf_counter() - began, 1e-9)))
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(calls):
            run(images)
        found.append((time.perf_counter() - began) / calls)
    return statistics.median(found), max(found) - min(found)


def drawn(job: Job, n_images: int) -> np.ndarray:
    """Return images as the network takes them: noise of several contrasts, alike for all rows."""
    rng = np.random.default_rng(0)
    contrast = np.linspace(0.2, 1, n_images, dtype=np.float32)[:, None, None, None]
    shape = (n_images, 3, job.size, job.size)
    images: np.ndarray = np.clip(rng.standard_normal(shape, np.float32) * contrast, -1, 1)
    return images


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of logits."""
    both = (logit(scores.astype(np.float64).clip(1e-7, 1 - 1e-7)) for scores in (found, expected))
    return float(np.abs(next(both) - next(both)).max())


def measured(
    job: Job, row: Row, arguments: argparse.Namespace, expected: np.ndarray
) -> list[Result]:
    """Return a row's lines, or one that says why there are none."""
    empty = Result(job.name, row.name, None, None, None, None, None, "")
    lines = []
    try:
        with row.open(job) as run:
            off = difference(run(drawn(job, N_PARITY)), expected)
            for batch in arguments.batches:
                median, spread = timed(run, drawn(job, batch), arguments.rounds, arguments.seconds)
                figures = (batch, 1e3 * median, batch / median, spread / median, off, "")
                lines.append(Result(job.name, row.name, *figures))
    except SkippedError as error:
        return [replace(empty, note=f"skipped: {error}")]
    except FAULTS as error:  # what a library raises costs its row alone
        return [*lines, replace(empty, note=f"skipped: {one_line(error)}")]
    return lines


def trtexec(job: Job, arguments: argparse.Namespace) -> list[Result]:
    """Time NVIDIA's own program on the same file, where it is installed."""
    program = shutil.which("trtexec")
    empty = Result(job.name, "trtexec tf32", None, None, None, None, None, "")
    reason = "trtexec is not on the PATH" if program is None else examine_driver().fault
    if program is None or reason is not None:
        return [replace(empty, note=f"skipped: {reason}")]
    lines = []
    for batch in arguments.batches:
        shape = f"input:{batch}x3x{job.size}x{job.size}"
        options = [f"--onnx={job.model}", f"--shapes={shape}", "--stronglyTyped", "--useCudaGraph"]
        done = subprocess.run([program, *options], capture_output=True, text=True, check=False)
        found = re.search(r"GPU Compute Time:.*?median = ([\d.]+) ms", done.stdout)
        if found is None:
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            return [replace(empty, note=f"skipped: trtexec failed: {' '.join(last)}")]
        ms = float(found.group(1))
        note = "on the device alone"
        lines.append(
            replace(empty, batch=batch, milliseconds=ms, images_per_s=1e3 * batch / ms, note=note)
        )
    return lines


def measured_networks(arguments: argparse.Namespace, scratch: Path) -> Iterator[Result]:
    """Yield the lines of every network in every row."""
    cache = arguments.cache or scratch / "cache"
    for name in arguments.architectures.split(","):
        job = made_job(scratch / name, name, arguments.size, arguments.tags, arguments.tiny, cache)
        with session(job, "ort", "fp32") as run:
            expected = run(drawn(job, N_PARITY))
        wanted = tuple((arguments.rows or "").split(","))
        for row in all_rows(arguments.with_cpu):
            if row.name.startswith(wanted):
                print(f"{name}: {row.name}", file=sys.stderr)
                yield from measured(job, row, arguments, expected)
        if "trtexec".startswith(wanted):
            yield from trtexec(job, arguments)


def markdown(results: Sequence[Result]) -> str:
    """Return the table."""
    lines = [
        "| network | runs in | batch | ms a batch | images/s | spread | max logit difference | |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for one in results:
        cells = ["", "", "", "", ""]
        if one.milliseconds is not None and one.images_per_s is not None:
            cells = [str(one.batch), f"{one.milliseconds:.2f}", f"{one.images_per_s:.1f}"]
            cells.append("" if one.spread is None else f"{one.spread:.1%}")
            cells.append("" if one.max_difference is None else f"{one.max_difference:.2g}")
        lines.append(f"| {one.network} | {one.row} | {' | '.join(cells)} | {one.note} |")
    return "\n".join(lines)
