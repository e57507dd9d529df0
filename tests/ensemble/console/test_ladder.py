"""What `fit` and `compare` print: figures, and in words what they show."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagstack.ensemble.comparison.comparing import Comparison
from tagstack.ensemble.console import ladder
from tagstack.ensemble.console.ladder import print_comparison
from tagstack.ensemble.report.fit_evidence import FitEvidence, MemberLossEvidence, TuningEvidence
from tagstack.ensemble.report.writing import write_report
from tagstack.meta.stack.ladder_row import Band, LadderRow


def row(rung: str, value: float, why: str) -> LadderRow:
    return LadderRow(
        rung=rung,
        macro_ap=value,
        macro_error=0.01,
        micro_ap=value + 0.1,
        micro_error=0.005,
        fold_values=(value, value),
        weights=(),
        why=why,
    )


def printed(
    comparison: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str], **options: Any
) -> str:
    paths = write_report(comparison, tmp_path, pictures=lambda _: None)
    capsys.readouterr()
    print_comparison(comparison, paths, as_json=options.get("as_json", False))
    return " ".join(capsys.readouterr().out.split())


def test_the_outcome_stands_in_words_below_the_figures(
    make_comparison: Callable[..., Comparison], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(make_comparison(), tmp_path, capsys)
    assert "Use Stack: over the best tagger as published (first) it gains macro-F1 +" in text
    assert "; it costs 2 taggers an image instead of 1; it breaks 0.68 rules" in text
    assert "gate: the choice at fit time" in text
    assert "Tag by tag, against" in text
    assert "seeds 0 to 1" in text
    assert "over the 11 tags that every rung knows: macro-AP" in text


def test_what_is_not_sure_is_not_called_a_gain(
    make_comparison: Callable[..., Comparison], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = make_comparison()
    unsure = tuple(
        dataclasses.replace(
            pair,
            differences={
                name: dataclasses.replace(
                    found, low=-1.0, high=1.0, verdict="no significant difference"
                )
                for name, found in pair.differences.items()
            },
        )
        for pair in comparison.pairs
    )
    text = printed(dataclasses.replace(comparison, pairs=unsure), tmp_path, capsys)
    assert "it gains nothing that is sure: macro-F1" in text
    assert "(not sure)" in text
    assert "\N{MINUS SIGN}" not in text


def test_json_is_the_metrics_file(
    make_comparison: Callable[..., Comparison], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(make_comparison(), tmp_path, capsys, as_json=True)
    assert text == " ".join((tmp_path / "metrics.json").read_text("utf-8").split())


def test_fit_says_why_it_chose_and_what_may_go() -> None:
    rows = (
        row("mean", 0.6, "+0.0300 behind blend, standard error 0.0040"),
        row("caruana", 0.629, "chosen: +0.0010 behind blend, standard error 0.0040; simpler"),
        row("blend", 0.63, "best of the rungs"),
    )
    bands = (
        Band(low=0, high=5, n_tags=7, rung="mean", why="leads there"),
        Band(low=5, high=None, n_tags=90, rung="caruana", why="as overall"),
    )
    losses = tuple(
        MemberLossEvidence(
            member=name, macro_ap=value, macro_low=value - 0.01, macro_high=value + 0.01,
            micro_ap=value, micro_low=value - 0.01, micro_high=value + 0.01,
        )
        for name, value in (("needed", 0.05), ("spare", 0.001))
    )  # fmt: skip
    worth = TuningEvidence(default=0.6, tuned=0.61, difference=0.01, low=0.002, high=0.02)
    lines = ladder.fit_lines(rows, "caruana", bands, FitEvidence(losses=losses, worth=worth))
    assert lines[0] == (
        "No significant difference between caruana and blend: "
        "+0.0010 behind blend, standard error 0.0040; simpler."
    )
    assert lines[1] == "Tags with 0-4 positives (7): mean, leads there."
    assert lines[2] == "At most 0.02 is lost without any one of: spare."
    assert lines[3].startswith("Tuning. On images that no trial saw: default 0.600, tuned 0.610")
    assert len(lines) == 4


def test_fit_says_when_the_best_was_chosen() -> None:
    rows = (row("mean", 0.6, "x"), row("blend", 0.63, "chosen: best of the rungs"))
    assert ladder.fit_lines(rows, "blend", (), FitEvidence()) == ["blend: best of the rungs."]


@pytest.mark.parametrize(
    ("n_judged", "said"), [(0, []), (900, []), (300, ["Judged on 300 images, drawn of 900."])]
)
def test_a_fit_says_so_where_it_judged_on_drawn_images(n_judged: int, said: list[str]) -> None:
    fit = FitEvidence(n_images=900, n_judged=n_judged)
    rows = (row("blend", 0.63, "chosen: best of the rungs"),)
    assert ladder.fit_lines(rows, "blend", (), fit)[1:] == said
