"""Pages in Debian's Chromium, as a visitor has them: everything that goes wrong is kept."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


def _of_the_ensemble() -> Any:
    """Return the module of the ensemble's fixtures."""
    source = Path(__file__).parents[1] / "ensemble" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tagstack_ensemble_fixtures", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_comparison = _of_the_ensemble().make_comparison


@dataclass
class Visit:
    """A page that was opened, and what went wrong on it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        """Return what a visitor reads there."""
        return str(self.page.inner_text(selector))

    def is_too_wide(self) -> bool:
        """Return whether the page scrolls sideways."""
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(self.page.evaluate(wide))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a running browser; where there is none, skip, or fail where one is required.

    It ends with its module: as long as it runs, its event loop does too, and no other test of the
    process could run one of its own.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        say = pytest.fail if os.environ.get("TAGSTACK_BROWSER") == "required" else pytest.skip
        say("there is no Chromium; on Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as running:
        # As root, as in containers, Chromium starts without its sandbox alone.
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Return an opener of pages: address, size of the window, light or dark."""
    contexts = []

    def opened(address: str, size: tuple[int, int] = (1280, 900), scheme: str = "light") -> Visit:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        contexts.append(context)
        visited = Visit(context.new_page())
        page = visited.page
        page.on("console", lambda said: visited.errors.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: visited.errors.append(str(error)))
        page.on("request", lambda request: visited.requests.append(request.url))
        page.goto(address)
        return visited

    yield opened
    for context in contexts:
        context.close()
