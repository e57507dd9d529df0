"""How long a report's page takes to be usable in Chromium: loaded, drawn, its table searched.

    python benchmarks/page_speed.py REPORT/report.html [--runs 3] [--chromium /usr/bin/chromium]

Prints seconds of each run by the page's own clock: until everything is loaded, until the next frame
is drawn, and what a letter typed into the search field takes until the rows are there; and what the
page holds in JavaScript's heap. The page is read from the disk: no network is asked.
"""

import argparse
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

_FRAME = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))"


def usable(browser: Browser, page_file: Path) -> dict[str, float]:
    """Return what one visit took, in seconds, and the heap in MB."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(page_file.absolute().as_uri(), wait_until="load", timeout=600_000)
    loaded = page.evaluate("() => performance.now() / 1e3")
    page.evaluate(_FRAME)
    drawn = page.evaluate("() => performance.now() / 1e3")
    found = {"loaded": loaded, "drawn": drawn}
    search = page.query_selector("input[type=search]")
    if search is not None:
        page.evaluate("() => { window.began = performance.now() }")
        search.type("9")
        page.evaluate(_FRAME)
        found["searched"] = page.evaluate("() => (performance.now() - window.began) / 1e3")
    found["heap MB"] = page.evaluate("() => (performance.memory?.usedJSHeapSize ?? NaN) / 1e6")
    page.close()
    return found


def main() -> None:
    """Visit the page some times; print each visit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    print(f"{options.page.name}: {options.page.stat().st_size / 1e6:.1f} MB")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        for _ in range(options.runs):
            visit = usable(browser, options.page)
            print(", ".join(f"{name} {value:.2f}" for name, value in visit.items()), flush=True)
        browser.close()


if __name__ == "__main__":
    main()
