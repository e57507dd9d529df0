"""From a trained network to a tagger's folder: ONNX model, tag file, contract, own weights."""

import base64
import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tagstack.base_models.atomic import write_text, written_whole
from tagstack.base_models.contract import (
    CONTRACT_FILE,
    Contract,
    Input,
    contract_from_toml,
    contract_toml,
)
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.base_models.training.onnx_export import OUTPUTS, Outputs, export_onnx
from tagstack.base_models.training.starts import WEIGHTS_FILE
from tagstack.base_models.training.steps import network_proba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError

# Probabilities of the ONNX file may differ from torch's by this much; a wrong export differs by
# tenths, rounding by millionths.
TOLERANCE = 1e-3
_FLOOR = 1e-4  # only for loading: nothing is stored here


@dataclass(frozen=True, kw_only=True)
class Published:
    """What stands in the files beside the network.

    Parameters
    ----------
    vocabulary : Vocabulary
    thresholds : array of shape (n_tags,), float32, in [0, 1]
        NaN where left-out images have no positive to choose one by.
    default_threshold : float
        For those.
    counts : array of shape (n_tags,), int64
        Positives among the training images.
    contents : sequence of str
        SHA-256 of each training image, in hexadecimal.
    """

    vocabulary: Vocabulary
    thresholds: NDArray[np.float32]
    default_threshold: float
    counts: NDArray[np.int64]
    contents: Sequence[str]


def export_tagger(
    folder: Path,
    contract: Contract,
    network: nn.Module,
    published: Published,
    proof: NDArray[np.uint8],
) -> float:
    """Write a tagger's folder; return by how much its probabilities differ from torch's at most.

    Parameters
    ----------
    folder : Path
    contract : Contract
    network : torch.nn.Module
        On the processor.
    published : Published
    proof : array of shape (n_images, height, width, 3), uint8
        Pictures that both are run on.

    Raises
    ------
    TagstackError
        If the file disagrees with the network.
    """
    from safetensors.torch import save_file

    network = network.to(memory_format=torch.contiguous_format).eval()
    height, width = contract.input.height_width
    with written_whole(folder / contract.files.model) as temporary:
        export_onnx(temporary, Outputs(network), OUTPUTS, (2, 3, height, width))
    with written_whole(folder / WEIGHTS_FILE) as temporary:
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, temporary)
    write_text(folder / contract.files.tags, _tag_file(published))
    write_text(folder / CONTRACT_FILE, contract_toml(contract))
    tagger = load_tagger(folder, floor=_FLOOR, threads=1)
    try:
        found = 1 / (1 + np.exp(-tagger.logits(proof)))
    finally:
        tagger.close()
    worst = float(np.abs(found - network_proba(network, contract.input, proof)).max())
    if not worst <= TOLERANCE:
        msg = (
            f"{folder / contract.files.model}: probabilities differ by up to {worst:.2g} from "
            f"those of the network, expected at most {TOLERANCE:g}. This architecture is not "
            "exported rightly; choose another."
        )
        raise TagstackError(msg)
    return worst


def trained_contract(name: str, source: str, image: Input, published: Published) -> Contract:
    """Return the contract of a tagger trained here, with what its pictures went through."""
    values: dict[str, object] = {
        "name": name,
        "source": source,
        "licence": "yours: trained on your pictures",
        "input": image.model_dump(mode="json", exclude_unset=True),
        "output": {"name": "logits", "kind": "logits", "features": "embedding"},
        "tags": {"format": "selected_tags_csv", "categories": {}},
        "threshold": {"default": published.default_threshold},
        "training": {
            "ids": f"{len(published.contents)} images, known by their content",
            "contents": contents_text(published.contents),
        },
    }
    return contract_from_toml(values, origin=name)


def contents_text(contents: Sequence[str]) -> str:
    """Return the first eight bytes of each SHA-256, sorted, as base64."""
    numbers = sorted(bytes.fromhex(content)[:8] for content in set(contents))
    return base64.b64encode(b"".join(numbers)).decode("ascii")


def digest_of(*parts: object) -> str:
    """Return the SHA-256 in hexadecimal over what decides a training."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _tag_file(published: Published) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("id", "name", "category", "count", "best_threshold"))
    rows = zip(
        published.vocabulary.tags,
        published.vocabulary.categories,
        published.counts.tolist(),
        published.thresholds.tolist(),
        strict=True,
    )
    for number, (tag, category, count, threshold) in enumerate(rows):
        own = "" if np.isnan(threshold) else f"{threshold:.3f}"
        writer.writerow((number, tag, category, count, own))
    return stream.getvalue()
