"""What the progress shows of scoring: each stage's own rate, the slowest first."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from tagstack.base_models.scoring.tally import ScoreProgress, ScoreSummary
from tagstack.ensemble.console import console
from tagstack.ensemble.console.models import print_score_summary

RATES = {"read": 9000.0, "decode": 81.25, "infer doll_vit": 12.345}


def test_rates_name_the_slowest_stage_first() -> None:
    assert console.rates(RATES) == "doll_vit 12.3/s  decode 81.2/s  read 9e+03/s"
    assert console.rates({}) == ""


def test_the_bar_shows_the_rates_below_and_drops_them_with_the_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(console, "err", terminal)
    state = ScoreProgress(
        n_images=40, n_scored=10, n_skipped=0, n_failed=1, seconds=2.0, stage_rates=RATES
    )
    with console.stages() as progress:
        progress.stage("scoring")
        progress.scored(state)
        bars = progress._bars
        assert bars.tasks[0].description == "scoring, 6 images/s, 1 failed"
        lines = [str(part) for part in bars.get_renderables()]
        assert lines[-1] == console.rates(RATES)
        progress.stage("thresholds")
        assert console.rates(RATES) not in [str(part) for part in bars.get_renderables()]


def test_the_summary_ends_with_what_each_stage_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    summary = ScoreSummary(
        n_scored=10, n_skipped=2, n_failed=0, failures=(), seconds=2.0,
        stage_seconds={}, stage_rates=RATES,
    )  # fmt: skip
    print_score_summary(summary, as_json=False)
    printed = capsys.readouterr().out
    assert "Scored 10 images in 2.0 s (5/s), 2 were there already, 0 failed." in printed
    assert "Each stage by itself: doll_vit 12.3/s" in printed


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    log, now = io.StringIO(), 0.0
    monkeypatch.setattr(console, "err", Console(file=log, width=100))
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now))
    with console.stages() as progress:
        for now in (0.0, 10.0, 31.0, 40.0, 62.0):
            progress.stage("folds", int(now), 1000)
        now = 70.0
        progress.stage("thresholds", 1, 2)
    assert log.getvalue().splitlines() == [
        "folds", "folds: 31 of 1,000", "folds: 62 of 1,000", "thresholds",
    ]  # fmt: skip
    log.truncate(0)
    with console.downloads() as show:
        show("model.onnx", 500, 3000)
        now = 120.0
        show("model.onnx", 1500, 3000)
    assert log.getvalue().strip("\0\n") == "model.onnx: 1.5 kB of 3.0 kB"
