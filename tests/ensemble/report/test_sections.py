import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tagstack.configs.settings import load_settings
from tagstack.ensemble.comparison.comparing import Comparison
from tagstack.ensemble.report.fit_evidence import FitEvidence, fit_evidence
from tagstack.ensemble.report.sections import (
    calibrations,
    cascade_figures,
    frontier_figure,
    importance_rows,
    likeness_rows,
    member_table,
    rule_rows,
    stability_sentence,
    worth_sentence,
)
from tagstack.ensemble.report.view import full_tables, panels
from tagstack.ensemble.report.writing import ReportExtra, write_report

EVIDENCE: dict[str, Any] = {
    "tuning": {
        "trials": [
            {"number": 0, "value": 0.6, "state": "complete", "params": {}},
            {"number": 1, "value": None, "state": "pruned", "params": {}},
        ],
        "importances": {"depth": 0.2, "rate": 0.8},
        "worth": {
            "default": 0.61, "tuned": 0.63, "difference": 0.02, "low": -0.01, "high": 0.05,
            "n_images": 40,
        },
        "kept": False,
    },
    "members_worth": [
        {"member": "spare", "macro_ap": 0.001, "macro_low": -0.01, "macro_high": 0.012,
         "micro_ap": 0.0, "micro_low": -0.001, "micro_high": 0.001},
        {"member": "needed", "macro_ap": 0.05, "macro_low": 0.03, "macro_high": 0.07,
         "micro_ap": 0.01, "micro_low": 0.005, "micro_high": 0.015},
    ],
    "members_worth_rung": "shrunken_logistic",
    "frontier": {
        "points": [
            {"macro_share": 0.0, "macro_f": 0.21, "micro_f": 0.70, "tags_per_image": 4.2},
            {"macro_share": 0.5, "macro_f": 0.29, "micro_f": 0.68, "tags_per_image": 5.0},
        ],
        "one_threshold": {"macro_share": None, "macro_f": 0.22, "micro_f": 0.703,
                          "tags_per_image": 4.4},
        "in_use": 0.5, "n_images": 40,
    },
    "cascade": {
        "stages": [["needed"], ["needed", "spare"]],
        "seconds": {"needed": 0.002, "spare": 0.006},
        "rows": [
            {"least_promise": 9.0, "cost": 0.25, "ended": [1.0, 0.0],
             "micro_f": 0.6, "micro_loss": 0.1, "micro_low": 0.05, "micro_high": 0.15,
             "macro_f": 0.3, "macro_loss": 0.2, "macro_low": -0.01, "macro_high": 0.4},
            {"least_promise": -1e30, "cost": 1.0, "ended": [0.0, 1.0],
             "micro_f": 0.7, "micro_loss": 0.0, "micro_low": 0.0, "micro_high": 0.0,
             "macro_f": 0.5, "macro_loss": 0.0, "macro_low": 0.0, "macro_high": 0.0},
        ],
    },
    "diversity": {
        "members": ["needed", "spare"],
        "disagreement": [[0.0, 0.12], [0.12, 0.0]],
        "q_statistic": [[1.0, None], [None, 1.0]],
    },
}  # fmt: skip


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


def test_tables_agree_with_the_comparison(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    comparison = make_comparison()
    extra = ReportExtra(fit=fit_evidence(EVIDENCE))
    paths = write_report(comparison, tmp_path, pictures=lambda _: None, extra=extra)
    rungs, pairs, rules = (rows_of(path) for path in (paths.rungs, paths.pairs, paths.rules))
    assert [row["rung"] for row in rungs] == [rung.name for rung in comparison.rungs]
    last = comparison.rungs[-1]
    assert float(rungs[-1]["macro_f_low"]) == pytest.approx(
        last.scores["all"]["macro_f"].low, rel=1e-5
    )
    assert last.hierarchical is not None
    assert float(rungs[-1]["hierarchical_f"]) == pytest.approx(last.hierarchical.f, rel=1e-5)
    assert len(pairs) == 10 * 5  # five rungs, five scores
    first = comparison.pairs[0]
    assert (pairs[0]["first"], pairs[0]["second"]) == (first.first, first.second)
    found = first.differences[pairs[0]["score"]]
    assert float(pairs[0]["difference"]) == pytest.approx(found.value, rel=1e-4)
    assert pairs[0]["verdict"] == found.verdict
    assert [row["rule"] for row in rules] == [effect.rule for effect in comparison.rules] != []
    metrics = json.loads(paths.metrics.read_text("utf-8"))
    assert len(metrics["pairs"]) == 10
    assert metrics["fit"]["losses"][0]["member"] == "needed"
    assert metrics["rules"][0]["rule"] == "count"


def test_members_stand_by_what_is_lost_without_them() -> None:
    fit = fit_evidence(EVIDENCE)
    table = member_table(fit)
    assert table is not None
    assert [(row.member, row.spare) for row in table.rows] == [("needed", False), ("spare", True)]
    assert table.rows[0].macro.verdict == "better"
    assert table.rows[1].macro.verdict == "no significant difference"
    assert fit.likeness is not None
    ((_, first), (_, second)) = likeness_rows(fit.likeness)
    assert first[0] == second[1] == ("", "", 0)
    assert first[1] == ("12.0%", "\N{EN DASH}", 45)


def test_tuning_is_told_in_words() -> None:
    fit = fit_evidence(EVIDENCE)
    assert [trial.pruned for trial in fit.trials] == [False, True]
    assert math.isnan(fit.trials[1].value)
    assert importance_rows(fit) == (("rate", "80%", 100.0), ("depth", "20%", 25.0))
    assert fit.worth is not None
    assert worth_sentence(fit.worth, kept=fit.kept) == (
        "On images that no trial saw: default 0.610, tuned 0.630, difference +0.020 "
        "(\N{MINUS SIGN}0.010 to +0.050): no significant difference. The defaults were kept."
    )


def test_bundles_that_remember_less_still_make_a_report() -> None:
    assert fit_evidence({"tuning": None}) == FitEvidence()
    old = fit_evidence({"tuning": {"history": [0.5, None, 0.7]}})
    assert [trial.number for trial in old.trials] == [0, 1, 2]
    assert (old.worth, old.losses, old.likeness) == (None, (), None)
    assert fit_evidence({"diversity": {"members": ["one"]}}).likeness is None


def test_calibrated_rungs_stand_beside_their_raw_ones(
    make_comparison: Callable[..., Comparison],
) -> None:
    comparison = make_comparison()
    (found,) = calibrations(comparison)
    raw = comparison.rung("first @ published").probabilities
    assert found.title == "single:first"
    assert f"classwise ECE {raw.classwise_ece:.4f} before" in found.words
    assert found.picture.count("<circle") >= 10


def test_steps_begin_at_the_best_single_tagger(
    make_comparison: Callable[..., Comparison],
) -> None:
    comparison = make_comparison()
    rows = panels(comparison)[0].rows
    assert [row.step is None for row in rows] == [True, True, True, False, False]
    dots = [row.mark.dot for row in rows if row.mark]
    assert len(dots) == 5
    stack, decoded = rows[3].step, rows[4].step
    assert stack is not None
    assert decoded is not None
    assert (stack.left, stack.left + stack.width) == pytest.approx((max(dots[:3]), dots[3]))
    assert {decoded.left, decoded.left + decoded.width} == {min(dots[3:]), max(dots[3:])}
    assert decoded.style == ("up" if dots[4] >= dots[3] else "down")


def test_all_figures_show_hierarchy_and_both_vocabularies(
    make_comparison: Callable[..., Comparison],
) -> None:
    tables = full_tables(make_comparison())
    row = {name for rows in tables for name in rows[-1]}
    assert max(len(rows[-1]) for rows in tables) <= 6  # the rung and five figures: a phone's width
    assert {"hP", "hR", "hF1", "macro-F1, shared tags", "LRAP", "Classwise ECE"} <= row
    plain = full_tables(make_comparison(rules=None))
    assert not any("hP" in rows[-1] for rows in plain)


def test_seeds_are_compared_in_words(make_comparison: Callable[..., Comparison]) -> None:
    text = stability_sentence(make_comparison())
    spread = re.search(r"at most ([\d.]+); the verdicts agree in (\d+) of 20", text)
    assert spread is not None
    assert 0 < float(spread[1]) < 0.1
    assert int(spread[2]) >= 15
    one = load_settings().compare.model_copy(update={"resamples": 100, "seeds": 1})
    assert stability_sentence(make_comparison(settings=one)) == ""


def test_rules_show_what_they_did(make_comparison: Callable[..., Comparison]) -> None:
    comparison = make_comparison()
    (row,) = rule_rows(comparison)
    changes = comparison.changes
    assert changes is not None
    assert row.rule == "count"
    assert row.counts[1:3] == (changes.removed_right, changes.removed_wrong)
    assert row.recall.startswith("\N{MINUS SIGN}")


def test_hostile_names_of_members_and_rules_stay_text(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    comparison = make_comparison()
    comparison = replace(
        comparison, rules=tuple(replace(effect, rule=evil) for effect in comparison.rules)
    )
    evidence = json.loads(json.dumps(EVIDENCE).replace('"needed"', json.dumps(evil)))
    evidence["tuning"]["importances"] = {evil: 1.0}
    extra = ReportExtra(fit=fit_evidence(evidence))
    paths = write_report(comparison, tmp_path, pictures=lambda _: None, extra=extra)
    text = paths.html.read_text("utf-8")
    assert "<img src=x" not in text
    assert text.count("&lt;/script&gt;") >= 4


def test_the_frontier_is_drawn_with_the_share_in_use_ringed() -> None:
    frontier = fit_evidence(EVIDENCE).frontier
    assert frontier is not None
    assert frontier.used == frontier.points[1]
    assert math.isnan(frontier.one_threshold.macro_share)
    picture = str(frontier_figure(frontier))
    dots = re.findall(r'<circle class="(\w+)" cx="([\d.]+)" cy="([\d.]+)"', picture)
    at = {style: (float(x), float(y)) for style, x, y in dots}
    assert at["ring"] == at["ours"]  # the last dot is that of the larger share
    first = next((float(x), float(y)) for style, x, y in dots if style == "ours")
    assert at["ours"][0] > first[0]  # more macro to the right
    assert at["ours"][1] > first[1]  # less micro below
    assert at["rival"][1] < first[1]
    assert fit_evidence({}).frontier is None


def test_a_cascade_is_drawn_with_the_intervals_of_what_it_loses(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    found = fit_evidence(EVIDENCE).cascade
    assert found is not None
    assert found.order == (("needed", 2.0), ("spare", 6.0))
    assert found.whole_ms == pytest.approx(8)
    assert found.some_rows == found.rows
    for average, picture in cascade_figures(found):
        titles = re.findall(r"<title>([^<]+)</title>", str(picture))
        own = {"micro": "0.6000, 0.5500 to 0.6500", "macro": "0.3000, 0.1000 to 0.5100"}[average]
        assert titles[0] == f"25% of the cost: {own}"
        dots = [float(x) for x in re.findall(r'<circle class="ours" cx="([\d.]+)"', str(picture))]
        spans = [float(x) for x in re.findall(r'<path class="span" d="M([\d.]+)', str(picture))]
        assert dots == spans
        assert dots[0] < dots[1]
    extra = ReportExtra(fit=fit_evidence(EVIDENCE))
    paths = write_report(make_comparison(), tmp_path, pictures=lambda _: None, extra=extra)
    text = paths.html.read_text("utf-8")
    assert "In turn: needed (2 ms), spare (6 ms)." in text
    assert 'href="#cascade"' in text
    assert "On the images compared here" not in text
    here = (replace(found.rows[0], micro_f=0.6123), *found.rows[1:])
    both = replace(extra, cascade=here)
    paths = write_report(make_comparison(), tmp_path / "b", pictures=lambda _: None, extra=both)
    text = paths.html.read_text("utf-8")
    assert (
        text.index("On the images compared here")
        < text.index("0.6123")
        < text.index("Out of fold when the stack was fitted")
    )
    assert replace(both, fit=fit_evidence({})).cascades == ()
    assert fit_evidence({"cascade": None}).cascade is None
    bare = write_report(make_comparison(), tmp_path / "bare", pictures=lambda _: None)
    assert 'id="cascade"' not in bare.html.read_text("utf-8")
