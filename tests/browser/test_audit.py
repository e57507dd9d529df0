"""The page of an audit in a browser: whole on a phone and a desk, dark and light, alone."""

from collections.abc import Callable
from typing import Any

import pytest

from tagstack.ensemble.audit.page import render_page
from tests.ensemble.audit.test_page import HOSTILE, audit

Visit = Callable[..., Any]  # the fixture of conftest.py


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return where a page with every section and with hostile, long names is."""
    page = tmp_path_factory.mktemp("audit") / "audit.html"
    page.write_text(render_page(audit(6), {"bundle": HOSTILE, "taggers": "very_long_" * 30}))
    return page.as_uri()


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
)
def test_it_is_whole_and_asks_nobody_for_anything(
    visit: Visit, address: str, width: int, scheme: str
) -> None:
    seen = visit(address, (width, 844), scheme)
    assert seen.errors == []
    assert seen.requests == [address]
    assert not seen.is_too_wide()
    dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb() ")
    assert (sum(map(int, dark.split(",")[:3])) < 3 * 128) == (scheme == "dark")
    for section in ("changes", "slices", "disparities", "thresholds", "probes", "left-out",
                    "dropped", "companions", "method"):  # fmt: skip
        seen.page.click(f'nav a[href="#{section}"]')
        assert seen.page.is_visible(f"#{section} h2")
    assert "</style><script>alert(1)</script>" in seen.text("#slices")


def test_on_a_phone_each_figure_is_named_beside_it(visit: Visit, address: str) -> None:
    seen = visit(address, (390, 844))
    assert seen.page.is_visible("#slices tbody .name >> nth=0")
    named = "getComputedStyle(document.querySelector('#probes td[data-name]'), '::before').content"
    assert "by" in seen.page.evaluate(named)
    wide = visit(address, (1280, 900))
    assert not wide.page.is_visible("#slices tbody .name >> nth=0")
