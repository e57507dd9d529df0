"""Opening a model on a GPU: the file is prepared, the engine provided, the session started.

The first visible GPU is used; CUDA_VISIBLE_DEVICES chooses another.
"""

import hashlib
import json
from pathlib import Path

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.runtimes.batch_sizes import BatchSizes
from tagstack.base_models.runtimes.driver import Driver, examine_driver
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.model_io import image_shape, with_named_scores
from tagstack.base_models.runtimes.stored_precision import quantised_as, shown_precision
from tagstack.base_models.user_cache import cache_root
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import EngineSettings

ENGINES = "engines"
ORT_ENGINES = "ort-tensorrt"
_ATTENTION_SINCE = (1, 31)


def open_tensorrt(
    path: Path, contract: Contract, settings: EngineSettings, precision: str
) -> Session:
    """Return a model as a TensorRT engine, built if need be.

    Raises
    ------
    BackendError
        If TensorRT is not installed, or the model cannot be built or run.
    TagstackError
        If the file is damaged or contradicts the contract.
    """
    from tagstack.base_models.runtimes.cuda import Cuda
    from tagstack.base_models.runtimes.tensorrt.engine_cache import EngineCache
    from tagstack.base_models.runtimes.tensorrt.pixel_input import pixel_contract
    from tagstack.base_models.runtimes.tensorrt.provision import Workshop
    from tagstack.base_models.runtimes.tensorrt.session import TensorrtSession
    from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
    from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi

    if settings.flavour == "rtx":
        msg = (
            "TensorRT-RTX is here to try a build without a GPU, and does not score: it compiles "
            'an engine again in every process. Set score.engines.flavour = "trt".'
        )
        raise BackendError(msg)
    driver, settings = examine_driver(), settings.of_tagger(contract.name)
    contract = with_named_scores(path, contract)
    workshop = Workshop(
        cache=EngineCache(cache_root(settings.folder) / ENGINES),
        api=TrtApi(settings.flavour),
        driver=driver,
        trial_seconds=settings.trial_seconds,
    )
    stored = shown_precision(path, precision)
    spec = EngineSpec.of_settings(settings, stored)
    engine = workshop.provide(path, contract, spec, pixels=settings.pixels_on_device)
    if engine.takes_pixels:
        contract = pixel_contract(contract)
    cuda = Cuda(limit_bytes=settings.memory_mib << 20)
    # Nearly all of a plan is weights, which go to the device as they are.
    cuda.hold(len(engine.plan))
    try:
        return TensorrtSession(
            path,
            contract,
            plan=engine.plan,
            api=workshop.api,
            cuda=cuda,
            sizes=BatchSizes(settings.batches),
            graphs=settings.graphs,
            precision=stored,
            device=device_name(driver),
            engine=workshop.cache.path(engine.header.key),
            takes_pixels=engine.takes_pixels,
        )
    except TagstackError:
        cuda.close()
        raise


def open_ort_gpu(
    path: Path, contract: Contract, settings: EngineSettings, precision: str, backend: str
) -> Session:
    """Return a model in ONNX Runtime's CUDA or TensorRT provider.

    Raises
    ------
    BackendError
        If the provider does not run, or does not take the file.
    TagstackError
        If the file contradicts the contract.
    """
    from tagstack.base_models.runtimes.ort_gpu import OrtGpuSession
    from tagstack.base_models.runtimes.tensorrt.pixel_input import pixel_contract

    driver, settings = examine_driver(), settings.of_tagger(contract.name)
    contract = with_named_scores(path, contract)
    if backend == "ort-cuda":
        _refuse_quantised(path)
    model, takes_pixels = path, False
    masked = contract.input.padding_mask is not None
    if precision == "fp16" or backend == "ort-tensorrt" or settings.pixels_on_device or masked:
        from tagstack.base_models.runtimes.tensorrt.prepared_model import MODELS, prepared_model

        folder = cache_root(settings.folder) / ENGINES / MODELS
        prepared = prepared_model(
            path,
            contract,
            folder,
            precision=precision,
            max_batch=settings.batches[-1],
            attention=backend == "ort-cuda" and _knows_attention(),
            pixels=settings.pixels_on_device,
        )
        model, takes_pixels = prepared.path, prepared.takes_pixels
        if takes_pixels:
            contract = pixel_contract(contract)
        if prepared.batch is not None:
            settings = settings.with_batches((prepared.batch,))
    cuda = {
        "device_id": "0",
        "use_tf32": "1" if precision == "tf32" else "0",
        # An exhaustive search tries every kernel at every new size, for seconds; and taking memory
        # in powers of two leaves none to the next tagger.
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }
    if settings.memory_mib:
        cuda["gpu_mem_limit"] = str(settings.memory_mib << 20)
    options = [cuda]
    if backend == "ort-tensorrt":
        root = cache_root(settings.folder) / ORT_ENGINES
        options = [_tensorrt_options(model, contract, settings, driver, root), cuda]
    return OrtGpuSession(
        model,
        contract,
        backend=backend,
        options=options,
        sizes=BatchSizes(settings.batches),
        precision=precision,
        device=device_name(driver),
        takes_pixels=takes_pixels,
    )


def _refuse_quantised(path: Path) -> None:
    """Refuse what the CUDA provider would turn back into floats before every product."""
    stored = quantised_as(path)
    if stored is not None:
        msg = (
            f"{path} is in {stored}, for which ONNX Runtime's CUDA provider has no convolution and "
            f"no product: it would compute in floats, more slowly than the tagger it was made "
            f'from. Use that one, or score.backend = "tensorrt".'
        )
        raise BackendError(msg)


def _knows_attention() -> bool:
    """Return whether the CUDA provider is one of those whose `Attention` kernels were looked at."""
    import onnxruntime

    return tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= _ATTENTION_SINCE


def device_name(driver: Driver) -> str:
    """Return the name of the GPU that is used."""
    return f"cuda:0 {driver.devices[0].name}" if driver.devices else "cuda:0"


def _tensorrt_options(
    model: Path, contract: Contract, settings: EngineSettings, driver: Driver, root: Path
) -> dict[str, str]:
    """Return options that keep ONNX Runtime's engines apart by everything that matters.

    Its own key knows neither the weights nor static shapes, so two fine-tunes of a network would
    share one engine; a folder of our own for each key prevents that.
    """
    import onnxruntime

    from tagstack.base_models.atomic import file_sha256
    from tagstack.base_models.runtimes.tensorrt.engine_cache import EngineCache
    from tagstack.base_models.runtimes.tensorrt.spec import model_files

    facts = {
        "model": [file_sha256(file) for file in model_files(model)],
        "onnxruntime": onnxruntime.__version__,
        "driver": [driver.cuda_version, [str(device) for device in driver.devices]],
        "build": settings.model_dump(
            mode="json", exclude={"folder", "graphs", "on_failure", "tagger_batches", "memory_mib"}
        )
        | {"workspace_mib": settings.build_mib},
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    folder = str(EngineCache(root).folder / key)
    shapes = (settings.batches[0], settings.typical_batch, settings.batches[-1])
    return {
        "device_id": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
        "trt_int8_enable": "1" if quantised_as(model) == "int8" else "0",
        "trt_builder_optimization_level": str(settings.optimization_level),
        "trt_max_workspace_size": str(settings.build_mib << 20),
        **{
            f"trt_profile_{name}_shapes": _shape_text(model, contract, batch)
            for name, batch in zip(("min", "opt", "max"), shapes, strict=True)
        },
    }


def _shape_text(model: Path, contract: Contract, batch: int) -> str:
    from tagstack.base_models.runtimes.tensorrt.onnx_file import check_ports

    name = check_ports(model, contract).picture.name
    return f"{name}:{'x'.join(map(str, (batch, *image_shape(contract))))}"
