"""The page of an experiment in a browser: whole at every size, and read by everybody."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tagstack.cli import app

Visit = Callable[..., Any]  # the fixture of conftest.py


def run(*words: object) -> None:
    found = CliRunner().invoke(app, [str(word) for word in ("experiment", *words)])
    assert found.exit_code == 0, found.output


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    root: Path = tmp_path_factory.mktemp("experiment")
    arms = ("--a", "note:old <b>way</b>", "--b", "note:new")
    run("start", root / "try", *arms, "--effect", 0.2, "--baseline", 0.5)
    table = root / "outcomes.csv"
    table.write_text("unit,outcome\n" + "".join(f"u{n},{n % 2}\n" for n in range(60)))
    run("record", root / "try", "--csv", table)
    run("status", root / "try", "--page", root / "try.html")
    return (root / "try.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_it_is_whole_and_read_by_everybody(
    visit: Visit, address: str, size: tuple[int, int], scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    seen = visit(address, size, scheme)
    assert seen.requests == [address]
    assert "old <b>way</b>" in seen.text("#arms")
    assert not seen.is_too_wide()
    found = axe.run(seen.page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    assert seen.errors == []
