"""The ONNX file that a GPU runs for a tagger: its own, or one derived from it and kept."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from tagstack.base_models.atomic import file_sha256, written_whole
from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.model_io import fixed
from tagstack.base_models.runtimes.tensorrt.dynamic_batch import write_dynamic
from tagstack.base_models.runtimes.tensorrt.half_precision import write_half
from tagstack.base_models.runtimes.tensorrt.onnx_file import check_ports
from tagstack.base_models.runtimes.tensorrt.spec import model_files

MODELS = "models"  # folder of prepared files inside that of engines

# Raise it when a step below makes other files.
_VERSION = 1
_Step = tuple[str, Callable[[Path, Path, Contract], None]]


def prepared_model(
    model: Path, contract: Contract, folder: Path, *, precision: str, max_batch: int
) -> Path:
    """Return the file to run: with a free batch, and in float16 where that is asked for.

    Derived files lie in ``folder`` under the SHA-256 of what they were made from; each was
    compared with its source in ONNX Runtime before it was kept.

    Parameters
    ----------
    model : Path
    contract : Contract
    folder : Path
    precision : str
        ``"fp16"`` converts; all others leave the numbers as they are.
    max_batch : int
        A batch that the file fixes to this stays.

    Raises
    ------
    TagstackError
        If the model contradicts the contract, its batch is fixed inside the network, or float16
        is not enough for it.
    """
    steps: list[_Step] = []
    source = check_ports(model, contract)
    if fixed(source.shape[0]) not in (None, max_batch):
        steps.append(("dynamic", write_dynamic))
    if precision == "fp16":
        steps.append(("fp16", write_half))
    for name, write in steps:
        hashes = [file_sha256(path) for path in model_files(model)]
        text = json.dumps([_VERSION, name, hashes, contract.digest()])
        target = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.onnx"
        if not target.exists():
            _write(model, target, contract, write)
        model = target
    return model


def _write(
    model: Path, target: Path, contract: Contract, write: Callable[[Path, Path, Contract], None]
) -> None:
    with written_whole(target) as temporary:
        write(model, temporary, contract)
