"""The page of an audit: escaped, alone, and true to what was found."""

from dataclasses import replace

import pytest

from tagstack.ensemble.audit.companions import Companion
from tagstack.ensemble.audit.counts import FIGURES
from tagstack.ensemble.audit.history import FigureChange, FigureChanges
from tagstack.ensemble.audit.looks import Disparity, Look
from tagstack.ensemble.audit.page import render_page, tables_of
from tagstack.ensemble.audit.probes import Moved, MovedTag, Probes
from tagstack.ensemble.audit.refits import Refit
from tagstack.ensemble.audit.results import Audit, Pooled
from tagstack.ensemble.audit.shifts import Shift

HOSTILE = "</style><script>alert(1)</script>\x1b[2J"


def look(value: str, figure: str, difference: float, *, sure: bool) -> Look:
    return Look(
        kind="column", column="style", value=value, figure=figure, n_images=40, n_groups=20,
        here=0.5 + difference, elsewhere=0.5, difference=difference, low=difference - 0.1,
        high=difference + 0.1, q_value=0.01 if sure else float("nan"), sure=sure,
    )  # fmt: skip


def refit(left_out: str, without: str, value: str, difference: float) -> Refit:
    return Refit(
        left_out=left_out, without=without, kind="column", column="style", value=value,
        n_images=40, n_groups=20, n_fitted=60, before=0.5, after=0.5 + difference,
        difference=difference, low=difference - 0.05, high=difference + 0.05, q_value=0.01,
        verdict="better" if difference > 0 else "worse",
    )  # fmt: skip


def audit(n_slices: int = 2) -> Audit:
    """Return an audit whose slices are named by strangers."""
    names = [HOSTILE, *(f"s{i:03d}" for i in range(n_slices - 1))]
    return Audit(
        bundle="0123456789ab", n_images=80, n_groups=40, n_out_of_fold=10, thresholds="fit",
        confidence=0.95, false_discovery_rate=0.05, least_groups=10.0,
        overall=dict.fromkeys(FIGURES, 0.5),
        looks=tuple(
            look(name, figure, -0.2 if i == 0 else 0.01, sure=i == 0)
            for i, name in enumerate(names)
            for figure in FIGURES
        ),
        disparities=(
            Disparity(
                kind="column", column="style", figure="f1", most="s000", least=HOSTILE,
                highest=0.5, lowest=0.3, difference=0.2, low=-0.05, high=0.4,
            ),
        ),
        shifts=(
            Shift(
                kind="column", column="style", value=HOSTILE, n_images=40, n_groups=20, shift=0.5,
                shift_low=0.25, shift_high=1.0, common=0.0, in_use=0.5, before=0.5, after=0.6,
                difference=0.1, low=0.05, high=0.15, q_value=0.01, helps=True,
            ),
        ),
        pooled=(Pooled(kind="column", column="style", values=("tiny", HOSTILE)),),
        changes=FigureChanges(
            bundle="ba9876543210", thresholds="v1", n_images=70, n_relabelled=3, n_missing=14,
            found=(
                FigureChange(
                    kind="column", column="style", value=HOSTILE, figure="recall", n_images=40,
                    n_groups=20, before=0.5, after=0.4, difference=-0.1, low=-0.15, high=-0.05,
                    q_value=0.01, verdict="worse",
                ),
            ),
        ),
        companions=(
            Companion(
                by="stack", company=HOSTILE, tag="hat", n_wrong=4, n_images=9, rate=4 / 9,
                usual=0.1, ratio=4.4, low=2.0, high=7.0, q_value=0.01,
            ),
        ),
        n_pairs=12, asked=("stack", "doll"), notices=(HOSTILE,),
        probes=Probes(
            n_images=9, n_groups=8, n_seen=2, guises={"grey": "colour"}, n_tested=30,
            moved=(
                Moved(
                    guise="grey", by=HOSTILE, n_images=9, n_groups=8, tags_before=5.0,
                    tags_after=3.0, kept=0.5, kept_low=0.4, kept_high=0.6, before=0.7, after=0.5,
                    difference=-0.2, low=-0.3, high=-0.1, q_value=0.01, sure=True,
                ),
            ),
            tags=(
                MovedTag(
                    guise="grey", by="stack", tag=HOSTILE, before=7, after=1, both=1,
                    difference=-0.66, low=-0.8, high=-0.5, q_value=0.01,
                ),
            ),
        ),
        refits=(
            refit("value", HOSTILE, HOSTILE, -0.2), refit("member", HOSTILE, HOSTILE, 0.1),
        ),
    )  # fmt: skip


def test_names_from_outside_are_text_and_nothing_is_loaded() -> None:
    page = render_page(audit(), {"bundle": HOSTILE})
    assert "<script" not in page
    assert "\x1b" not in page
    assert page.count("&lt;script&gt;") >= 5
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert "default-src 'none'" in page


def test_only_what_is_sure_has_a_colour() -> None:
    first, second = (line for line in next(tables_of(audit())).lines)
    assert {cell.style for cell in first.cells} == {"worse", "better"}
    assert {cell.style for cell in second.cells} == {"even"}
    tagging = first.cells[FIGURES.index("tagging")]
    assert tagging.style == "better"  # nearer to as many as hold, though fewer


def test_of_many_slices_the_surest_are_shown_and_the_rest_counted() -> None:
    (table,) = tables_of(audit(80))
    assert table.left_out == 20
    assert table.lines[0].title == HOSTILE
    assert "20 more, less sure, are in slices.csv" in render_page(audit(80), {})


@pytest.mark.parametrize("found", [(), audit().companions])
def test_nothing_found_is_said(found: tuple[Companion, ...]) -> None:
    page = render_page(
        replace(
            audit(), looks=(), disparities=(), shifts=(), changes=None, companions=found,
            pooled=(), probes=None, refits=(),
        ),
        {},
    )  # fmt: skip
    assert "other guises" not in page
    assert "Without a tagger" not in page
    assert "parts these images or tags into two kinds" in page
    assert ("None that is sure, of 12 pairs" in page) == (not found)


def test_what_got_worse_since_the_last_audit_comes_first() -> None:
    page = render_page(audit(), {})
    assert "surely worse in 1 and better in 0 of 1 figures on the 70 images" in page
    assert "3 left out since their labels changed, 14 seen by one audit alone" in page
    assert page.index("What changed</h2>") < page.index("Slices</h2>")


def test_guises_unseen_kinds_and_taggers_left_out_stand_on_the_page() -> None:
    page = render_page(audit(), {})
    assert "2 of them the fit has seen" in page
    assert "<dt>grey</dt><dd>takes colour</dd>" in page
    assert page.count(">proposed<") == 2  # thresholds of a slice, and a slice without a tagger
    assert 'class="chip worse">worse' in page  # a kind that no model saw
