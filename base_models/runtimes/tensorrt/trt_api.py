"""TensorRT's Python interface, with what differs between its versions and flavours in one place.

TensorRT 11 and 10.13 or later, and TensorRT-RTX, which has the interface of 11, is on the package
index and builds engines without a GPU; its engines are compiled further where they first run.
In all of them precision lies in the ONNX file (strongly typed networks), not in builder flags.

References
----------
https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/
"""

import importlib
from collections.abc import Callable
from typing import Any

from tagstack.base_models.runtimes.faults import BackendError, DeviceMemoryError, one_line
from tagstack.base_models.runtimes.probing import INSTALL, MODULES, RTX_MODULE, is_installed

OLDEST = (10, 13)
_MEMORY_WORDS = ("out of memory", "outofmemory", "insufficient memory", "could not allocate")


class TrtApi:
    """One flavour of TensorRT, imported.

    Parameters
    ----------
    flavour : str
        ``"trt"`` or ``"rtx"``.
    module : module, optional
        The bindings; imported if not given. Native TensorRT must only be imported where the
        driver has answered (`runtimes.driver`).

    Raises
    ------
    BackendError
        If it is not installed, cannot be loaded, or is too old.
    """

    def __init__(self, flavour: str, module: Any = None) -> None:
        self.flavour = flavour
        self.trt = module or _imported(flavour)
        self.version = str(self.trt.__version__)
        if flavour == "trt" and _numbers(self.version) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            msg = (
                f"TensorRT {self.version} is too old; expected {oldest} or later. "
                f"Run: {INSTALL['tensorrt']}"
            )
            raise BackendError(msg)

    @property
    def parser_version(self) -> str:
        """Version of the ONNX parser."""
        return str(self.trt.get_nv_onnx_parser_version())

    @property
    def has_timing_cache(self) -> bool:
        """Whether builds learn from earlier ones; TensorRT-RTX tunes where the engine runs."""
        return self.flavour == "trt"

    def builder(self, logger: Any) -> Any:
        """Return a builder.

        Raises
        ------
        BackendError
            If TensorRT makes none, as with a driver that is too old for it.
        """
        return _made("builder", logger, lambda: self.trt.Builder(logger))

    def knows(self, operator: str) -> bool:
        """Return whether the ONNX parser takes an operator."""
        logger = self.logger()
        network = self.network(self.builder(logger))
        return bool(self.trt.OnnxParser(network, logger).supports_operator(operator))

    def network(self, builder: Any) -> Any:
        """Return an empty strongly typed network; version 11 knows no other kind."""
        flags = 0
        if self.flavour == "trt" and _numbers(self.version)[0] == 10:
            flags = 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return builder.create_network(flags)

    def logger(self) -> Any:
        """Return a logger that keeps TensorRT's errors in ``errors`` instead of printing them."""
        trt = self.trt

        class Logger(trt.ILogger):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    self.errors.append(message)

        return Logger()

    def engine(self, plan: bytes, logger: Any) -> Any:
        """Return a plan as an engine; only in a process that may crash, unless it was tried.

        Raises
        ------
        BackendError
            If TensorRT does not take it.
        """
        runtime = _made("runtime", logger, lambda: self.trt.Runtime(logger))
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise fault("TensorRT cannot load the engine", logger.errors)
        # The engine does not keep its runtime alive; the caller holds both.
        return runtime, engine

    def context(self, engine: Any) -> Any:
        """Return an execution context that is given its memory by `set_device_memory`.

        Raises
        ------
        BackendError
            If there is none to be had.
        """
        strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = engine.create_execution_context(strategy)
        if context is None:
            raise fault("TensorRT gave no execution context", [])
        return context

    def host_type(self, kind: Any) -> Any:
        """Return the numpy type of an input or output.

        Raises
        ------
        BackendError
            If numpy has none, as for bf16 and fp8.
        """
        try:
            return self.trt.nptype(kind)
        except TypeError as error:
            msg = f"The model's {kind} inputs or outputs are unknown to numpy; export float32."
            raise BackendError(msg) from error


def fault(what: str, errors: list[str]) -> BackendError:
    """Return what TensorRT logged as an error of ours, of memory where memory ended."""
    seen = [text for text in errors if "Thread context" not in text]
    text = f"{what}: {one_line(' / '.join(seen[:3]) or 'it gave no reason')}"
    if any(word in " ".join(seen).lower() for word in _MEMORY_WORDS):
        return DeviceMemoryError(f"{text}. Free GPU memory, or lower score.engines.workspace_mib.")
    return BackendError(text)


def _made(what: str, logger: Any, make: Callable[[], Any]) -> Any:
    """Return what a factory of TensorRT makes; it reports failure by a null, or a TypeError."""
    try:
        made = make()
    except TypeError:  # pybind11: "factory function returned nullptr"
        made = None
    if made is None:
        error = fault(f"TensorRT gave no {what}", logger.errors)
        raise type(error)(f"{error} Update the NVIDIA driver, or see `tagstack doctor`.")
    return made


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _imported(flavour: str) -> Any:
    name = RTX_MODULE if flavour == "rtx" else MODULES["tensorrt"]
    install = INSTALL["rtx" if flavour == "rtx" else "tensorrt"]
    if not is_installed(name):
        raise BackendError(f"{name} is not installed. Run: {install}")
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        msg = f"{name} is installed but cannot be loaded: {one_line(error)}. Run: {install}"
        raise BackendError(msg) from error
