"""The GPU benchmark without a GPU: it measures what it can and names what it skips, and why."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tagstack.base_models.runtimes.probing import is_installed, probe

ROOT = Path(__file__).resolve().parents[2]


SMALL = ("--tiny", "--size", "32", "--tags", "20", "--rounds", "2", "--seconds", "0.01")


def run(*options: str) -> "subprocess.CompletedProcess[str]":
    program = str(ROOT / "benchmarks" / "gpu.py")
    command = [sys.executable, program, *SMALL, "--with-cpu", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_small_run(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = run("--batches", "1,3", "--report", str(report))
    assert done.returncode == 0, done.stderr
    lines = json.loads(report.read_text())
    assert {line["network"] for line in lines} == {"vit", "convnext", "swin"}
    for line in lines:
        assert f"| {line['network']} | {line['row']} |" in done.stdout
        if line["milliseconds"] is None:
            assert line["note"].startswith("skipped: ")
        elif not line["row"].startswith("trtexec"):
            limit = 1e-3 if line["row"].endswith("fp32") else 0.5
            assert line["max_difference"] < limit
            assert line["images_per_s"] > 0
    measured = {line["row"] for line in lines if line["milliseconds"] is not None}
    assert "ort fp32" in measured
    assert len([line for line in lines if line["row"] == "ort fp32"]) == 6
    for backend in ("ort-cuda", "ort-tensorrt", "tensorrt"):
        assert (f"{backend} fp16" in measured) == probe(backend).available


@pytest.mark.skipif(not is_installed("torch"), reason="torch is not installed")
def test_pytorch_runs_the_same_network(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = run("--batches", "2", "--rows", "torch eager fp32", "--report", str(report))
    assert done.returncode == 0, done.stderr
    lines = json.loads(report.read_text())
    assert len(lines) == 3
    assert all(line["max_difference"] < 1e-3 for line in lines)
