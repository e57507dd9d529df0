"""A TensorRT engine on an NVIDIA GPU, without torch.

Pinned memory on the host in two halves (`session_memory`), one stream, and for each batch size and
half one CUDA graph: copy in, run, copy out, recorded once and replayed. A recording fixes its
execution context, so each size has a context of its own; all share one piece of scratch memory, as
only one runs at a time. Two threads keep the device busy: one fills its half while it is at the
other's. So does one thread whose batch takes several calls.

The bits of a score may depend on the batch size (another kernel shape); engines are built with
TensorRT's request for the contrary, and the parity report says what came of it.

References
----------
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#cuda-graphs
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.base import SessionInfo
from tagstack.base_models.runtimes.batch_sizes import BatchSizes
from tagstack.base_models.runtimes.cuda import Cuda
from tagstack.base_models.runtimes.faults import BackendError, DeviceMemoryError
from tagstack.base_models.runtimes.model_io import (
    Port,
    check_batch,
    checked_shape,
    chosen_features,
    chosen_output,
    feature_width,
    model_inputs,
)
from tagstack.base_models.runtimes.tensorrt.session_memory import (
    HALVES,
    Half,
    SessionMemory,
    TensorKind,
    Turns,
)
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi

K = TypeVar("K")
V = TypeVar("V")


class RecentlyUsed(Generic[K, V]):
    """At most ``limit`` values; a further one pushes out the one used longest ago.

    Parameters
    ----------
    limit : int
        0 keeps nothing.
    discard : callable
        Frees a value that is pushed out.
    """

    def __init__(self, limit: int, discard: Callable[[V], None]) -> None:
        self._limit = limit
        self._discard = discard
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Return a value, which then counts as used, or None."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value and free those that no longer fit."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._limit:
            self._discard(self._values.popitem(last=False)[1])

    def clear(self) -> None:
        """Free every value."""
        while self._values:
            self._discard(self._values.popitem()[1])


logger = logging.getLogger(__name__)


@dataclass
class _Lane:
    """What one batch size needs: its context, and its recording for each half once there is one."""

    context: Any
    graphs: dict[int, Any] = field(default_factory=dict)


class TensorrtSession:
    """A deserialised engine with memory for its largest batch.

    Parameters
    ----------
    path : Path
        The model that the engine was built from, for messages.
    contract : Contract
    plan : bytes
        An engine that has been tried.
    api : TrtApi
    cuda : Cuda
    sizes : BatchSizes
    graphs : int
        Batch sizes whose CUDA graphs are kept; 0 runs without.
    precision, device : str
        What the session's info says.
    engine : Path
        The file that the plan comes from, named after its key.
    takes_pixels : bool
        Whether the engine and the contract are those of `pixel_input`.

    Raises
    ------
    BackendError
        If the engine cannot be loaded, or there is no memory for one image.
    """

    def __init__(
        self,
        path: Path,
        contract: Contract,
        *,
        plan: bytes,
        api: TrtApi,
        cuda: Cuda,
        sizes: BatchSizes,
        graphs: int,
        precision: str,
        device: str,
        engine: Path,
        takes_pixels: bool = False,
    ) -> None:
        self._path, self._api, self._cuda, self._sizes = path, api, cuda, sizes
        self._runtime, self._engine = api.engine(plan, api.logger())
        inputs, outputs = self._ports()
        source = model_inputs(path, inputs, contract)
        self._source = source.picture  # `packed_input` has made one of two
        self._outputs = outputs
        self._chosen = outputs[chosen_output(path, outputs, contract)]
        features = chosen_features(path, outputs, contract)
        self._wanted = [self._chosen, *([] if features is None else [outputs[features]])]
        self._shape = checked_shape(path, source, contract)
        smallest, _, largest = self._engine.get_tensor_profile_shape(self._source.name, 0)
        self._profile_batch = int(next(iter(largest)))
        sizes.limit(int(next(iter(smallest))), self._profile_batch)
        self._lanes = RecentlyUsed[int, _Lane](max(graphs, 1), self._free_lane)
        self._with_graphs = graphs > 0
        self._memory = SessionMemory(cuda)
        self._n_reserved = 0
        self._turns = Turns()
        self._stream_lock = Lock()  # whoever queues something holds it
        self._is_open = True
        self._kinds = {port.name: self._kind(port) for port in (self._source, *outputs)}
        self._reserve()
        self.info = SessionInfo(
            backend="tensorrt",
            provider=f"{api.flavour} engine {engine.stem[:16]}",
            precision=precision,
            device=device,
            threads=1,
            versions=(("tensorrt" if api.flavour == "trt" else "tensorrt-rtx", api.version),),
            # Scaling on the device may round otherwise than on the host.
            score_class=f"tensorrt-{api.flavour}{'-pixels' if takes_pixels else ''}",
            model_batch=None,
            engine=engine,
            takes_pixels=takes_pixels,
            n_features=sum(self._width(port) for port in self._wanted[1:]),
            callers=HALVES,
        )

    @property
    def n_outputs(self) -> int | None:
        """Width of the output where the engine states it."""
        side = self._chosen.shape[-1]
        return side if isinstance(side, int) else None

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the raw outputs of a batch; see `Session.run`. Shape (n_images, n_outputs)."""
        dtype = np.uint8 if self.info.takes_pixels else np.float32
        check_batch(self._path, batch, self._shape, is_open=self._is_open, dtype=dtype)
        width = (self.n_outputs or 0) + self.info.n_features
        found = np.empty((len(batch), width), np.float32)
        n_found = 0
        while n_found < len(batch):
            n_reserved = self._n_reserved
            try:
                with closing(self._rows(batch, n_found)) as rows:
                    for some in rows:
                        found[n_found : n_found + len(some)] = some
                        n_found += len(some)
            except DeviceMemoryError as error:
                self._smaller(error, n_reserved)
        return found

    def close(self) -> None:
        """Free the engine and its memory."""
        with self._turns.all():
            if self._is_open:
                self._is_open = False
                self._release()
                self._engine = self._runtime = None
                self._cuda.close()

    def _rows(self, batch: NDArray[Any], start: int) -> Generator[NDArray[np.float32], None, None]:
        """Yield the scores from an image on, call by call, with up to two calls under way.

        A half is waited for only while this thread has none: two threads never wait for each other.
        """
        under_way: deque[tuple[int, int]] = deque()
        try:
            while start < len(batch) or under_way:
                number = self._turns.take(wait=not under_way) if start < len(batch) else None
                if number is None:
                    yield self._scores(*under_way[0])
                    self._turns.give(under_way.popleft()[0])
                else:
                    under_way.append((number, 0))  # to be given back however the launch ends
                    call = self._sizes.call(len(batch) - start)
                    self._launch(number, batch[start : start + call.count], call.size)
                    under_way[-1] = (number, call.count)
                    start += call.count
        finally:
            if under_way:  # something failed: the device may still be at these halves
                with self._stream_lock, suppress(BackendError):
                    self._cuda.wait()
            for number, _ in under_way:
                self._turns.give(number)

    def _launch(self, number: int, images: NDArray[Any], size: int) -> None:
        if not self._is_open:
            raise BackendError(f"{self._path}: the session was closed meanwhile.")
        half = self._memory.halves[number]
        half.source[: len(images)] = images
        half.source[len(images) : size] = 0
        with self._stream_lock:
            lane = self._lanes.get(size)
            if lane is None:
                # The first run of a size is not recorded: kernels may be loaded, memory taken.
                lane = self._new_lane(size)
                self._queue(lane, half, size)
                self._lanes.put(size, lane)
            else:
                if self._with_graphs and number not in lane.graphs:
                    self._record(lane, half, size)
                if number in lane.graphs:
                    self._cuda.launch(lane.graphs[number])
                else:
                    self._queue(lane, half, size)
            self._cuda.mark(half.event)

    def _scores(self, number: int, count: int) -> NDArray[np.float32]:
        half = self._memory.halves[number]
        self._cuda.wait_for(half.event)
        parts = [target[:count].reshape(count, -1) for target in half.targets]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")

    def _new_lane(self, size: int) -> _Lane:
        context = self._api.context(self._engine)
        if not context.set_input_shape(self._source.name, (size, *self._shape)):
            raise BackendError(f"{self._path}: the engine does not take {size} images.")
        for name, address in self._memory.device.items():
            context.set_tensor_address(name, address)
        context.set_device_memory(self._memory.scratch, self._memory.scratch_bytes)
        return _Lane(context)

    def _queue(self, lane: _Lane, half: Half, size: int) -> None:
        source = self._source.name
        device, kinds = self._memory.device, self._kinds
        filled, *wanted = half.addresses
        self._cuda.copy_in(device[source], filled, size * kinds[source].image_bytes)
        if not lane.context.execute_async_v3(int(self._cuda.stream)):
            raise BackendError(f"{self._path}: the engine failed on {size} images; see the log.")
        for address, port in zip(wanted, self._wanted, strict=True):
            self._cuda.copy_out(address, device[port.name], size * kinds[port.name].image_bytes)

    def _record(self, lane: _Lane, half: Half, size: int) -> None:
        """Record a size for a half; where that cannot be, go on without recordings."""
        try:
            self._cuda.wait()  # nothing of the other half shall run into the recording
            with self._cuda.capture() as recording:
                self._queue(lane, half, size)
            lane.graphs[half.number] = recording.graph
        except DeviceMemoryError:
            raise
        except BackendError as error:
            self._with_graphs = False
            logger.warning("%s Going on without CUDA graphs.", error)

    def _reserve(self) -> None:
        """Take memory for the largest batch that there is room for."""
        while True:
            try:
                self._memory.reserve(
                    self._kinds,
                    source=self._source.name,
                    targets=[port.name for port in self._wanted],
                    n_images=self._sizes.largest,
                    scratch_bytes=self._scratch_needed(),
                )
                self._n_reserved += 1
                return
            except DeviceMemoryError as error:
                self._shrink(error)

    def _scratch_needed(self) -> int:
        """Return the scratch memory of the largest batch: the engine's own figure, or less."""
        if self._sizes.largest == self._profile_batch:
            return int(self._engine.device_memory_size_v2)
        context = self._api.context(self._engine)
        if not context.set_input_shape(self._source.name, (self._sizes.largest, *self._shape)):
            raise BackendError(f"{self._path}: the engine does not take {self._sizes.largest}.")
        return int(context.update_device_memory_size_for_shapes())

    def _smaller(self, error: DeviceMemoryError, n_reserved: int) -> None:
        """Go on with less memory than that of the reservation, unless another thread saw to it."""
        with self._turns.all():
            if n_reserved == self._n_reserved:
                self._shrink(error)
                self._release()
                self._reserve()

    def _shrink(self, error: DeviceMemoryError) -> None:
        if not self._sizes.shrink():
            raise error
        logger.warning("%s Going on with %d images at a time.", error, self._sizes.largest)

    def _kind(self, port: Port) -> TensorKind:
        dtype = np.dtype(self._api.host_type(self._engine.get_tensor_dtype(port.name)))
        # An output that the engine leaves open beyond its batch cannot be given memory.
        return TensorKind(tuple(int(side) for side in port.shape[1:] if side is not None), dtype)

    def _width(self, port: Port) -> int:
        """Return the width of the features; an engine that leaves it open gives them no memory."""
        if None in port.shape[1:]:
            msg = (
                f"{self._path}: the engine leaves the shape of {port.name!r} open, "
                f"{list(port.shape)}; it cannot give features. Score with score.backend = 'ort'."
            )
            raise BackendError(msg)
        shape = tuple(int(side) for side in port.shape[1:] if side is not None)
        return feature_width(self._path, port.name, (1, *shape), 1)

    def _release(self) -> None:
        self._lanes.clear()
        self._memory.free()

    def _free_lane(self, lane: _Lane) -> None:
        self._cuda.wait()  # the device may be at it
        for graph in lane.graphs.values():
            self._cuda.free_graph(graph)

    def _ports(self) -> tuple[list[Port], list[Port]]:
        engine, mode = self._engine, self._api.trt.TensorIOMode
        ports: dict[Any, list[Port]] = {mode.INPUT: [], mode.OUTPUT: []}
        for i in range(engine.num_io_tensors):
            name = engine.get_tensor_name(i)
            sides = tuple(None if side < 0 else int(side) for side in engine.get_tensor_shape(name))
            kind = str(engine.get_tensor_dtype(name))
            ports[engine.get_tensor_mode(name)].append(Port(name, sides, kind))
        return ports[mode.INPUT], ports[mode.OUTPUT]
