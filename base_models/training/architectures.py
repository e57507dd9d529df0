"""Networks by name or from files: built in, of timm, or of a tagger that was trained here.

Weights are read from safetensors alone. A pickle (``.bin``, ``.pt``, ``.pth``, ``.ckpt``) can run
code when it is loaded, and is refused by name.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tagstack.base_models.contract import Channels
from tagstack.base_models.training.libraries import timm_library
from tagstack.base_models.training.networks import BUILT_IN
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_json

WEIGHTS_FILE = "weights.safetensors"
RECORD_FILE = "training.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_RARE = -2.0  # most tags are rare: starting there saves the first hundred steps
_HALF: Channels = (0.5, 0.5, 0.5)
_DEFAULT_SIZE = 96


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a training starts from.

    Parameters
    ----------
    architecture : str
        ``"resnet"``, ``"convnext"``, ``"vit"``, or a name of timm.
    weights : Path, optional
        Safetensors; random weights without.
    size : int, optional
        Side of the pictures that the weights were trained on.
    tags : tuple of str
        Tags of the weights' own head, whose rows are taken over; none for others' weights.
    """

    architecture: str
    weights: Path | None = None
    size: int | None = None
    tags: tuple[str, ...] = ()


class TimmNetwork(nn.Module):  # type: ignore[misc]
    """A network of timm as body, features in front of one linear layer of our own."""

    def __init__(self, name: str, n_tags: int, size: int) -> None:
        super().__init__()
        self.body = _timm_body(name, size)
        with torch.no_grad():
            width = self.body(torch.zeros(1, 3, size, size)).shape[1]
        self.head = nn.Linear(width, n_tags)

    def embed(self, images: Tensor) -> Tensor:
        """Return the pooled features, shape (n_images, width)."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (n_images, n_tags) for images of shape (n_images, 3, h, w)."""
        return self.head(self.embed(images))


def start_from(given: str) -> Start:
    """Return what ``--from`` names: an architecture, a tagger's folder, or weights on disk.

    A folder of timm has ``config.json`` with ``architecture``, and ``model.safetensors``.

    Raises
    ------
    TagstackError
        If it is a pickle, or a folder without what is needed.
    """
    path = Path(given)
    if path.suffix.lower() in _PICKLES:
        msg = (
            f"{path}: weights in a pickle can run code when they are loaded; expected a folder "
            "with model.safetensors and config.json, or a tagger of `tagstack train`. Convert them "
            "with the package safetensors, on a machine where that may happen."
        )
        raise TagstackError(msg)
    if path.is_dir():
        return _of_folder(path)
    if path.suffix or len(path.parts) > 1:
        if path.suffix == ".safetensors" and path.is_file():
            return _of_folder(path.parent, path)
        if path.suffix == ".safetensors" or len(path.parts) > 1:
            raise TagstackError(f"No such folder or weights: {path}. Expected safetensors.")
    return Start(architecture=given)


def _of_folder(folder: Path, weights: Path | None = None) -> Start:
    if (folder / RECORD_FILE).is_file() and (folder / WEIGHTS_FILE).is_file():
        record = _object(folder / RECORD_FILE)
        tags, size = record.get("tags"), record.get("size")
        named = isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)
        if not named or not isinstance(size, int) or not isinstance(record.get("from"), str):
            msg = f"{folder / RECORD_FILE}: expected 'from', 'size' and 'tags' as train wrote them."
            raise TagstackError(msg)
        return Start(
            architecture=str(record["architecture"]),
            weights=folder / WEIGHTS_FILE,
            size=size,
            tags=tuple(tags or ()),
        )
    weights = weights or folder / "model.safetensors"
    if not (folder / "config.json").is_file() or not weights.is_file():
        others = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _PICKLES)
        more = f" Pickles ({', '.join(others[:3])}) are not loaded." if others else ""
        msg = (
            f"{folder} is no checkpoint: expected config.json with 'architecture' and "
            f"model.safetensors, or {RECORD_FILE} and {WEIGHTS_FILE} of `tagstack train`.{more}"
        )
        raise TagstackError(msg)
    name = _object(folder / "config.json").get("architecture")
    if not isinstance(name, str):
        raise TagstackError(f"{folder / 'config.json'}: 'architecture' must name one of timm's.")
    return Start(architecture=name, weights=weights)


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path, limit=2**28)
    return content if isinstance(content, dict) else {}


def network_of(start: Start, tags: Sequence[str], size: int, seed: int) -> nn.Module:
    """Return a network for these tags, with the weights that it starts from.

    Rows of the head for tags that the start knows are taken over; the rest of the head is new.

    Raises
    ------
    TagstackError
        If nothing has that name, or the weights do not fit it.
    """
    torch.manual_seed(seed)
    if start.architecture in BUILT_IN:
        own = {"size": size} if start.architecture == "vit" else {}
        network = BUILT_IN[start.architecture](len(tags), **own)
    else:
        network = TimmNetwork(start.architecture, len(tags), size)
    nn.init.constant_(network.head.bias, _RARE)
    if start.weights is not None:
        _load(network, start, tags)
    return network.to(memory_format=torch.channels_last)


def colours_of(start: Start) -> tuple[Channels, Channels]:
    """Return mean and standard deviation of the channels that a network expects, on 0-1."""
    if start.architecture in BUILT_IN:
        return _HALF, _HALF
    config = timm_library().get_pretrained_cfg(start.architecture, allow_unregistered=True)
    mean, std = (getattr(config, key, None) or _HALF for key in ("mean", "std"))
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def size_of(start: Start, asked: int) -> int:
    """Return the side of the pictures in pixels: as asked, else what the start was trained on."""
    if asked or start.size:
        return asked or int(start.size or 0)
    if start.architecture in BUILT_IN:
        return _DEFAULT_SIZE
    config = timm_library().get_pretrained_cfg(start.architecture, allow_unregistered=True)
    return int((getattr(config, "input_size", None) or (3, 224, 224))[-1])


def _timm_body(name: str, size: int) -> nn.Module:
    timm = timm_library()
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:3]
        msg = (
            f"No architecture {name!r}: expected {', '.join(BUILT_IN)}, a name of timm"
            f"{f' such as {close}' if close else ''}, or a folder."
        )
        raise TagstackError(msg)
    try:
        body = timm.create_model(name, pretrained=False, num_classes=0, img_size=size)
    except TypeError:  # convolutional networks take any size and no such word
        body = timm.create_model(name, pretrained=False, num_classes=0)
    return body


def _load(network: nn.Module, start: Start, tags: Sequence[str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    assert start.weights is not None
    try:
        given = load_file(start.weights)
    except (SafetensorError, OSError, ValueError) as error:
        msg = f"{start.weights}: no safetensors that can be read: {error}. Fetch it again."
        raise TagstackError(msg) from error
    own = network.state_dict()
    if start.tags:
        _take_head(own, given, start, tags)
    prefix = "" if start.tags or start.architecture in BUILT_IN else "body."
    body = {prefix + name: value for name, value in given.items()}
    wanted = {name for name in own if not name.startswith("head.")}
    fitting = {
        name: value
        for name, value in body.items()
        if name in wanted and value.shape == own[name].shape
    }
    lacking = sorted(wanted - set(fitting))
    if len(lacking) > len(wanted) // 10:
        msg = (
            f"{start.weights} does not fit {start.architecture}: {len(lacking)} of {len(wanted)} "
            f"tensors are missing or of another shape, such as {lacking[0]}. Give the architecture "
            "that the weights belong to, and the size they were trained on."
        )
        raise TagstackError(msg)
    network.load_state_dict({**own, **fitting})


def _take_head(
    own: dict[str, Tensor], given: dict[str, Tensor], start: Start, tags: Sequence[str]
) -> None:
    weight, bias = given.get("head.weight"), given.get("head.bias")
    here = {tag: i for i, tag in enumerate(tags)}
    if weight is None or bias is None or weight.shape[1] != own["head.weight"].shape[1]:
        return
    pairs = [(here[tag], i) for i, tag in enumerate(start.tags) if tag in here]
    for mine, theirs in pairs:
        if theirs < len(weight):
            own["head.weight"][mine] = weight[theirs]
            own["head.bias"][mine] = bias[theirs]


def n_parameters(network: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(part.numel() for part in network.parameters())


def record_text(record: dict[str, object]) -> str:
    """Return the record of a training as JSON text."""
    return json.dumps(record, indent=1) + "\n"
