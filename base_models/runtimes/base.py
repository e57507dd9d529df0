"""What every inference backend offers, and nothing about any one of them.

A backend is a session class and a `Runtime` that opens it, named in `configs.hooks.RUNTIMES` and
entered in ``tests/base_models/runtimes/test_sessions.py``, whose tests all must pass. Sessions map
tensors to raw outputs; what the numbers mean is the contract's business.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tagstack.base_models.contract import Contract
    from tagstack.base_models.runtimes.probing import Probe
    from tagstack.configs.level1 import EngineSettings


@dataclass(frozen=True, kw_only=True)
class SessionInfo:
    """What really runs, verified after loading.

    Parameters
    ----------
    backend : str
        Name of the backend, such as ``"ort"`` or ``"tensorrt"``.
    provider : str
        Execution provider in use as the runtime itself reports it.
    precision : str
        ``"fp32"``, ``"tf32"``, ``"fp16"``, ``"bf16"``, ``"int8"``, ``"fp8"`` or ``"int8+bf16"``.
    device : str
        ``"cpu"``, or ``"cuda:0"`` and the GPU's name.
    threads : int
        Threads that run the model.
    versions : tuple of (str, str)
        Library names and versions.
    score_class : str
        Sessions of equal class give the same scores up to the parity their backend promises;
        part of every member's fingerprint.
    model_batch : int or None
        Batch size fixed in the model, None where it is dynamic.
    engine : Path or None
        The engine file that runs, where there is one.
    takes_pixels : bool
        Whether ``run`` takes framed pixels, uint8 of shape (n_images, height, width, 3) in RGB,
        instead of the contract's input tensor.
    n_features : int
        Width of the features that follow the scores in every row; 0 where the contract names none.
    callers : int
        Threads that may call ``run`` at a time to some avail.
    """

    backend: str
    provider: str
    precision: str
    device: str
    threads: int
    versions: tuple[tuple[str, str], ...]
    score_class: str
    model_batch: int | None
    engine: Path | None = None
    takes_pixels: bool = False
    n_features: int = 0
    callers: int = 1


class Session(Protocol):
    """A loaded model.

    ``run`` is a pure function of each image: its row does not depend on the other images of the
    batch, their number or order. A backend that cannot promise that says so in its module.
    """

    @property
    def info(self) -> SessionInfo:
        """What really runs."""
        ...

    @property
    def n_outputs(self) -> int | None:
        """Width of the scores where the file states it."""
        ...

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the raw outputs of a batch.

        Parameters
        ----------
        batch : array of shape (n_images, *input_shape), float32; uint8 if ``info.takes_pixels``
            Any number of images, none included; need not be contiguous.

        Returns
        -------
        array of shape (n_images, n_outputs + info.n_features), float32
            The scores and, where the contract names features, those behind them.

        Raises
        ------
        TagstackError
            If the shape or dtype is wrong, the session is closed, or the model fails.
        """
        ...

    def close(self) -> None:
        """Free the model; running it afterwards is an error. Closing twice is allowed."""
        ...


class Runtime(Protocol):
    """A backend: what it computes in, whether it can run here, and how it loads a model."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """What it computes in, of ``score.precision``'s values; its plainest first."""
        ...

    def probe(self, *, flavour: str) -> "Probe":
        """Return whether it can run here; never raise, and load nothing that could crash.

        ``flavour`` is ``score.engines.flavour``, which TensorRT's backend alone asks for.
        """
        ...

    def open(
        self,
        path: Path,
        contract: "Contract",
        *,
        threads: int,
        precision: str,
        engines: "EngineSettings",
    ) -> Session:
        """Return a loaded model.

        Parameters
        ----------
        path : Path
            The ONNX file.
        contract : Contract
            Its declared input and output, which the file must agree with. It names features only
            if the backend has an attribute ``gives_features`` that is true.
        threads : int
            Images that run side by side on a CPU, at least 1.
        precision : str
            One of ``precisions``.
        engines : EngineSettings
            Of use to a GPU's backends.

        Raises
        ------
        TagstackError
            If the model cannot be loaded; `faults.BackendError` if another backend may do.
        """
        ...
