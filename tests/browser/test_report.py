"""The comparison's page in a browser: whole at every size, alone, searched and sorted."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.configs.settings import load_settings
from tagstack.ensemble.report.fit_evidence import fit_evidence
from tagstack.ensemble.report.writing import ReportExtra, write_report

Visit = Callable[..., Any]  # the fixture of conftest.py
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
HOSTILE = ("<o>_<o>", ";d", "</script>", "<img src=x onerror=alert(1)>", "a|b", "&amp;", "'\"`")


@pytest.fixture
def address(once: Callable[..., Path], make_comparison: Callable[..., Any]) -> str:
    """Return where a small report is."""

    def make(folder: Path) -> None:
        write_report(make_comparison(), folder / "out", pictures=lambda _: None)

    return (once("report", make) / "out/report.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_read_by_everybody(
    visit: Visit, make_comparison: Callable[..., Any], tmp_path: Path, size: str, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    names = [f"tagger_{n}" for n in range(4)]
    apart = np.array([[abs(a - b) / 3 for a in range(4)] for b in range(4)])  # every shade
    alike = {"members": names, "disagreement": apart.tolist(), "q_statistic": apart.tolist()}
    extra = ReportExtra(fit=fit_evidence({"diversity": alike}))
    comparison = make_comparison()
    assert comparison.confusions
    path = write_report(comparison, tmp_path, pictures=lambda _: None, extra=extra).html
    seen = visit(path.as_uri(), SIZES[size], scheme)
    seen.page.wait_for_selector("[data-ready=true]")
    assert seen.page.locator(".likeness td small").count()
    found = axe.run(seen.page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_whole_and_asks_nobody_for_anything(
    visit: Visit, address: str, size: str, scheme: str
) -> None:
    seen = visit(address, SIZES[size], scheme)
    seen.page.wait_for_selector("[data-ready=true]")
    seen.page.mouse.wheel(0, 20_000)
    assert seen.errors == []
    assert seen.requests == [address]
    assert not seen.is_too_wide()
    dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb() ")
    assert (sum(map(int, dark.split(",")[:3])) < 3 * 128) == (scheme == "dark")


def test_the_table_is_searched_and_sorted(visit: Visit, address: str) -> None:
    seen = visit(address)
    page = seen.page
    assert seen.text("#found") == "12 of 12 tags"
    page.fill("#search", "TAG_00 3")
    assert seen.text("#found") == "1 of 12 tags"
    assert column(page, 1) == ["tag_003"]
    page.fill("#search", "")
    page.click("button[aria-label='Sort by F1']")
    falling = [float(text) for text in column(page, 7)]
    page.click("button[aria-label='Sort by F1']")
    rising = [float(text) for text in column(page, 7)]
    assert len(rising) == 12
    assert rising == sorted(rising)
    assert falling == rising[::-1]
    assert seen.errors == []


def test_the_address_keeps_what_was_chosen(visit: Visit, address: str) -> None:
    page = visit(address).page
    page.fill("#search", "tag_00 3")
    page.click("#theme")
    page.click("[data-metric=micro_ap]")
    again = visit(page.url)
    assert again.text("#found") == "1 of 12 tags"
    assert again.page.get_attribute("html", "data-theme") == "dark"
    assert again.page.get_attribute("[data-metric=micro_ap]", "aria-pressed") == "true"


def test_a_tag_of_thousands_of_letters_does_not_bury_the_others(
    visit: Visit, make_comparison: Callable[..., Any], tmp_path: Path
) -> None:
    tags = ("x" * 5000, *(f"tag_{n}" for n in range(11)))
    path = write_report(make_comparison(tags=tags), tmp_path, pictures=lambda _: None).html
    for size in SIZES.values():
        seen = visit(path.as_uri(), size)
        seen.page.wait_for_selector("[data-ready=true]")
        heights = seen.page.evaluate(
            "() => [...document.querySelectorAll('.tag')].map((tag) => tag.offsetHeight)"
        )
        assert 0 < max(heights) < 100
        assert not seen.is_too_wide()


def test_thousands_of_tags_make_few_rows_and_hostile_tags_stay_text(
    visit: Visit, make_comparison: Callable[..., Any], tmp_path: Path
) -> None:
    tags = (*HOSTILE, *(f"tag_{j:05d}" for j in range(2493)))
    images = tuple(f"{i}.png" for i in range(30))
    settings = load_settings().compare.model_copy(update={"resamples": 100})
    comparison = make_comparison(tags=tags, images=images, settings=settings, slices={}, rules=None)
    html = write_report(comparison, tmp_path / "out", pictures=lambda _: None).html
    assert html.stat().st_size < 2_000_000
    seen = visit(f"{html.as_uri()}#sort=tag&dir=asc")
    assert seen.text("#found") == "2,500 of 2,500 tags"
    assert 10 < len(column(seen.page, 1)) < 60
    seen.page.fill("#search", "<o>")
    assert column(seen.page, 1) == ["<o>_<o>"]
    assert seen.errors == []


def test_every_difference_in_the_matrix_is_one_of_the_pairs(
    visit: Visit, make_comparison: Callable[..., Any], tmp_path: Path
) -> None:
    comparison = make_comparison()
    paths = write_report(comparison, tmp_path, pictures=lambda _: None)
    shown = visit(f"{paths.html.as_uri()}#pairs=micro_ap").page.content()
    table = shown[shown.index('class="matrix pairs"') :]
    table = table[: table.index("</table>")]
    titles = re.findall(r'<td class="(\w+)" title="([^"]*)">', table)
    assert len(titles) == 20
    pair = comparison.pairs[1]
    value = pair.differences["micro_ap"].value
    one, two = (comparison.rung(name).title for name in (pair.first, pair.second))
    wanted = f"{one} minus {two}: {'+' if value > 0 else chr(0x2212)}{abs(value):.3f}"
    assert any(title.startswith(wanted) for _, title in titles)
    verdicts = [p.differences["micro_ap"].verdict for p in comparison.pairs]
    decided = sum(verdict in ("better", "worse") for verdict in verdicts)
    assert sum(style in ("better", "worse") for style, _ in titles) == 2 * decided
    assert np.mean([style == "better" for style, _ in titles]) == decided / 20


def column(page: Any, number: int) -> list[str]:
    """Return the texts of one column in the order that a reader sees."""
    cells = page.locator(f"#body [role=row] > :nth-child({number})").all_inner_texts()
    return [str(text) for text in cells]
