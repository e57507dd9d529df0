"""Probing: reasons and install lines, and nothing of NVIDIA's loaded without a driver."""

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tagstack.base_models.runtimes import probing
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


def test_a_build_without_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        probing,
        "_import",
        lambda name: SimpleNamespace(get_available_providers=lambda: ["CPUExecutionProvider"]),
    )
    found = probe("ort-cuda", ask_driver=lambda: WITH_GPU)
    assert not found.available
    assert "has ['CPUExecutionProvider'], not CUDAExecutionProvider" in found.reason


def test_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    runtime = SimpleNamespace(get_available_providers=lambda: names)
    monkeypatch.setattr(probing, "_import", lambda name: runtime)
    found = probe("ort-cuda", ask_driver=lambda: WITH_GPU)
    assert (found.available, found.devices) == (True, ("NVIDIA X (9.0, 64 GiB)",))
    monkeypatch.setattr(probing, "is_installed", lambda name: name == "onnxruntime")
    missing = probe("ort-tensorrt", ask_driver=lambda: WITH_GPU)
    assert "libnvinfer.so.10 cannot be loaded" in missing.reason


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
