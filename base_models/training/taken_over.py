"""Weights on disk taken over into a network, which may see pictures of another size.

Transformers learn a vector for each place of a picture. At another size there are other places:
those vectors are interpolated between the old ones, as timm does, never left as random draws.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagstack.base_models.training.networks import BUILT_IN
from tagstack.base_models.training.starts import Start
from tagstack.configs.errors import TagstackError

_BODY, _HEAD = "body.", "head."
_POSITION = "position"  # of the built-in transformer
_REFUSALS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What timm's filters raise at weights of another network."""


def take_over(network: nn.Module, start: Start, tags: Sequence[str], size: int) -> tuple[str, ...]:
    """Load the weights that a network starts from; return the names of those that were resampled.

    Rows of the head for tags that the start knows are taken over; the rest of the head stays.

    Parameters
    ----------
    network : torch.nn.Module
        With ``head``; a network of timm is its ``body``. Changed in place.
    start : Start
        With weights.
    tags : sequence of str
        Of the network's head.
    size : int
        Side of its pictures in pixels.

    Raises
    ------
    TagstackError
        If the file cannot be read, or a tensor of the body is missing or of another shape.
    """
    given, own = _read(start), network.state_dict()
    if start.tags:
        _take_head(own, given, start, tags)
    is_timm = start.architecture not in BUILT_IN
    prefix = _BODY if is_timm else ""
    at = prefix if start.tags else ""  # in the file
    body = {name.removeprefix(at): v for name, v in given.items() if name.startswith(at)}
    wanted = {
        name.removeprefix(prefix): value
        for name, value in own.items()
        if not name.startswith(_HEAD) and value.is_floating_point()
    }
    fitted: Mapping[str, Tensor] = body
    if _lacking(wanted, body):
        fitted = _resampled(network.body, body) if is_timm else _interpolated(wanted, body)
    if lacking := _lacking(wanted, fitted):
        trained = f"train.size = {start.size}" if start.size else "the size they were trained on"
        msg = (
            f"{start.weights} does not fit {start.architecture} for pictures of {size} px: "
            f"{len(lacking)} of {len(wanted)} tensors are missing or of another shape, such as "
            f"{lacking[0]}. Give the architecture that the weights belong to, and {trained}."
        )
        raise TagstackError(msg)
    for name, value in own.items():
        found = fitted.get(name.removeprefix(prefix))
        if not name.startswith(_HEAD) and found is not None and found.shape == value.shape:
            own[name] = found
    network.load_state_dict(own)
    return tuple(
        name for name, value in wanted.items() if name in body and body[name].shape != value.shape
    )


def _read(start: Start) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    assert start.weights is not None
    try:
        return dict(load_file(start.weights))
    except (SafetensorError, OSError, ValueError) as error:
        msg = f"{start.weights}: no safetensors that can be read: {error}. Fetch it again."
        raise TagstackError(msg) from error


def _lacking(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    return sorted(n for n, v in wanted.items() if n not in found or found[n].shape != v.shape)


def _resampled(body: nn.Module, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights as timm fits them to a network of another size, where it can.

    What does that stands beside the network's class, under the same name in all of timm.
    """
    change: Any = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    if change is None:
        return given
    try:
        with torch.no_grad():
            return dict(change(dict(given), body))
    except _REFUSALS:
        return given  # of another network: which tensors do not fit is said by the caller


def _interpolated(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Return weights of the built-in transformer with its places at another size."""
    if _POSITION not in wanted or _POSITION not in given:
        return given
    position, side = given[_POSITION], round(wanted[_POSITION].shape[1] ** 0.5)
    if position.ndim != 3 or round(position.shape[1] ** 0.5) ** 2 != position.shape[1]:
        return given
    grid = position.transpose(1, 2).unflatten(2, (round(position.shape[1] ** 0.5), -1))
    found = functional.interpolate(grid, (side, side), mode="bicubic", antialias=True)
    return {**given, _POSITION: found.flatten(2).transpose(1, 2)}


def _take_head(
    own: dict[str, Tensor], given: Mapping[str, Tensor], start: Start, tags: Sequence[str]
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
