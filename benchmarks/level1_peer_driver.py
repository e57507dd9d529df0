"""Runs dghs-imgutils or wdtagger over a folder, for level1_peers.py; needs no tagstack.

    PEERS_PYTHON level1_peer_driver.py imgutils|wdtagger WORK IMAGES --batch 8

Both libraries download their networks. Here their loaders are given local files instead, and
nothing else of them is changed:

- imgutils: ``hf_hub_download`` in ``imgutils.tagging.wd14`` returns WORK/model.onnx and
  WORK/selected_tags.csv; the session, its options and its threads are imgutils' own.
- wdtagger: ``timm.create_model`` makes the architecture in WORK/peer.json and
  ``load_state_dict_from_hf`` returns the same weights from WORK/state.npz; the labels are its own.

One line of JSON comes out: wall and CPU seconds of the pictures alone, and each one's tags.
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

GENERAL, CHARACTER = 0.35, 0.85
KEPT: list[Any] = []


def imgutils_tags(work: Path, paths: list[Path], batch: int) -> dict[str, Any]:
    """Tag pictures one at a time, which is all that imgutils offers."""
    import_torchvision()  # which imgutils imports where it is installed
    from imgutils.tagging import wd14

    local = {"model.onnx": work / "model.onnx", "selected_tags.csv": work / "selected_tags.csv"}
    wd14.hf_hub_download = lambda *names, **named: str(
        local[Path(named.get("filename") or names[1]).name]
    )
    wd14.get_wd14_tags(paths[0], "ViT_v3")
    began, cpu = time.perf_counter(), time.process_time()
    found = []
    for path in paths:
        _, general, character = wd14.get_wd14_tags(
            path, "ViT_v3", general_threshold=GENERAL, character_threshold=CHARACTER
        )
        found.append({**general, **character})
    return finished(began, cpu, found)


def wdtagger_tags(work: Path, paths: list[Path], batch: int) -> dict[str, Any]:
    """Tag pictures in batches, as wdtagger's readme does."""
    import_torchvision()
    import timm
    import torch
    import wdtagger

    peer = json.loads((work / "peer.json").read_text())
    create = timm.create_model
    wdtagger.timm.create_model = lambda _: create(peer["architecture"], **peer["options"])
    state = {name: torch.from_numpy(own) for name, own in np.load(work / "state.npz").items()}
    wdtagger.timm.models.load_state_dict_from_hf = lambda _: state
    tagger = wdtagger.Tagger("local")
    place = {name: i for i, name in enumerate(tagger.labels.names)}
    tagger.tag([str(paths[0])])
    began, cpu = time.perf_counter(), time.process_time()
    found = []
    for i in range(0, len(paths), batch):
        for result in tagger.tag([str(path) for path in paths[i : i + batch]], GENERAL, CHARACTER):
            tags = {**result.general_tag_data, **result.character_tag_data}
            found.append({f"t{place[tag]}": value for tag, value in tags.items()})
    return finished(began, cpu, found)


def import_torchvision() -> None:
    """Import torchvision, also where its compiled operators do not fit this torch.

    wdtagger needs only its transforms, which are plain Python.
    """
    try:
        import torch
    except ImportError:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        KEPT.append(torch.library.Library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            KEPT[-1].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")


def finished(began: float, cpu: float, found: list[dict[str, float]]) -> dict[str, Any]:
    """Return what is printed."""
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "tags": found,
    }


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=["imgutils", "wdtagger"])
    parser.add_argument("work", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    tags = {"imgutils": imgutils_tags, "wdtagger": wdtagger_tags}[options.peer]
    print(json.dumps(tags(options.work, sorted(options.images.glob("*.jpg")), options.batch)))


if __name__ == "__main__":
    main()
