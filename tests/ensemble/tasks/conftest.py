"""What tests of trainings share."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest


def exported_quickly(
    path: Path, network: Any, outputs: Sequence[str], shape: tuple[int, ...]
) -> None:
    """Write ONNX by torch's old exporter, which takes a fiftieth of the time of the new one."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(shape),),
            str(path),
            input_names=["input"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in ("input", *outputs)},
            dynamo=False,
        )


@pytest.fixture(scope="module")
def quick_export() -> Iterator[None]:
    pytest.importorskip("torch", reason="torch is only in the extra `train`")
    pytest.importorskip("onnxscript", reason="onnxscript is only in the extra `train`")
    from tagstack.base_models.training import export

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "export_onnx", exported_quickly)
        yield
