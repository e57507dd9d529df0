"""The examination of the machine names faults and what mends them."""

from importlib import import_module, metadata
from pathlib import Path

import pytest

from tagstack.base_models.runtimes.driver import Device, Driver
from tagstack.base_models.runtimes.probing import probe
from tagstack.base_models.runtimes.selection import Chosen, RuntimeChoice
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.tasks import doctor


def state(findings: tuple[doctor.Finding, ...], subject: str) -> tuple[str, str]:
    return next((f.state, f.detail) for f in findings if f.subject == subject)


def test_a_complete_install_has_no_fault(tmp_path: Path) -> None:
    findings = doctor.examine(tmp_path)
    assert [finding for finding in findings if finding.state == "fault"] == []
    assert state(findings, "backend ort") == ("ok", "runs on cpu")
    assert state(findings, "backend auto")[0] == "ok"


def test_two_builds_of_one_module_are_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    findings = doctor.examine(tmp_path)
    assert state(findings, "onnxruntime")[0] == "fault"
    assert "onnxruntime and onnxruntime-gpu overwrite" in state(findings, "onnxruntime")[1]


def test_a_missing_package_comes_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert "pip install 'tagstack[cpu]'" in state(doctor.examine(tmp_path), "numpy")[1]


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "onnx"])
def test_a_package_that_does_not_load_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def loads(module: str) -> object:
        if module == name:
            raise OSError("libgomp.so.1: cannot open shared object file")
        return import_module(module)

    monkeypatch.setattr(doctor, "import_module", loads)
    status, detail = state(doctor.examine(tmp_path), name)
    assert status == "fault"
    assert "does not load (OSError: libgomp.so.1" in detail
    assert "install libgomp1" in detail


def test_without_a_gpu_each_backend_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Driver(cuda_version=None, devices=(), fault="there is no NVIDIA driver")
    monkeypatch.setattr(doctor, "examine_driver", lambda: gone)
    monkeypatch.setattr(doctor, "probe", lambda name: probe(name, ask_driver=lambda: gone))
    findings = doctor.examine(tmp_path)
    assert state(findings, "gpu") == ("absent", "there is no NVIDIA driver")
    status, detail = state(findings, "backend ort-cuda")
    assert status == "absent"
    assert "no NVIDIA driver; run: pip uninstall onnxruntime && pip install" in detail


def test_a_gpu_is_named_with_its_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(
        index=0,
        name="NVIDIA X",
        compute_capability="9.0",
        n_multiprocessors=132,
        memory_bytes=80 << 30,
    )
    driver = Driver(cuda_version="13.0", devices=(device,), fault=None)
    monkeypatch.setattr(doctor, "examine_driver", lambda: driver)
    assert state(doctor.examine(tmp_path), "gpu") == (
        "ok",
        "NVIDIA X (9.0, 80 GiB); CUDA up to 13.0",
    )


def test_a_machine_without_any_runtime_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(choice: RuntimeChoice) -> Chosen:
        raise TagstackError("No backend computes in fp32 here: ort: onnxruntime is not installed.")

    monkeypatch.setattr(doctor, "choose", none)
    status, detail = state(doctor.examine(tmp_path), "backend auto")
    assert (status, "onnxruntime is not installed" in detail) == ("fault", True)


def test_bf16_units_are_told_with_what_they_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "bf16_units", lambda: ("avx512_bf16",))
    status, detail = state(doctor.examine(tmp_path), "bf16")
    assert (status, "avx512_bf16" in detail, "half the time" in detail) == ("ok", True, True)
    monkeypatch.setattr(doctor, "bf16_units", tuple)
    monkeypatch.setattr(doctor, "openvino_takes_bf16", lambda: False)
    assert state(doctor.examine(tmp_path), "bf16")[0] == "absent"
