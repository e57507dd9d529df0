import pytest

from tagstack.base_models.runtimes.driver import Device, Driver
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.meta.learners.device import check_device
from tagstack.meta.learners.meta_trees import MetaTrees

GPU = Device(
    index=0, name="L4", compute_capability="8.9", n_multiprocessors=58, memory_bytes=24 * 2**30
)


def found(*devices: Device, fault: str | None = None) -> Driver:
    return Driver(cuda_version="13.0", devices=devices, fault=fault)


def test_the_processor_needs_no_proof() -> None:
    def refuse() -> Driver:
        raise AssertionError("the driver was asked for a fit on the CPU")

    check_device("cpu", examine=refuse, build={})


def test_a_build_without_cuda_is_refused_with_the_way_out() -> None:
    with pytest.raises(TagstackError, match=r"built without CUDA.*tagstack\[gpu\].*device = 'cpu'"):
        check_device("cuda", examine=lambda: found(GPU), build={"USE_CUDA": False})


def test_a_missing_gpu_is_refused_with_the_driver_s_reason() -> None:
    with pytest.raises(TagstackError, match=r"no usable GPU: no driver\. Mend that, or set"):
        check_device("cuda", examine=lambda: found(fault="no driver"), build={"USE_CUDA": True})


def test_a_gpu_and_a_build_for_it_pass() -> None:
    check_device("cuda", examine=lambda: found(GPU), build={"USE_CUDA": True})


def test_xgboost_is_told_the_device() -> None:
    trees = MetaTrees(load_settings().stack.xgboost, seed=0, threads=1, device="cuda")
    assert trees.parameters(("mean",), frozenset())["device"] == "cuda"
    assert trees.get_params()["device"] == "cuda"
