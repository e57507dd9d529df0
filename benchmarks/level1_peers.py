"""Level 1 against dghs-imgutils and wdtagger: the same network, the same pictures, in turns.

Each network is written once as WD's files are (NHWC, BGR, 0-255, a second output with the
embedding) and, for wdtagger, which runs PyTorch, as weights of the same architecture in timm. How
those libraries are given local files stands in level1_peer_driver.py.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import level1_networks
import numpy as np
import onnx
from level1_material import CATEGORIES, N_TAGS, WD, describe
from onnx import TensorProto, helper, numpy_helper

from tagstack.base_models.pictures.preprocess import input_tensor
from tagstack.base_models.runtimes.ort import CALL_IMAGES
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import score_images
from tagstack.base_models.scoring.sources import find_images
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.configs.level1 import ScoreSettings

DRIVER = Path(__file__).with_name("level1_peer_driver.py")
PEERS = ("imgutils", "wdtagger")
GENERAL, CHARACTER = 0.35, 0.85
TIMM: dict[str, dict[str, Any]] = {
    "vit": {
        "architecture": "vit_base_patch16_224",
        "options": {
            "num_classes": N_TAGS, "img_size": 448, "class_token": False, "global_pool": "avg",
        },
    },
    "convnext": {"architecture": "convnext_base", "options": {"num_classes": N_TAGS}},
}  # fmt: skip
# WD's pictures: scaled to -1..1, the whole square. timm calls these settings its pretrained_cfg.
CONFIG = {
    "input_size": [3, 448, 448], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0,
    "interpolation": "bicubic", "crop_mode": "center",
}  # fmt: skip


def write_network(kind: str, work: Path) -> Path:
    """Write a network for all parties; return the tagger's folder."""
    work.mkdir(parents=True)
    plain = work / "plain.onnx"
    getattr(level1_networks, kind)(plain, size=448, n_tags=N_TAGS)
    model = onnx.load(str(plain))
    plain.unlink()
    layers = _layers(model.graph)
    _spread(model.graph)
    np.savez(work / "state.npz", allow_pickle=False, **_timm_state(kind, layers, model.graph))
    peer = TIMM[kind] | {"options": TIMM[kind]["options"] | {"pretrained_cfg_overlay": CONFIG}}
    (work / "peer.json").write_text(json.dumps(peer))
    onnx.save(_as_wd(model), str(work / "model.onnx"))
    describe(work, kind, 448, WD)
    return work


def _spread(graph: onnx.GraphProto) -> None:
    """Give the last layer a bias, so that a few tags in a hundred pass a threshold."""
    name = _layers(graph)[-1][2]
    for tensor in graph.initializer:
        if tensor.name == name:
            bias = np.full(N_TAGS, -2.5, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(bias, name))


def _as_wd(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network behind what WD's files do first, and with the embedding beside."""
    graph = model.graph
    half = numpy_helper.from_array(np.array(127.5, np.float32), "half")
    first = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["planes", "half"], ["centred"]),
        helper.make_node("Div", ["centred", "half"], ["input"]),
    ]
    matmul = next(node for node in reversed(graph.node) if node.op_type == "MatMul")
    width = numpy_helper.to_array(_named(graph)[matmul.input[1]]).shape[0]
    last = helper.make_node("Identity", [matmul.input[0]], ["embedding"])
    port = helper.make_tensor_value_info("image", TensorProto.FLOAT, ("batch", 448, 448, 3))
    beside = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ("batch", width))
    made = helper.make_graph(
        [*first, *graph.node, last], "wd", [port], [*graph.output, beside],
        [*graph.initializer, half],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)


def _named(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer}


def _layers(graph: onnx.GraphProto) -> list[tuple[str, str, str]]:
    """Return kind, weight and bias of every layer with weights, in the order they run."""
    weights = _named(graph)
    found: list[tuple[str, str, str]] = []
    for node in graph.node:
        own = [name for name in node.input if name in weights]
        if node.op_type in ("Conv", "LayerNormalization"):
            found.append((node.op_type, own[0], own[1]))
        elif node.op_type == "MatMul" and own:
            found.append((node.op_type, own[0], ""))
        elif node.op_type == "Add" and own and found[-1][2] == "":
            found[-1] = (*found[-1][:2], own[0])
    return found


def _timm_state(
    kind: str, layers: Sequence[tuple[str, str, str]], graph: onnx.GraphProto
) -> dict[str, np.ndarray]:
    values = {name: numpy_helper.to_array(tensor) for name, tensor in _named(graph).items()}
    state: dict[str, np.ndarray] = {}
    parts = iter(layers)

    def take(name: str) -> None:
        of, weight, bias = next(parts)
        own = values[weight].T if of == "MatMul" else values[weight]
        state[f"{name}.weight"], state[f"{name}.bias"] = own, values[bias]

    def take_joined(name: str, n_parts: int) -> None:
        own = [next(parts) for _ in range(n_parts)]
        state[f"{name}.weight"] = np.concatenate([values[weight].T for _, weight, _ in own])
        state[f"{name}.bias"] = np.concatenate([values[bias] for _, _, bias in own])

    if kind == "vit":
        take("patch_embed.proj")
        position = next(own for own in values.values() if own.ndim == 2 and own.shape[0] == 784)
        state["pos_embed"] = position[None]
        for i in range(12):
            take(f"blocks.{i}.norm1")
            take_joined(f"blocks.{i}.attn.qkv", 3)
            for name in ("attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
                take(f"blocks.{i}.{name}")
        for name in ("fc_norm", "head"):
            take(name)
    else:
        for stage, depth in enumerate((3, 3, 27, 3)):
            before = f"stages.{stage}.downsample"
            for name in ("stem.0", "stem.1") if stage == 0 else (f"{before}.0", f"{before}.1"):
                take(name)
            for i in range(depth):
                block = f"stages.{stage}.blocks.{i}"
                for name in ("conv_dw", "norm", "mlp.fc1", "mlp.fc2"):
                    take(f"{block}.{name}")
                state[f"{block}.gamma"] = np.ones(128 << stage, np.float32)
        for name in ("head.norm", "head.fc"):
            take(name)
    return state


def measure_peers(
    kinds: Sequence[str],
    images: Path,
    ours: Sequence[ScoreSettings],
    *,
    python: Path,
    rounds: int,
    threads: int,
    batch: int,
) -> list[dict[str, Any]]:
    """Return a row for each network and party: medians over rounds in which all take turns."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            work = write_network(kind, Path(folder) / kind)
            runs: dict[str, list[dict[str, Any]]] = {}
            for number in range(rounds):
                for peer in PEERS:
                    command = [python, DRIVER, peer, work, images, "--batch", batch]
                    said = f"{kind}, round {number + 1} of {rounds}: {peer}"
                    runs.setdefault(peer, []).append(_peer(list(map(str, command)), said))
                for settings in ours:
                    name = f"tagstack {settings.backend} {settings.precision}"
                    print(f"{kind}, round {number + 1} of {rounds}: {name}", file=sys.stderr)
                    runs.setdefault(name, []).append(_own(work, images, settings, threads))
            rows += [_row(kind, party, own, runs) for party, own in runs.items()]
    return rows


def _peer(command: list[str], said: str) -> dict[str, Any]:
    print(said, file=sys.stderr)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _own(work: Path, images: Path, settings: ScoreSettings, threads: int) -> dict[str, Any]:
    taggers = load_taggers([str(work)], settings, threads=threads)
    sources = find_images([images], extensions=settings.extensions)
    # The first pictures also find out whether batches are exact; that is not speed.
    for tagger in taggers:
        shape = (CALL_IMAGES, tagger.framing.height, tagger.framing.width, 3)
        pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        tagger.session.run(input_tensor(pixels, tagger.contract.input))
    with tempfile.TemporaryDirectory() as store:
        began, cpu = time.perf_counter(), time.process_time()
        with ScoreWriter(Path(store), Members.of(taggers)) as sink:
            score_images(sources, taggers, sink, settings, threads=threads)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        tags = _decided(ScoreStore(Path(store)))
    for tagger in taggers:
        tagger.close()
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "tags": tags}


def _decided(store: ScoreStore) -> list[dict[str, float]]:
    scores = store.load()
    counts = dict(CATEGORIES)
    limits = np.repeat([2.0, GENERAL, CHARACTER], [counts["9"], counts["0"], counts["4"]])
    place = {tag: int(tag[1:]) for tag in scores.vocabulary.tags}
    found = []
    for i in range(scores.n_images):
        own = slice(scores.pairs.indptr[i], scores.pairs.indptr[i + 1])
        proba = 1 / (1 + np.exp(-scores.logit[0, own].astype(np.float64)))
        names = [scores.vocabulary.tags[tag] for tag in scores.pairs.tag[own]]
        pairs = zip(names, proba, strict=True)
        found.append({tag: float(p) for tag, p in pairs if p >= limits[place[tag]]})
    return found


def _row(
    kind: str, party: str, own: list[dict[str, Any]], runs: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    n_images = len(own[0]["tags"])

    def rate(run: dict[str, Any]) -> float:
        return n_images / float(run["seconds"])

    ratios = {
        f"times_{peer}": statistics.median(
            rate(run) / rate(other) for run, other in zip(own, runs[peer], strict=True)
        )
        for peer in PEERS
    }
    reference = [set(tags) for tags in runs["imgutils"][0]["tags"]]
    mine = [set(tags) for tags in own[0]["tags"]]
    flips = sum(len(a ^ b) for a, b in zip(mine, reference, strict=True))
    return {
        "network": kind,
        "party": party,
        "images_per_s": statistics.median(map(rate, own)),
        "cpu_s_per_image": statistics.median(run["cpu_seconds"] for run in own) / n_images,
        **ratios,
        "tags_an_image": sum(map(len, mine)) / n_images,
        "flips_share": flips / max(1, sum(map(len, reference))),
    }
