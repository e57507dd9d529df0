"""One step of training, and what a network says of pictures: all trainers share these."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tagstack.base_models.contract import Input
from tagstack.base_models.pictures.preprocess import input_tensor
from tagstack.base_models.runtimes.bf16 import bf16_units

_JUDGED_TOGETHER = 64
_LARGEST_GRADIENT = 1.0


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return matrices, which decay, and all other parameters, which do not."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def stepped(
    network: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor, rate: float
) -> float:
    """Take a step against a loss at a learning rate; return the loss."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
    optimiser.step()
    return float(loss.item())


@torch.no_grad()  # type: ignore[untyped-decorator]
def average_in(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move averaged weights towards the network's; ``decay`` of the average is kept."""
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)


def network_input(pixels: NDArray[np.uint8], contract: Input) -> Tensor:
    """Return what the network itself sees: NCHW, and 0-255 already scaled to -1..1.

    An exported 0-255 model holds that scaling in its graph.
    """
    values = torch.from_numpy(input_tensor(pixels, contract))
    if contract.layout == "NHWC":
        values = values.permute(0, 3, 1, 2)
    values = values / 127.5 - 1 if contract.range == "0-255" else values
    return values.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()  # type: ignore[untyped-decorator]
def network_outputs(
    network: nn.Module,
    contract: Input,
    pixels: NDArray[np.uint8],
    images: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return probabilities, shape (n_images, n_tags), and features, shape (n_images, width).

    Parameters
    ----------
    network : torch.nn.Module
        On the processor.
    contract : Input
    pixels : array of shape (n_pictures, height, width, 3), uint8
    images : array of shape (n_images,), int64, optional
        Pictures that are meant; all by default. Few at a time are in memory.
    """
    chosen = np.arange(len(pixels)) if images is None else images
    proba, features = [], []
    for start in range(0, len(chosen), _JUDGED_TOGETHER):
        batch = np.ascontiguousarray(pixels[chosen[start : start + _JUDGED_TOGETHER]])
        embedding = network.embed(network_input(batch, contract))
        proba.append(network.head(embedding).sigmoid().numpy())
        features.append(embedding.numpy())
    return np.concatenate(proba).astype(np.float32), np.concatenate(features).astype(np.float32)


def network_proba(
    network: nn.Module,
    contract: Input,
    pixels: NDArray[np.uint8],
    images: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Return the network's probabilities, shape (n_images, n_tags), float32, as above."""
    proba: NDArray[np.float32] = network_outputs(network, contract, pixels, images)[0]
    return proba


def mixed(device: str, *, wanted: bool = True) -> Any:
    """Return the context of mixed precision: bfloat16 if wanted, and where the device has it.

    A processor without such units computes it too, at a tenth of its speed.
    """
    has = torch.cuda.is_bf16_supported() if device.startswith("cuda") else bool(bf16_units())
    return torch.autocast(device.split(":")[0], torch.bfloat16, enabled=wanted and has)


def chosen_device() -> str:
    """Return CUDA where there is a device, else the processor."""
    return "cuda" if torch.cuda.is_available() else "cpu"
