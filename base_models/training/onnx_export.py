"""A network of torch as an ONNX file."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

OPSET = 18
OUTPUTS = ("embedding", "logits")


class Outputs(nn.Module):  # type: ignore[misc]
    """Takes normalised NCHW pixels and returns features and logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, shape (n_images, width), and logits, shape (n_images, n_tags)."""
        embedding = self.network.embed(pixels)
        return embedding, self.network.head(embedding)


def export_onnx(
    path: Path, network: nn.Module, outputs: Sequence[str], shape: tuple[int, ...]
) -> None:
    """Write a network as ONNX, its first dimension free."""
    with warnings.catch_warnings():
        # torch's exporter uses what torch itself calls outdated.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(shape),),
            str(path),
            input_names=["input"],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
