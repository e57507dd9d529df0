"""Stand-ins for the CUDA runtime and TensorRT, at the boundary where the drivers begin.

What a session does with them (sizes, padding, recordings, memory, faults) is tested without a GPU.
"""
# ruff: noqa: N802, N815 - the names are NVIDIA's

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from tagstack.base_models.contract import read_contract
from tagstack.base_models.runtimes.batch_sizes import BatchSizes
from tagstack.base_models.runtimes.cuda import Cuda
from tagstack.base_models.runtimes.model_io import with_named_scores
from tagstack.base_models.runtimes.tensorrt.prepared_model import prepared_model
from tagstack.base_models.runtimes.tensorrt.session import TensorrtSession
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi


class FakeCudaRuntime:
    """Stands in for ``cuda.bindings.runtime``: host memory, and queued work done at the wait.

    Freeing twice, or copying where nothing was allocated, is an error as on a device. ``log`` has
    the calls that order work, with the bytes of copies and the numbers of graphs and events.
    """

    cudaError_t = IntEnum(
        "cudaError_t",
        {"cudaSuccess": 0, "cudaErrorInvalidValue": 1, "cudaErrorMemoryAllocation": 2},
    )
    cudaMemcpyKind = IntEnum(
        "cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2}
    )
    cudaStreamCaptureMode = IntEnum(
        "cudaStreamCaptureMode", {"cudaStreamCaptureModeThreadLocal": 1}
    )

    def __init__(self) -> None:
        self.device_limit = 1 << 40
        self.memory: dict[int, Any] = {}
        self.device: set[int] = set()
        self.queue: list[Callable[[], None]] = []
        self.capture: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launched: list[int] = []
        self.stream_open = False
        self.events: dict[int, list[Callable[[], None]]] = {}
        self.log: list[tuple[str, int]] = []
        self.lock = RLock()  # a driver takes calls of several threads

    def do(self, action: Callable[[], None]) -> None:
        with self.lock:
            (self.queue if self.capture is None else self.capture).append(action)

    def cudaSetDevice(self, device: int) -> tuple[int]:
        return (0,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:
        assert flags == 1, "the default stream would wait for everything else"
        self.stream_open = True
        return 0, 7

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:
        self.stream_open = False
        return (0,)

    def cudaMalloc(self, size: int) -> tuple[Any, int | None]:
        used = sum(self.memory[address].nbytes for address in self.device)
        if used + size > self.device_limit:
            return self.cudaError_t(2), None
        address = self.block(size)
        self.device.add(address)
        return 0, address

    def cudaMallocHost(self, size: int) -> tuple[int, int]:
        return 0, self.block(size)

    def block(self, size: int) -> int:
        block = np.full(size, 0xAB, np.uint8)
        self.memory[block.ctypes.data] = block
        return int(block.ctypes.data)

    def cudaFree(self, address: int) -> tuple[Any]:
        self.device.discard(address)
        return self.cudaFreeHost(address)

    def cudaFreeHost(self, address: int) -> tuple[Any]:
        return (0 if self.memory.pop(address, None) is not None else self.cudaError_t(1),)

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: int, stream: int
    ) -> tuple[Any]:
        device, host = (target, source) if kind == 1 else (source, target)
        if device not in self.device or host not in self.memory or host in self.device:
            return (self.cudaError_t(1),)
        self.log.append(("in" if kind == 1 else "out", size))
        self.do(lambda: self.copy(target, source, size))
        return (0,)

    def copy(self, target: int, source: int, size: int) -> None:
        self.memory[target][:size] = self.memory[source][:size]

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        assert self.capture is None, "a stream that records cannot be waited for"
        with self.lock:
            actions, self.queue = self.queue, []
            for action in actions:
                action()
        return (0,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[int, int]:
        assert flags == 3, "a thread that waits would keep a core from decoding"
        number = 100 + len(self.events)
        self.events[number] = []
        return 0, number

    def cudaEventRecord(self, event: int, stream: int) -> tuple[Any]:
        if event not in self.events or stream != 7:
            return (self.cudaError_t(1),)
        self.log.append(("mark", event))

        def reached() -> None:
            pass

        self.events[event].append(reached)
        self.do(reached)
        return (0,)

    def cudaEventSynchronize(self, event: int) -> tuple[Any]:
        """Do what was queued up to the event's last mark, and nothing after it."""
        if event not in self.events:
            return (self.cudaError_t(1),)
        with self.lock:
            self.log.append(("wait", event))
            while any(mark in self.queue for mark in self.events[event]):
                self.queue.pop(0)()
        return (0,)

    def cudaEventDestroy(self, event: int) -> tuple[Any]:
        return (0 if self.events.pop(event, None) is not None else self.cudaError_t(1),)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:
        self.capture = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, Any]:
        graph, self.capture = self.capture, None
        return (0, graph) if graph is not None else (self.cudaError_t(1), None)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[int, int]:
        number = len(self.launched) + 1000 * (len(self.graphs) + 1)
        self.graphs[number] = graph
        return 0, number

    def cudaGraphDestroy(self, graph: Any) -> tuple[int]:
        return (0,)

    def cudaGraphLaunch(self, number: int, stream: int) -> tuple[int]:
        self.launched.append(number)
        with self.lock:
            self.log.append(("launch", number))
            self.queue.extend(self.graphs[number])
        return (0,)

    def cudaGraphExecDestroy(self, number: int) -> tuple[Any]:
        return (0 if self.graphs.pop(number, None) is not None else self.cudaError_t(1),)


class FakeTensorrt:
    """Stands in for ``tensorrt``: a plan is the path of an ONNX file, which ONNX Runtime runs.

    Contexts read and write the fake device's memory at the addresses they were given.
    """

    __version__ = "11.4.0"
    TensorIOMode = IntEnum("TensorIOMode", {"INPUT": 1, "OUTPUT": 2})
    ExecutionContextAllocationStrategy = IntEnum(
        "ExecutionContextAllocationStrategy", {"STATIC": 0, "USER_MANAGED": 2}
    )

    class ILogger:
        ERROR, INTERNAL_ERROR, WARNING = 1, 0, 2

    def __init__(self, cuda: FakeCudaRuntime, max_batch: int = 32) -> None:
        self.cuda = cuda
        self.min_batch, self.max_batch = 1, max_batch
        self.contexts: list[Any] = []
        outer = self

        class Runtime:
            def __init__(self, logger: Any) -> None:
                self.logger = logger

            def deserialize_cuda_engine(self, plan: bytes) -> Any:
                if not plan.endswith(b".onnx"):
                    self.logger.log(1, "magicTag assertion failed")
                    return None
                return FakeEngine(outer, plan.decode())

        self.Runtime = Runtime

    def get_nv_onnx_parser_version(self) -> int:
        return 1100

    def nptype(self, kind: Any) -> Any:
        return kind


class FakeEngine:
    """An engine of `FakeTensorrt`."""

    def __init__(self, trt: FakeTensorrt, path: str) -> None:
        import onnxruntime

        self.trt = trt
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.ports = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.num_io_tensors = len(self.ports)
        self.device_memory_size_v2 = 1000 * trt.max_batch

    def get_tensor_name(self, number: int) -> str:
        return str(self.ports[number].name)

    def _port(self, name: str) -> Any:
        return next(port for port in self.ports if port.name == name)

    def get_tensor_mode(self, name: str) -> Any:
        is_input = name in [port.name for port in self.session.get_inputs()]
        return self.trt.TensorIOMode(1 if is_input else 2)

    def get_tensor_dtype(self, name: str) -> Any:
        return np.float32

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sides = {"flat": (-1, 192), "product": (-1, 10)}.get(name)
        found = sides or self._port(name).shape
        return tuple(side if isinstance(side, int) else -1 for side in found)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        sides = self.get_tensor_shape(name)[1:]
        least = self.trt.min_batch
        return [(least, *sides), (least, *sides), (self.trt.max_batch, *sides)]

    def create_execution_context(self, strategy: Any) -> Any:
        assert strategy == self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self.trt.contexts.append(FakeContext(self))
        return self.trt.contexts[-1]


class FakeContext:
    """An execution context of `FakeEngine`."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()
        self.scratch = (0, 0)
        self.n_shapes = self.n_runs = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        self.n_shapes += 1
        return bool(self.engine.trt.min_batch <= shape[0] <= self.engine.trt.max_batch)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shape[0], *self.engine.get_tensor_shape(name)[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_device_memory(self, address: int, size: int) -> None:
        self.scratch = (address, size)

    def update_device_memory_size_for_shapes(self) -> int:
        return 1000 * self.shape[0]

    def execute_async_v3(self, stream: int) -> bool:
        memory = self.engine.trt.cuda.memory
        address, size = self.scratch
        enough = address in memory and size >= 1000 * self.shape[0]
        if stream != 7 or not enough or len(self.addresses) != self.engine.num_io_tensors:
            return False
        self.engine.trt.cuda.log.append(("run", self.shape[0]))
        self.engine.trt.cuda.do(self._run)
        self.n_runs += 1
        return True

    def _run(self) -> None:
        memory, session = self.engine.trt.cuda.memory, self.engine.session
        source = session.get_inputs()[0].name
        count = int(np.prod(self.shape))
        feed = memory[self.addresses[source]].view(np.float32)[:count].reshape(self.shape)
        for port, values in zip(
            session.get_outputs(), session.run(None, {source: feed}), strict=True
        ):
            target = memory[self.addresses[port.name]].view(np.float32)
            target[: values.size] = values.ravel()


@dataclass
class FakeGpu:
    """A GPU that is none, and sessions on it."""

    cuda: FakeCudaRuntime
    trt: FakeTensorrt
    cache: Path

    @classmethod
    def made(cls, cache: Path) -> "FakeGpu":
        cuda = FakeCudaRuntime()
        return cls(cuda, FakeTensorrt(cuda), cache)

    def open(
        self,
        folder: Path,
        *,
        sizes: Sequence[int] = (1, 2, 4, 8, 16, 32),
        graphs: int = 6,
        limit_bytes: int = 0,
    ) -> Any:
        contract = read_contract(folder / "tagger.toml")
        contract = with_named_scores(folder / "model.onnx", contract)
        model = prepared_model(
            folder / "model.onnx", contract, self.cache, precision="fp32", max_batch=32
        )
        return TensorrtSession(
            folder / "model.onnx",
            contract,
            plan=str(model.path).encode(),
            api=TrtApi("trt", self.trt),
            cuda=Cuda(0, self.cuda, limit_bytes=limit_bytes),
            sizes=BatchSizes(sizes),
            graphs=graphs,
            precision="fp32",
            device="cuda:0 a fake",
            engine=Path("0123456789abcdef0123.engine"),
        )
