import base64
import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tagstack.ensemble.comparison.comparing import Comparison
from tagstack.ensemble.report.data import page_data
from tagstack.ensemble.report.figures import axis_over
from tagstack.ensemble.report.fit_evidence import FitEvidence, TrialEvidence
from tagstack.ensemble.report.words import headline, signed
from tagstack.ensemble.report.writing import ReportExtra, ReportPaths, cell, page, write_report
from tagstack.meta.metrics.bootstrap import Difference

HOSTILE = ("<o>_<o>", ";d", "</script>", "<img src=x onerror=alert(1)>", "a|b", "&amp;", "'\"`")


def write(comparison: Comparison, out: Path, **options: Any) -> ReportPaths:
    return write_report(
        comparison, out, pictures=options.pop("pictures", lambda _: None), **options
    )


class _Page(HTMLParser):
    """Collects what a browser would load or run, and the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.scripts = 0
        self.handlers: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action"):
                self.loaded.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "id":
                self.ids.append(value or "")


def test_files_are_written_and_agree(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    comparison = make_comparison(rules=None)
    paths = write(comparison, tmp_path, extra=ReportExtra(provenance={"bundle": "abc"}))
    metrics = json.loads(paths.metrics.read_text("utf-8"))
    assert metrics["provenance"] == {"bundle": "abc"}
    rung = metrics["rungs"][-1]
    ours = comparison.rungs[-1].scores["all"]["macro_f"]
    assert rung["scores"]["all"]["macro_f"]["value"] == ours.value
    assert metrics["rungs"][0]["contradictions"] is None  # NaN is null
    rows = list(csv.DictReader(io.StringIO(paths.tags.read_text("utf-8"))))
    assert [row["tag"] for row in rows] == list(comparison.tags.tag)
    assert float(rows[0]["f"]) == pytest.approx(comparison.tags.f[0], rel=1e-5)
    text = paths.markdown.read_text("utf-8")
    assert f"| Stack + decoder | {ours.value:.3f} |" in text
    assert "bundle: abc" in text


def test_the_page_is_one_file_that_loads_nothing(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    text = write(make_comparison(), tmp_path).html.read_text("utf-8")
    found = _Page()
    found.feed(text)
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in found.loaded)
    assert found.scripts == 2
    assert len(found.ids) == len(set(found.ids))
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)


def test_the_same_comparison_gives_the_same_bytes(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    one, two = (write(make_comparison(seed=0), tmp_path / name) for name in ("one", "two"))
    for first, second in zip(vars(one).values(), vars(two).values(), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_tags_and_file_names_cannot_become_markup(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    images = tuple(f"{i}</script><script>alert({i})</script>.png" for i in range(120))
    comparison = make_comparison(tags=HOSTILE, images=images, group="<b>")
    extra = ReportExtra(title="<i>t</i>", provenance={"<k>": "</script>"}, notices=("<u>n",))
    paths = write(comparison, tmp_path, extra=extra)
    text = paths.html.read_text("utf-8")
    found = _Page()
    found.feed(text)
    assert found.scripts == 2
    assert found.handlers == []
    for markup in ("<o>", "<img src=x", "<script>alert", "<i>t", "<k>", "<u>n", '<b>"'):
        assert markup not in text
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["tag"] == list(HOSTILE)
    rows = list(csv.reader(io.StringIO(paths.tags.read_text("utf-8"))))
    assert [row[0] for row in rows[1:]] == list(HOSTILE)


def test_names_that_are_no_utf8_can_be_written(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    images = tuple(f"{i:03d}\udcff.png" for i in range(120))
    paths = write(make_comparison(images=images), tmp_path)
    assert "\ufffd.png" in paths.html.read_text("utf-8")
    assert "\ufffd.png" in paths.metrics.read_text("utf-8")


def test_worst_images_carry_their_pictures(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    picture = tmp_path / "wide.png"
    Image.new("RGBA", (640, 320), (200, 30, 30, 128)).save(picture)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    comparison = make_comparison()
    worst = [image.image for image in comparison.worst]
    files = {worst[0]: picture, worst[1]: broken, worst[2]: tmp_path / "gone.png"}
    text = write(comparison, tmp_path / "out", pictures=files.get).html.read_text("utf-8")
    uris = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    assert len(uris) == 1
    assert text.count("no picture") >= len(worst) - 1
    small = Image.open(io.BytesIO(base64.b64decode(uris[0])))
    assert small.size == (160, 80)


@pytest.mark.parametrize(("kept", "rival"), [((2,), ""), ((2, 3), "single:second"), ((3, 4), "")])
def test_a_short_ladder_still_gives_a_page(
    make_comparison: Callable[..., Comparison], kept: tuple[int, ...], rival: str
) -> None:
    full = make_comparison()
    rungs = tuple(full.rungs[at] for at in kept)
    nothing: dict[str, Any] = {"best_single": "", "changes": None, "worst": (), "confusions": ()}
    names = {rung.name for rung in rungs}
    nothing["pairs"] = tuple(pair for pair in full.pairs if {pair.first, pair.second} <= names)
    short = dataclasses.replace(full, rungs=rungs, reference=rungs[-1].name, rival=rival, **nothing)
    text = page(short, pictures=lambda _: None, extra=ReportExtra())
    assert rungs[-1].title in text
    assert ("nothing to compare it with" in text) == (rival == "")


def test_tuning_trials_are_drawn_with_the_best_so_far(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    values = (0.5, float("nan"), 0.4, 0.6)
    trials = tuple(TrialEvidence(number=i, value=v, pruned=False) for i, v in enumerate(values))
    extra = ReportExtra(fit=FitEvidence(trials=trials))
    text = write(make_comparison(), tmp_path, extra=extra).html.read_text("utf-8")
    figure = text[text.index("Value of each tuning trial") :]
    dots = re.search(r'class="dots even" d="([^"]*)"', figure)
    line = re.search(r'class="line ours" d="([^"]*)"', figure)
    assert dots is not None
    assert line is not None
    assert dots[1].count("M") == 3
    heights = [float(point.split(" ")[1]) for point in line[1][1:].split("L")]
    assert heights[0] == heights[1] > heights[2]  # up is smaller


def test_the_headline_names_what_is_surely_better_and_what_it_costs(
    make_comparison: Callable[..., Comparison],
) -> None:
    comparison = make_comparison()
    ours, published = "stack + decoder", "first @ published"
    assert headline(comparison).startswith("Use Stack: over the best tagger as published (first)")
    better = Difference(value=0.2, low=0.1, high=0.3, verdict="better")
    worse = Difference(value=-0.2, low=-0.3, high=-0.1, verdict="worse")
    told = {(published, ours): better, ("stack", ours): worse}
    turned = tuple(
        dataclasses.replace(pair, differences=dict.fromkeys(pair.differences, told[names]))
        if (names := (pair.first, pair.second)) in told
        else pair
        for pair in comparison.pairs
    )
    other = dataclasses.replace(comparison, pairs=turned)
    assert headline(other).startswith("Use first @ published: ")
    assert other.lead(ours, published)["macro_f"].verdict == "worse"


def test_numbers_in_words() -> None:
    assert [signed(v) for v in (0.0123, -0.0123, -0.0001)] == ["+0.012", "\u22120.012", "0.000"]
    assert signed(float("nan")) == "\u2013"
    assert cell("a|b <o>_<o>\n") == r"a\|b \<o\>\_\<o\>"


def test_axes_cover_their_values_with_round_ticks() -> None:
    axis = axis_over([0.31, 0.58, float("nan")])
    assert 0 < axis.percent(0.31) < axis.percent(0.58) < 100
    assert 3 <= len(axis.ticks) <= 8
    assert all(tick == pytest.approx(round(tick, 2)) for tick in axis.ticks)
    assert axis_over([]).percent(0.5) == pytest.approx(50, abs=0.1)


def test_undefined_values_do_not_break_the_page(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    comparison = make_comparison(seed=0)  # changed below
    comparison.tags.threshold[:] = np.inf
    comparison.tags.ap[:] = np.nan
    text = write(comparison, tmp_path).html.read_text("utf-8")
    assert "NaN" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert ">nan<" not in text


def test_of_very_many_tags_the_page_lists_those_that_are_labelled_or_given(
    make_comparison: Callable[..., Comparison], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, silent = make_comparison(), 1
    table, curves = comparison.tags, comparison.curves
    n_points = np.diff(curves.indptr)
    kept = np.repeat(np.arange(len(n_points)) != silent, n_points)
    n_points[silent] = 0
    no_curve = replace(
        curves,
        indptr=np.concatenate([[0], np.cumsum(n_points)]),
        recall=curves.recall[kept],
        precision=curves.precision[kept],
        proba=curves.proba[kept],
    )
    nothing = np.arange(len(table.tag)) != silent
    comparison = replace(
        comparison,
        curves=no_curve,
        rival_curves=no_curve,
        tags=replace(table, positives=table.positives * nothing, decided=table.decided * nothing),
    )
    whole: Any = page_data(comparison)
    assert whole["tag"] == list(table.tag)
    monkeypatch.setattr("tagstack.ensemble.report.data._MOST_TAGS", 1)
    listed: Any = page_data(comparison)
    others = [tag for tag in table.tag if tag != table.tag[silent]]
    assert listed["tag"] == others
    assert len(listed["curves"][0]["indptr"]) == len(others) + 1
    assert listed["curves"][0]["points"] == whole["curves"][0]["points"]
    assert listed["f"] == [f for i, f in enumerate(whole["f"]) if i != silent]
    text = write(comparison, tmp_path).html.read_text("utf-8")
    assert f"Listed are the {len(others)} tags that are labelled or given here." in text
