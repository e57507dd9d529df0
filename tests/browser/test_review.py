"""The review page in a browser: every key, undo, reload, two tabs, hostile names, any width."""

import importlib.util
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra serve")

import uvicorn

from tagstack.configs.settings import load_settings
from tagstack.ensemble.feedback.store import FILE, DecisionStore
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.serving.guard import Access
from tagstack.ensemble.serving.listening import bound
from tagstack.ensemble.tasks.review import ReviewRequest, opened_review

Visit = Callable[..., Any]  # the fixture of conftest.py
MARKUP = "<img src=x onerror=document.title='taken'>"
HOSTILE = os.fsdecode(b"\xff" + MARKUP.encode() + b".png")


def _small() -> Any:
    """Return the fixture of the command line's tests: pictures, scores and a quick bundle."""
    source = Path(__file__).parents[1] / "cli" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tagstack_cli_fixtures", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module.small


small = _small()


@pytest.fixture
def served(small: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return a page's address and the decisions behind it; one picture has a hostile name."""
    from tagstack.ensemble.review.running import guarded

    images = tmp_path / "images"
    images.mkdir()
    for number in range(12):
        shutil.copy(small / f"images/doll_{number:06d}.png", images / f"doll_{number:06d}.png")
    (images / "doll_000000.png").rename(images / HOSTILE)
    request = ReviewRequest(bundle=small / "bundle", images=images, out=tmp_path / "review")
    settings = load_settings(changes={"review": {"probes": 0.0, "judging": 0.2}})
    with opened_review(request, settings, Silent()) as desk, bound("127.0.0.1", 0) as listener:
        app = guarded(desk, settings, Access(), "ann")
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started or desk.images_ready < 12:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", tmp_path / "review" / FILE
        server.should_exit = True
        thread.join()


def until(page: Any, condition: str) -> None:
    """Wait for a condition; the page's policy forbids what Playwright's own waiting needs."""
    ends = time.monotonic() + 30
    while not page.evaluate(f"() => Boolean({condition})"):
        assert time.monotonic() < ends, condition
        page.wait_for_timeout(20)


def ready(page: Any, view: str) -> None:
    page.wait_for_selector(f"html[data-view={view}]")


def question(page: Any) -> tuple[str, str]:
    return page.inner_text("#question"), page.get_attribute("#card-image", "data-key")


def leave(page: Any) -> None:
    """Leave a field: the first Escape may only close its list of suggestions."""
    while page.evaluate("() => document.activeElement.matches('input, select')"):
        page.keyboard.press("Escape")


def press(page: Any, key: str) -> tuple[str, str]:
    """Press an answering key, wait until it is kept, and return what is asked now."""
    before = page.get_attribute("html", "data-saved") or "0"
    page.keyboard.press(key)
    until(page, f"Number(document.documentElement.dataset.saved) > {before}")
    return question(page)


def said(path: Path) -> list[tuple[str, str, str]]:
    with DecisionStore(path) as store:
        return sorted((item.who, item.tag, item.answer) for item in store.standing())


def test_every_key_of_the_cards(visit: Visit, served: tuple[str, Path]) -> None:
    address, decisions = served
    seen = visit(f"{address}#view=cards&order=missing")
    page = seen.page
    ready(page, "cards")
    first = question(page)
    second = press(page, "y")
    third = press(page, "N")
    fourth = press(page, "s")
    assert len({first, second, third, fourth}) == 4
    tags = [asked[0].rstrip("?") for asked in (first, second, third)]
    wanted = sorted(("ann", tag, one) for tag, one in zip(tags, ("yes", "no", "skip"), strict=True))
    assert said(decisions) == wanted
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert question(page) == second
    assert page.get_attribute("#no", "aria-pressed") == "true"
    press(page, "y")  # a second thought
    assert question(page) == third
    page.keyboard.press("ArrowRight")
    assert question(page) == fourth
    assert ("ann", tags[1], "yes") in said(decisions)
    page.keyboard.press("u")
    until(page, "document.querySelector('#status').textContent.startsWith('Taken back')")
    assert question(page) == third
    assert len(said(decisions)) == 2
    page.keyboard.press("?")
    assert page.is_visible("dialog")
    page.keyboard.press("y")  # no answer while the help is open
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("smile")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#question').textContent === 'smile?'")
    leave(page)
    page.keyboard.press("p")
    ready(page, "picture")
    assert len(said(decisions)) == 2
    assert seen.errors == []
    assert all(url.startswith(address) for url in seen.requests)


def test_a_reload_goes_on_where_it_was_and_two_tabs_ask_different_things(
    visit: Visit, served: tuple[str, Path]
) -> None:
    address, decisions = served
    one, two = (visit(f"{address}#view=cards&order=wrong") for _ in range(2))
    for seen in (one, two):
        ready(seen.page, "cards")
    assert question(one.page) != question(two.page)
    two.page.fill("#who", "bob")
    leave(two.page)
    asked = {question(one.page), question(two.page)}
    asked |= {press(one.page, "y"), press(two.page, "n")}
    assert len(asked) == 4
    before = question(one.page)
    one.page.reload()
    ready(one.page, "cards")
    assert question(one.page) == before
    # Answers that the server has not got yet outlive the page that gave them.
    one.page.route("**/api/answer", lambda route: route.abort())
    one.page.click("#no")
    waits = "document.querySelector('#status').textContent.includes('not saved yet')"
    until(one.page, waits)
    one.page.reload()
    until(one.page, waits)
    one.page.unroute("**/api/answer")
    until(one.page, "document.documentElement.dataset.saved")
    assert question(one.page) != before
    who_said_what = sorted((who, answer) for who, _, answer in said(decisions))
    assert who_said_what == [("ann", "no"), ("ann", "yes"), ("bob", "no")]
    one.page.keyboard.press("u")  # after a reload it is the server that knows the last one
    until(one.page, "document.querySelector('#status').textContent.includes('no to')")
    who_said_what = sorted((who, answer) for who, _, answer in said(decisions))
    assert who_said_what == [("ann", "yes"), ("bob", "no")]


def test_a_picture_by_keyboard_with_rules_and_hostile_names(
    visit: Visit, served: tuple[str, Path]
) -> None:
    address, decisions = served
    seen = visit(f"{address}#view=picture")
    page = seen.page
    ready(page, "picture")
    for _ in range(11):
        if MARKUP in page.inner_text("#picture-name"):
            break
        before = page.inner_text("#position")
        page.keyboard.press("ArrowRight")
        until(page, f"document.querySelector('#position').textContent !== {before!r}")
    assert MARKUP in page.inner_text("#picture-name")
    new = "1boy" if page.query_selector("#tags .there[data-tag='1girl']") else "1girl"
    rival = {"1boy": "1girl", "1girl": "1boy"}[new]
    n_before = len(page.query_selector_all("#tags .there"))
    page.keyboard.press("/")
    page.keyboard.type(new)
    page.wait_for_selector("#add-list:not([hidden]) li")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#tags .there[data-tag='{new}']")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.wait_for_selector("#tags .why .bar")
    page.keyboard.press("ArrowDown")
    first = page.evaluate("document.activeElement.dataset.tag")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#tags button[data-tag='{first}'][aria-pressed=false]")
    assert not page.query_selector(f"#tags .there[data-tag='{rival}']")
    for _ in range(2):
        left = len(said(decisions))
        page.keyboard.press("u")
        until(page, "document.querySelector('#status').textContent.includes('back')")
        while len(said(decisions)) == left:
            time.sleep(0.02)
    until(page, f"document.querySelectorAll('#tags .there').length === {n_before}")
    assert said(decisions) == []
    page.fill("#who", MARKUP)
    leave(page)
    page.click("#tags button >> nth=0")
    page.wait_for_selector("#tags .said")
    page.goto(f"{address}#view=done")
    ready(page, "done")
    assert MARKUP in page.inner_text("#latest")
    assert page.title() != "taken"
    assert seen.errors == []


@pytest.mark.parametrize("size", [(640, 450), (844, 390), (1280, 450), (390, 844), (1280, 800)])
def test_a_question_is_read_without_scrolling(
    visit: Visit, served: tuple[str, Path], size: tuple[int, int]
) -> None:
    """Also where the window is enlarged twice, or a phone lies on its side."""
    seen = visit(f"{served[0]}#view=cards", size)
    ready(seen.page, "cards")
    for selector in ("#question", "#card-image", "#yes", "#no", "#skip", "#undo"):
        assert seen.page.evaluate(
            """(selector) => {
                const own = document.querySelector(selector), box = own.getBoundingClientRect();
                const x = box.left + Math.min(9, box.width / 2);
                const at = (y) => document.elementFromPoint(x, y);
                const within = (y) => own === at(y) || own.contains(at(y));
                return box.height > 0 && within(box.top + 3) && within(box.bottom - 3);
            }""",
            selector,
        ), selector


@pytest.mark.parametrize(("size", "scheme"), [((390, 844), "dark"), ((1280, 800), "light")])
def test_every_view_is_whole_and_accessible(
    visit: Visit, served: tuple[str, Path], size: tuple[int, int], scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    seen = visit(served[0], size, scheme)
    for view in ("cards", "picture", "board", "done"):
        seen.page.goto(f"{served[0]}#view={view}")
        ready(seen.page, view)
        assert not seen.is_too_wide(), view
        found = axe.run(seen.page).response["violations"]
        assert [(one["id"], one["nodes"][0]["target"]) for one in found] == [], view
    seen.page.goto(f"{served[0]}#view=cards")
    ready(seen.page, "cards")
    place = seen.page.locator("#yes").bounding_box()
    seen.page.evaluate("""() => {
        window.moved = 0;
        const add = (list) => list.getEntries().forEach((one) => { window.moved += one.value; });
        new PerformanceObserver(add).observe({ type: "layout-shift" });
    }""")
    for _ in range(3):
        press(seen.page, "y")
        assert seen.page.locator("#yes").bounding_box() == place
    assert seen.page.evaluate("window.moved") < 0.01
    seen.page.goto(f"{served[0]}#view=board")
    ready(seen.page, "board")
    link = seen.page.locator("#board-rows a").first
    box, tag = link.bounding_box(), link.inner_text()
    assert box is not None
    assert box["x"] + box["width"] <= size[0]  # seen without scrolling sideways
    link.click()
    ready(seen.page, "cards")
    assert (seen.page.input_value("#only"), question(seen.page)[0]) == (tag, f"{tag}?")
    assert seen.errors == []
