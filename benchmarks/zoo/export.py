"""From a trained network to a tagger's folder: ONNX model, tag file, contract.

Needs the extra ``train``; nothing but the training script imports this module.
"""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from recipes import FOLDER, Recipe
from torch import Tensor, nn

from tagstack.base_models.atomic import write_text, written_whole
from tagstack.base_models.contract import CONTRACT_FILE, Contract
from tagstack.base_models.training.onnx_export import export_onnx

CATEGORY_CODES = {"general": "0", "rating": "9"}


class WdLike(nn.Module):  # type: ignore[misc]
    """Takes NHWC pixels of 0-255 and returns probabilities."""

    outputs = ("predictions_sigmoid",)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Return probabilities of shape (n_images, n_tags)."""
        return self.network(pixels.permute(0, 3, 1, 2) / 127.5 - 1).sigmoid()


class CamieLike(nn.Module):  # type: ignore[misc]
    """Takes normalised NCHW pixels and returns logits."""

    outputs = ("logits",)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of shape (n_images, n_tags)."""
        return self.network(pixels)


class PixaiLike(nn.Module):  # type: ignore[misc]
    """Takes normalised NCHW pixels and returns the embedding, logits and probabilities."""

    outputs = ("embedding", "logits", "prediction")

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three outputs, the first of shape (n_images, width)."""
        embedding = self.network.embed(pixels)
        logits = self.network.head(embedding)
        return embedding, logits, logits.sigmoid()


WRAPPERS: dict[str, type[WdLike] | type[CamieLike] | type[PixaiLike]] = {
    "resnet": WdLike,
    "convnext": CamieLike,
    "vit": PixaiLike,
}


def export_tagger(
    folder: Path,
    recipe: Recipe,
    contract: Contract,
    network: nn.Module,
    thresholds: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> None:
    """Write a tagger's folder.

    Parameters
    ----------
    folder : Path
    recipe : Recipe
    contract : Contract
    network : torch.nn.Module
        Trained, in evaluation mode.
    thresholds : array of shape (n_tags,), float32, in [0, 1]
        Best threshold of each tag; written where the tag file has a column for it.
    counts : array of shape (n_tags,), int64
        Positives among the training images.
    """
    with written_whole(folder / contract.files.model) as temporary:
        _export_model(temporary, recipe, contract, network)
    writers = {"resnet": _wd_csv, "convnext": _camie_json, "vit": _animetimm_csv}
    text = writers[recipe.architecture](recipe, thresholds, counts)
    write_text(folder / contract.files.tags, text)
    own = FOLDER / recipe.name / CONTRACT_FILE
    if own.resolve() != (folder / CONTRACT_FILE).resolve():
        shutil.copyfile(own, folder / CONTRACT_FILE)


def _export_model(path: Path, recipe: Recipe, contract: Contract, network: nn.Module) -> None:
    wrapped = WRAPPERS[recipe.architecture](network.to(memory_format=torch.contiguous_format))
    height, width = contract.input.height_width
    shape = (2, height, width, 3) if contract.input.layout == "NHWC" else (2, 3, height, width)
    export_onnx(path, wrapped, wrapped.outputs, shape)


def _rows(recipe: Recipe) -> list[tuple[int, str, str]]:
    codes = [CATEGORY_CODES[name] for name in recipe.vocabulary.categories]
    numbered = enumerate(zip(recipe.published_tags, codes, strict=True))
    return [(number, tag, code) for number, (tag, code) in numbered]


def _csv(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def _wd_csv(recipe: Recipe, thresholds: NDArray[np.float32], counts: NDArray[np.int64]) -> str:
    rows = [
        (n, tag, code, count) for (n, tag, code), count in zip(_rows(recipe), counts, strict=True)
    ]
    return _csv(("tag_id", "name", "category", "count"), list(rows))


def _animetimm_csv(
    recipe: Recipe, thresholds: NDArray[np.float32], counts: NDArray[np.int64]
) -> str:
    values = zip(_rows(recipe), counts, thresholds, strict=True)
    rows = [(*row, count, f"{threshold:.3f}") for row, count, threshold in values]
    return _csv(("id", "name", "category", "count", "best_threshold"), list(rows))


def _camie_json(recipe: Recipe, thresholds: NDArray[np.float32], counts: NDArray[np.int64]) -> str:
    pairs = list(zip(recipe.published_tags, recipe.vocabulary.categories, strict=True))
    mapping = {
        "idx_to_tag": {str(i): tag for i, (tag, _) in enumerate(pairs)},
        "tag_to_category": dict(pairs),
    }
    content = {"dataset_info": {"total_tags": len(pairs), "tag_mapping": mapping}}
    return json.dumps(content, indent=1) + "\n"
