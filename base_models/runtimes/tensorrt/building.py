"""From an ONNX file to a plan, with TensorRT or TensorRT-RTX by the same code.

A build that runs out of memory is tried again with half the workspace, then with half the batch.

References
----------
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tagstack.base_models.runtimes.faults import BackendError, DeviceMemoryError
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.timing_cache import TimingCache
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi, fault

logger = logging.getLogger(__name__)

_LEAST_WORKSPACE_MIB = 256


@dataclass(frozen=True, kw_only=True)
class Built:
    """A plan, and what it was built as in the end."""

    plan: bytes
    spec: EngineSpec


def build_plan(model: Path, spec: EngineSpec, api: TrtApi, timing: TimingCache | None) -> Built:
    """Return a model as a plan.

    Parameters
    ----------
    model : Path
        ONNX with a dynamic batch, or a batch that equals all three of the spec.
    spec : EngineSpec
    api : TrtApi
    timing : TimingCache, optional
        What earlier builds measured.

    Raises
    ------
    BackendError
        If TensorRT cannot read the model, or cannot build it.
    """
    least: DeviceMemoryError | None = None
    for smaller in _smaller(spec):
        try:
            return Built(plan=_build(model, smaller, api, timing), spec=smaller)
        except DeviceMemoryError as error:
            logger.warning("%s: %s Trying with less.", model, error)
            least = error
        except BackendError:
            if least is None:
                raise
            break  # a network that fixes its batch takes no smaller one
    raise DeviceMemoryError(f"{model} cannot be built even for its smallest batch: {least}")


def _smaller(spec: EngineSpec) -> Iterator[EngineSpec]:
    """Yield what to try: less workspace first, then smaller batches."""
    yield spec
    while spec.workspace_mib // 2 >= _LEAST_WORKSPACE_MIB:
        spec = replace(spec, workspace_mib=spec.workspace_mib // 2)
        yield spec
    while spec.max_batch // 2 >= 1:
        spec = spec.with_batch(spec.max_batch // 2)
        yield spec


def _build(model: Path, spec: EngineSpec, api: TrtApi, timing: TimingCache | None) -> bytes:
    trt, log = api.trt, api.logger()
    builder = api.builder(log)
    network = api.network(builder)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(model)):  # by path, for weights in files of their own
        raise _unreadable(model, parser, log)
    _allow_parts(network, trt)
    config = builder.create_builder_config()
    config.builder_optimization_level = spec.optimization_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for `layers`; costs no speed
    level = spec.hardware_compatibility.upper()
    config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, level)
    _set_flag(config, trt.BuilderFlag.REFIT, spec.refit)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace_mib << 20)
    _set_flag(config, trt.BuilderFlag.TF32, spec.precision.endswith("tf32"))
    if hasattr(trt.BuilderFlag, "DISTRIBUTIVE_INDEPENDENCE"):
        _set_flag(config, trt.BuilderFlag.DISTRIBUTIVE_INDEPENDENCE, spec.batch_invariant)
    _add_profile(model, builder, network, config, spec, log)
    if timing is None or not api.has_timing_cache:
        plan = builder.build_serialized_network(network, config)
    else:
        with timing.used_by(config):
            plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise fault(f"TensorRT cannot build {model}", log.errors)
    return bytes(plan)


def _allow_parts(network: Any, trt: Any) -> None:
    """Let an attention without a kernel of its own be built from parts instead of being refused."""
    kind = getattr(trt.LayerType, "ATTENTION_INPUT", None)
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        if kind is not None and layer.type == kind:
            layer.__class__ = trt.IAttentionInputLayer  # as NVIDIA's bindings want a layer cast
            layer.attention.decomposable = True


def _add_profile(
    model: Path, builder: Any, network: Any, config: Any, spec: EngineSpec, log: Any
) -> None:
    if network.num_inputs != 1:
        names = [network.get_input(i).name for i in range(network.num_inputs)]
        raise BackendError(f"{model} has the inputs {names}; engines are built for one.")
    source = network.get_input(0)
    image = tuple(source.shape)[1:]
    batches = (spec.min_batch, spec.typical_batch, spec.max_batch)
    profile = builder.create_optimization_profile()
    profile.set_shape(source.name, *((batch, *image) for batch in batches))
    # Both report a wrong profile by their result, not by an exception.
    if not profile or config.add_optimization_profile(profile) < 0:
        msg = (
            f"TensorRT refuses batches from {batches[0]} over {batches[1]} to {batches[2]} for "
            f"{model}: {'; '.join(log.errors[:2])} Correct score.engines.batches."
        )
        raise BackendError(msg)


def _set_flag(config: Any, flag: Any, on: bool) -> None:
    (config.set_flag if on else config.clear_flag)(flag)


def _unreadable(model: Path, parser: Any, log: Any) -> BackendError:
    found = [parser.get_error(i).desc() for i in range(parser.num_errors)]
    text = " ".join(" ".join([*found, *log.errors]).split())
    advice = "Export it anew, with opset 17 or later."
    if "zero_point" in text.lower() or "zero point" in text.lower() or "UInt8" in text:
        advice = "It was quantised for the CPU; use `tagstack engines quantize --target tensorrt`."
    elif "Half" in text and "Float" in text:
        advice = "It mixes float16 and float32; give the float32 file and score.precision fp16."
    return BackendError(f"TensorRT cannot read {model}: {text[:400]} {advice}")
