"""What `gpu.py` measures beside single networks: loading, the whole pipeline, trees, decoding.

Each section yields figures, or one that says why there is none.
"""

import io
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gpu_table import BACKENDS
from level1_material import draw_jpeg, made_taggers
from PIL import Image

from tagstack.base_models.runtimes.driver import examine_driver
from tagstack.base_models.runtimes.probing import is_installed, probe
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import score_images
from tagstack.base_models.scoring.sources import find_images
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.threads import usable_cores
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings

PICTURE = (1024, 1536)


@dataclass(frozen=True)
class Figure:
    """One measured number; without one, ``note`` says why."""

    section: str
    name: str
    value: float | None
    unit: str
    note: str = ""


def loading() -> Iterator[Figure]:
    """Say which backends can run here; 1 is yes."""
    for backend in BACKENDS:
        found = probe(backend)
        note = "" if found.available else f"{found.reason}; {found.install}"
        yield Figure("loads", backend, float(found.available), "", note)


def pipeline(scratch: Path, n_images: int, size: int, on_cpu: bool, tiny: bool) -> Iterator[Figure]:
    """Score JPEGs with a ViT-B/16 from the file to the store, and say what each stage can do."""
    backends = [name for name in BACKENDS[:2] if probe(name).available]
    if not backends and not on_cpu:
        yield Figure("pipeline", "images/s", None, "", "no GPU backend can run here")
        return
    backend, precision = (backends[0], "fp16") if backends else ("ort", "fp32")
    folder = scratch / "pictures"
    folder.mkdir()

    def draw(number: int) -> None:
        (folder / f"{number:06d}.jpg").write_bytes(draw_jpeg(number, *PICTURE, quality=90))

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(draw, range(n_images)))
    network = {"width": 64, "depth": 1} if tiny else {}
    models = made_taggers(scratch / "taggers", ["vit"], size, **network)
    for scaled in (False, True):
        own = {"backend": backend, "precision": precision, "scaled_decoding": scaled}
        score = {**own, "engines": {"on_failure": "error"}}
        settings = load_settings(changes={"score": score}).score
        name = f"{backend} {precision}{', scaled decoding' if scaled else ''}"
        try:
            taggers = load_taggers(models, settings, threads=usable_cores())
        except TagstackError as error:
            yield Figure("pipeline", f"{name}: images/s", None, "", str(error))
            return
        sources = find_images([folder], extensions=settings.extensions)
        with gpu_busy() as busy:
            with ScoreWriter(scratch / f"store-{scaled}", Members.of(taggers)) as sink:
                summary = score_images(sources, taggers, sink, settings, threads=usable_cores())
        for tagger in taggers:
            tagger.close()
        rate = summary.n_scored / summary.seconds
        yield Figure("pipeline", f"{name}: images/s", rate, "images/s")
        share, note = busy()
        yield Figure("pipeline", f"{name}: GPU busy", share, "%", note)
        for stage, one in summary.stage_rates.items():
            yield Figure("stages", f"{name}: {stage} alone", one, "images/s")


@contextmanager
def gpu_busy() -> Iterator[Callable[[], tuple[float | None, str]]]:
    """Give a function that says, after the block, how busy the GPU was in percent."""
    program = shutil.which("nvidia-smi")
    if program is None or examine_driver().fault is not None:
        yield lambda: (None, "there is no nvidia-smi, or no GPU")
        return
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
    watching = subprocess.Popen([program, "-i", "0", *query], stdout=subprocess.PIPE, text=True)
    found: list[str] = []
    try:
        yield lambda: (statistics.fmean(map(float, found)), "") if found else (None, "no sample")
    finally:
        watching.terminate()
        found += watching.communicate()[0].split()


def trees(n_pairs: int, on_cpu: bool) -> Iterator[Figure]:
    """Train the meta-model's trees on made pairs, on the processor and on the GPU."""
    import xgboost
    from sklearn.metrics import average_precision_score

    from tagstack.meta.learners.meta_trees import MetaTrees

    has_cuda = bool(xgboost.build_info().get("USE_CUDA")) and examine_driver().fault is None
    if not has_cuda:
        note = "this xgboost has no CUDA (pip install xgboost instead of xgboost-cpu), or no GPU"
        yield Figure("trees", "cuda: fit", None, "s", note)
        if not on_cpu:
            return
    rng = np.random.default_rng(0)
    values = rng.standard_normal((n_pairs, 40), np.float32)
    values[rng.random(values.shape, np.float32) < 0.3] = np.nan
    first, second, third = np.nan_to_num(values[:, :3]).T
    true = rng.random(n_pairs) < 1 / (1 + np.exp(2 - first - 0.7 * second * third))
    half, settings = n_pairs // 2, load_settings().stack.xgboost
    names = tuple(f"f{i}" for i in range(40))
    for device in ("cpu", "cuda") if has_cuda else ("cpu",):
        learner = MetaTrees(settings, seed=0, threads=usable_cores(), device=device)
        began = time.perf_counter()
        matrix = xgboost.QuantileDMatrix(
            values[:half], label=true[:half], max_bin=settings.bins, nthread=usable_cores()
        )
        parameters = learner.parameters(names, frozenset())
        booster = xgboost.train(parameters, matrix, settings.rounds)
        yield Figure("trees", f"{device}: fit", time.perf_counter() - began, "s")
        booster.set_param({"device": "cpu"})
        score = average_precision_score(true[half:], booster.inplace_predict(values[half:]))
        yield Figure("trees", f"{device}: average precision", float(score), "")


def decoding(n_images: int) -> Iterator[Figure]:
    """Decode JPEGs with Pillow on all cores and with nvJPEG, and compare the pixels."""
    files = [draw_jpeg(number, *PICTURE, quality=90) for number in range(n_images)]

    def pillow(file: bytes) -> Any:
        return np.asarray(Image.open(io.BytesIO(file)))

    with ThreadPoolExecutor(usable_cores()) as pool:
        began = time.perf_counter()
        list(pool.map(pillow, files))
        rate = n_images / (time.perf_counter() - began)
    yield Figure("decode", "Pillow, all cores", rate, "images/s")
    name = "nvJPEG (torchvision)"
    if not (is_installed("torchvision") and examine_driver().fault is None):
        yield Figure("decode", name, None, "images/s", "torchvision is not installed, or no GPU")
        return
    import torch
    import torchvision

    tensors = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
    try:
        torchvision.io.decode_jpeg(tensors[:4], device="cuda")
        torch.cuda.synchronize()
        began = time.perf_counter()
        found = torchvision.io.decode_jpeg(tensors, device="cuda")
        torch.cuda.synchronize()
    except RuntimeError as error:
        yield Figure("decode", name, None, "images/s", " ".join(str(error).split())[:200])
        return
    yield Figure("decode", name, n_images / (time.perf_counter() - began), "images/s")
    off = found[0].permute(1, 2, 0).cpu().numpy().astype(int) - pillow(files[0]).astype(int)
    yield Figure("decode", "pixels apart, mean", float(np.abs(off).mean()), "of 255")
