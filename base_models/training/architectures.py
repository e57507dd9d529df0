"""Networks by name, built in or of timm, with the weights that a training starts from."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tagstack.base_models.contract import Channels
from tagstack.base_models.training.libraries import timm_library
from tagstack.base_models.training.networks import BUILT_IN
from tagstack.base_models.training.starts import Start
from tagstack.base_models.training.taken_over import take_over
from tagstack.configs.errors import TagstackError

_RARE = -2.0  # most tags are rare: starting there saves the first hundred steps
_HALF: Channels = (0.5, 0.5, 0.5)
_DEFAULT_SIZE = 96


class TimmNetwork(nn.Module):  # type: ignore[misc]
    """A network of timm as body, features in front of one linear layer of our own."""

    def __init__(self, name: str, n_tags: int, size: int, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.body = _timm_body(name, size, arguments)
        with torch.no_grad():  # one picture has no statistics for a normalisation to learn
            width = self.body.eval()(torch.zeros(1, 3, size, size)).shape[1]
        self.body.train()
        self.head = nn.Linear(width, n_tags)

    def embed(self, images: Tensor) -> Tensor:
        """Return the pooled features, shape (n_images, width)."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (n_images, n_tags) for images of shape (n_images, 3, h, w)."""
        return self.head(self.embed(images))


def network_of(
    start: Start,
    tags: Sequence[str],
    size: int,
    seed: int,
    told: Callable[[str], None] | None = None,
) -> nn.Module:
    """Return a network for these tags, with the weights that it starts from.

    Rows of the head for tags that the start knows are taken over; the rest of the head is new.

    Parameters
    ----------
    start : Start
    tags : sequence of str
    size : int
        Side of the pictures in pixels.
    seed : int
        Of what is drawn.
    told : callable, optional
        Is told what was resampled for pictures of another size.

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
        network = TimmNetwork(start.architecture, len(tags), size, start.arguments)
    nn.init.constant_(network.head.bias, _RARE)
    resampled = () if start.weights is None else take_over(network, start, tags, size)
    if resampled and told is not None:
        of = f"{start.size} px" if start.size else "another size"
        told(f"weights for pictures of {of}, resampled for {size} px: {', '.join(resampled)}")
    return network.to(memory_format=torch.channels_last)


def colours_of(start: Start) -> tuple[Channels, Channels]:
    """Return mean and standard deviation of the channels that a network expects, on 0-1."""
    if start.colours is not None:
        return start.colours
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


def _timm_body(name: str, size: int, arguments: Mapping[str, Any]) -> nn.Module:
    timm = timm_library()
    if not timm.is_model(name):
        close = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:3]
        msg = (
            f"No architecture {name!r}: expected {', '.join(BUILT_IN)}, a name of timm"
            f"{f' such as {close}' if close else ''}, or a folder."
        )
        raise TagstackError(msg)
    own: dict[str, Any] = {**arguments, "pretrained": False, "num_classes": 0}
    try:
        try:
            return timm.create_model(name, img_size=size, **own)
        except TypeError:  # convolutional networks take any size and no such word
            return timm.create_model(name, **own)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        msg = (
            f"timm cannot build {name!r} for pictures of {size} px: {reason}. "
            "Change train.size, or correct model_args in the config.json of the weights."
        )
        raise TagstackError(msg) from error


def n_parameters(network: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(part.numel() for part in network.parameters())


def record_text(record: dict[str, object]) -> str:
    """Return the record of a training as JSON text."""
    return json.dumps(record, indent=1) + "\n"
