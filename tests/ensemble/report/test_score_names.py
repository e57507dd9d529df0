"""Scores are called the same in the terminal, on the page, in CSV, in Markdown and in JSON."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tagstack.configs.settings import load_settings
from tagstack.ensemble.comparison.comparing import Comparison
from tagstack.ensemble.console.ladder import print_comparison
from tagstack.ensemble.report.writing import ReportPaths, write_report

Make = Callable[..., Comparison]


def written(make: Make, folder: Path, **changes: object) -> tuple[Comparison, ReportPaths]:
    settings = load_settings().compare.model_copy(update={"resamples": 100, **changes})
    comparison = make(settings=settings, rules=None)
    return comparison, write_report(comparison, folder, pictures=lambda _: None)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


def test_f2_is_called_f2_everywhere(
    make_comparison: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison, paths = written(make_comparison, tmp_path, beta=2.0)
    print_comparison(comparison, paths, as_json=False)
    terminal = capsys.readouterr().out
    page, markdown = (path.read_text("utf-8") for path in (paths.html, paths.markdown))
    for text in (terminal, page, markdown):
        assert "macro-F2" in text
        assert "F1" not in text.partition("<script")[0]
    ours = comparison.rung(comparison.reference)
    found = next(row for row in rows(paths.rungs) if row["rung"] == ours.name)
    assert float(found["macro_f2"]) == pytest.approx(ours.scores["all"]["macro_f"].value, rel=1e-5)
    assert float(found["weighted_f2"]) == pytest.approx(ours.decisions.weighted_f, rel=1e-5)
    assert {"macro_f2_low", "macro_f2_high", "supported:macro_f2"} <= set(found)
    assert not [name for name in found if name.endswith("_f")]
    assert {"f2", "rival_f2"} <= set(rows(paths.tags)[0])
    assert {row["score"] for row in rows(paths.pairs)} >= {"macro_f2", "macro_ap"}
    metrics = json.loads(paths.metrics.read_text("utf-8"))
    assert metrics["score_names"]["macro_f"]["title"] == "macro-F2"
    assert metrics["score_names"]["hamming_loss"]["larger_is_better"] is False


def test_columns_of_f1_keep_their_names(make_comparison: Make, tmp_path: Path) -> None:
    _, paths = written(make_comparison, tmp_path)
    assert {"macro_f", "macro_f_low", "micro_f", "sample_f"} <= set(rows(paths.rungs)[0])
    assert {"f", "rival_f"} <= set(rows(paths.tags)[0])


def test_a_package_s_score_stands_beside_the_others(
    make_comparison: Make, tmp_path: Path, from_docs: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from_docs("A metric")
    comparison, paths = written(make_comparison, tmp_path, metrics=("invented",))
    print_comparison(comparison, paths, as_json=False)
    assert "Invented" in capsys.readouterr().out
    assert "Invented" in paths.html.read_text("utf-8")
    metrics = json.loads(paths.metrics.read_text("utf-8"))
    assert metrics["score_names"]["invented"]["meaning"] == "share of images with a wrong tag"
    for rung, row, stored in zip(
        comparison.rungs, rows(paths.rungs), metrics["rungs"], strict=True
    ):
        value = rung.values["invented"]
        assert 0 < value < 1
        assert float(row["metric:invented"]) == pytest.approx(value, rel=1e-5)
        assert stored["metrics"] == {"invented": value}


def test_your_own_values_of_decisions_are_one_more_score(
    make_comparison: Make, tmp_path: Path
) -> None:
    (tmp_path / "utility.csv").write_text("tag,tp,fp,fn,tn\n*,0,0,0,1\n")
    comparison, paths = written(make_comparison, tmp_path, utility=str(tmp_path / "utility.csv"))
    for rung, row in zip(comparison.rungs, rows(paths.rungs), strict=True):
        assert 0 < rung.values["utility"] <= comparison.n_tags
        assert float(row["metric:utility"]) == pytest.approx(rung.values["utility"], rel=1e-5)
