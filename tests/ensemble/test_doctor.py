"""The examination of the machine names faults and what mends them."""

from importlib import metadata
from pathlib import Path

import pytest

from tagstack.ensemble import doctor


def state(findings: tuple[doctor.Finding, ...], subject: str) -> tuple[str, str]:
    return next((f.state, f.detail) for f in findings if f.subject == subject)


def test_a_complete_install_has_no_fault(tmp_path: Path) -> None:
    findings = doctor.examine(tmp_path)
    assert [finding for finding in findings if finding.state == "fault"] == []
    assert "CPUExecutionProvider" in state(findings, "providers")[1]


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
