"""The GPU benchmark without a GPU: it measures what it can and names what it skips, and why."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagstack.base_models.runtimes.probing import is_installed, probe

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Return what a file of the benchmarks defines."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return lambda name: runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"))


BACKENDS = ("tensorrt", "ort-cuda", "ort-tensorrt")
SMALL = ("--tiny", "--size", "32", "--tags", "20", "--rounds", "2", "--seconds", "0.01")


def run(*options: str) -> "subprocess.CompletedProcess[str]":
    program = str(ROOT / "benchmarks" / "gpu.py")
    command = [sys.executable, program, *SMALL, "--with-cpu", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_small_run(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    sections = ["--sections", "loads,pipeline,networks,decode", "--pictures", "3"]
    networks = ["--architectures", "vit,convnext,swin"]
    done = run("--batches", "1,3", *sections, *networks, "--report", str(report))
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    lines, figures = found["networks"], {(f["section"], f["name"]): f for f in found["figures"]}
    for figure in figures.values():
        assert figure["value"] is not None or figure["note"], figure
    for backend in BACKENDS:
        assert figures["loads", backend]["value"] == probe(backend).available
    assert figures["decode", "Pillow, all cores"]["value"] > 0
    if not any(probe(backend).available for backend in BACKENDS):
        assert figures["pipeline", "ort fp32, scaled decoding: images/s"]["value"] > 0
        assert ("stages", "ort fp32: infer vit alone") in figures
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
    options = ["--sections", "networks", "--batches", "2", "--rows", "torch eager fp32"]
    done = run(*options, "--report", str(report))
    assert done.returncode == 0, done.stderr
    lines = json.loads(report.read_text())["networks"]
    assert len(lines) == 2
    assert all(line["max_difference"] < 1e-3 for line in lines)


def test_the_page_says_unmeasured_until_a_report_fills_it(program: Any) -> None:
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    assert program("gpu_table")["filled"](page, None) == page
    assert "| tensorrt fp16 | unmeasured |" in page


def test_a_report_fills_the_page(program: Any) -> None:
    table = program("gpu_table")
    line = {"network": "vit", "row": "tensorrt fp16", "batch": 8, "milliseconds": 10.0}
    figure = {"section": "pipeline", "name": "tensorrt fp16: images/s", "unit": "images/s"}
    report = {
        "machine": "X (9.0, 1 GiB)",
        "networks": [
            {**line, "images_per_s": 800.4, "max_difference": 0.0123},
            {**line, "row": "trtexec tf32", "batch": None, "milliseconds": None},
        ],
        "figures": [
            {**figure, "value": 1234.56},
            {"section": "loads", "name": "tensorrt", "value": 1.0, "unit": ""},
            {"section": "loads", "name": "ort-cuda", "value": 0.0, "unit": ""},
            {"section": "trees", "name": "cuda: fit", "value": None, "unit": "s"},
        ],
    }
    none = " | ".join(["unmeasured"] * 4)
    page = table["filled"](f"a\n{table['BEGIN']}old{table['END']}\nb", report)
    assert (page[:2], page[-2:]) == ("a\n", "\nb")
    assert "old" not in page
    assert "from `ort` in fp32 on X (9.0, 1 GiB):" in page
    assert f"| tensorrt fp16 | unmeasured | 800 | {none} | 0.012 |" in page
    assert f"| trtexec tf32 | unmeasured | unmeasured | {none} | unmeasured |" in page
    assert "| 1,500 JPEGs from file to store, `tensorrt` fp16 | 1235 images/s |" in page
    assert "| `tensorrt` loads | yes |\n" in page
    assert "| `ort-cuda` loads | no |\n" in page
    assert "| XGBoost meta-model, GPU | unmeasured |" in page


def test_when_the_minutes_are_up_what_is_measured_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Any
) -> None:
    gpu, ended = program("gpu"), list[int]()
    monkeypatch.setattr(os, "_exit", ended.append)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    report = gpu["Report"](tmp_path / "report.json", "X", scratch)
    report.figures.append(gpu["Figure"]("loads", "tensorrt", 1.0, ""))
    report.stop()
    found = json.loads((tmp_path / "report.json").read_text())
    assert [one["name"] for one in found["figures"]] == ["tensorrt"]
    assert (ended, scratch.exists()) == ([0], False)
