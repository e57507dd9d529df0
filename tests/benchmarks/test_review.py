"""The benchmark of the review page runs, also where its decisions leave few pairs or none."""

import runpy
import sys
from pathlib import Path

import pytest

PROGRAM = str(Path(__file__).resolve().parents[2] / "benchmarks" / "review.py")


def run(monkeypatch: pytest.MonkeyPatch, decisions: int) -> None:
    """Run the benchmark over some 1,500 drawn pairs."""
    sizes = ["--images", "300", "--tags", "50", "--pairs", "6", "--decisions", str(decisions)]
    monkeypatch.setattr(sys, "argv", [PROGRAM, *sizes])
    runpy.run_path(PROGRAM, run_name="__main__")


def test_more_decisions_than_pairs_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, 5000)
    said = capsys.readouterr().err
    assert "pairs are drawn, but the decisions and the answers that are timed take 5," in said
    assert "fewer --decisions" in said


def test_an_order_that_runs_out_of_cards_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, 900)
    lines = capsys.readouterr().out.splitlines()
    answered = [line for line in lines if line.startswith("a card and its answer")]
    assert len(answered) > 2
    assert any("  100 times" not in line for line in answered)
    assert any(line.startswith("the board") for line in lines)
