"""Probing: reasons and install lines, and nothing of NVIDIA's loaded without a driver."""

import importlib
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from tagstack.base_models.runtimes import probing, provider_libraries
from tagstack.base_models.runtimes.driver import Device, Driver
from tagstack.base_models.runtimes.probing import BACKENDS, GPU_BACKENDS, INSTALL, probe

DEVICE = Device(
    index=0, name="NVIDIA X", compute_capability="9.0", n_multiprocessors=132, memory_bytes=1 << 36
)
WITH_GPU = Driver(cuda_version="13.0", devices=(DEVICE,), fault=None)
WITHOUT = Driver(cuda_version=None, devices=(), fault="there is no NVIDIA driver")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_module_comes_with_its_install_line(
    monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setitem(sys.modules, probing.MODULES[backend], None)
    found = probe(backend, ask_driver=lambda: WITH_GPU)
    assert not found.available
    assert found.reason == f"{probing.MODULES[backend]} is not installed"
    assert found.install == INSTALL[backend]
    assert "pip install" in found.install


@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_without_a_driver_nothing_is_imported(
    monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr(probing, "is_installed", lambda name: True)

    def refuse(name: str, package: str | None = None) -> object:
        pytest.fail(f"{name} was imported though there is no driver")

    monkeypatch.setattr(importlib, "import_module", refuse)
    found = probe(backend, ask_driver=lambda: WITHOUT)
    assert (found.available, found.reason) == (False, "there is no NVIDIA driver")
    assert found.devices == ()


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return ONNX Runtime's GPU build, pretended: what it lists and what it was built with."""
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    build = SimpleNamespace(get_available_providers=lambda: names, cuda_version="13.0")
    monkeypatch.setattr(importlib, "import_module", lambda name: build)
    provider_libraries._tried.cache_clear()
    yield build
    provider_libraries._tried.cache_clear()


def _program(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let a program stand for the start of a provider."""
    monkeypatch.setattr(provider_libraries, "COMMAND", (sys.executable, "-c", code))


# What version 1.31.1 prints where the CUDA libraries are missing, without its colours.
MISSING = (
    "[E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] Failed to load library "
    "/x/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object "
    "file: No such file or directory\nONNX Runtime uses ['CPUExecutionProvider'] instead"
)


@pytest.mark.usefixtures("gpu_build")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            f"import sys; sys.exit({MISSING!r})",
            "CUDAExecutionProvider does not start: libcublasLt.so.13: cannot open shared object",
        ),
        ("import sys; sys.exit('no kernel image')", "does not start: no kernel image"),
        ("import os; os.kill(os.getpid(), 11)", r"crashed the process .*\(signal 11\)"),
        ("import sys; sys.exit(3)", "no message"),
    ],
)
def test_a_provider_that_is_listed_and_does_not_start(
    monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    _program(monkeypatch, code)
    found = probe("ort-cuda", ask_driver=lambda: WITH_GPU)
    assert not found.available
    assert re.search(reason, found.reason)


@pytest.mark.usefixtures("gpu_build")
@pytest.mark.parametrize(("runs", "old"), [("12.8", True), ("13.0", False), ("14.1", False)])
def test_a_driver_older_than_the_wheel(
    monkeypatch: pytest.MonkeyPatch, runs: str, old: bool
) -> None:
    _program(monkeypatch, "pass")
    driver = Driver(cuda_version=runs, devices=(DEVICE,), fault=None)
    found = probe("ort-cuda", ask_driver=lambda: driver)
    assert found.available != old
    if old:
        assert "built with CUDA 13.0, and the driver runs CUDA up to 12.8: update" in found.reason


def test_the_real_program_refuses_a_build_without_the_provider(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_libraries, "_CUDNN", None)  # the process itself, which loads
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert provider_libraries.main(["NoSuchExecutionProvider"]) == 3
    assert "ONNX Runtime uses ['CPUExecutionProvider'] instead" in capsys.readouterr().err
    assert provider_libraries.main(["CPUExecutionProvider"]) == 0


def test_what_preloading_prints_stays_off_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def preload_dlls() -> None:
        print("Failed to load libcublas.so.13")

    build = SimpleNamespace(preload_dlls=preload_dlls)
    monkeypatch.setattr(importlib, "import_module", lambda name: build)
    provider_libraries.load_libraries("CUDAExecutionProvider")
    assert capsys.readouterr().out == ""


def test_a_build_without_the_provider(gpu_build: Any) -> None:
    gpu_build.get_available_providers = lambda: ["CPUExecutionProvider"]
    found = probe("ort-cuda", ask_driver=lambda: WITH_GPU)
    assert not found.available
    assert "has ['CPUExecutionProvider'], not CUDAExecutionProvider" in found.reason


@pytest.mark.usefixtures("gpu_build")
def test_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _program(monkeypatch, "import sys; sys.exit(sys.argv[1:] != ['CUDAExecutionProvider'])")
    found = probe("ort-cuda", ask_driver=lambda: WITH_GPU)
    assert (found.available, found.devices) == (True, ("NVIDIA X (9.0, 64 GiB)",))
    assert not probe("ort-tensorrt", ask_driver=lambda: WITH_GPU).available


def test_tensorrt_needs_its_bindings_and_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    for absent in ("cuda.bindings", "onnx"):
        monkeypatch.setattr(probing, "is_installed", lambda name, gone=absent: name != gone)
        found = probe("tensorrt", ask_driver=lambda: WITH_GPU)
        assert not found.available
        assert absent.replace(".", "-") in found.reason


def test_the_flavour_decides_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    found = probe("tensorrt", flavour="rtx", ask_driver=lambda: WITH_GPU)
    assert "tensorrt_rtx_bindings is not installed" in found.reason
    assert "tensorrt-rtx-cu13-libs" in found.install


def test_probing_everything_leaves_the_process_alive() -> None:
    code = (
        "from tagstack.base_models.runtimes.probing import BACKENDS, probe\n"
        "for name in BACKENDS:\n"
        "    for flavour in ('trt', 'rtx'):\n"
        "        assert probe(name, flavour=flavour).reason\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
