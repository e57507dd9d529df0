"""The benchmark of the host's work runs and says something about every contract and the whole."""

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_small_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    options = ["--size", "16", "--batch", "2", "--rounds", "2", "--images", "3", "--tags", "200"]
    monkeypatch.setattr(sys, "argv", ["pipeline_host.py", *options, "--report", str(report)])
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    runpy.run_path(str(ROOT / "benchmarks" / "pipeline_host.py"), run_name="__main__")
    found = json.loads(report.read_text())
    lines, whole = found["batch"], found["whole"]
    printed = capsys.readouterr().out
    assert len(lines) == 3
    for line in lines:
        assert f"| {line['contract']} |" in printed
        assert min(line["float32_s"], line["pixels_s"]) >= 0
    assert [one["way"] for one in whole] == ["before", "now"] * 2
    assert all(0 < one["busiest_ms"] <= one["cpu_ms"] for one in whole)
