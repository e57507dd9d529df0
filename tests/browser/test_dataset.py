"""The page of a training folder in a browser: whole at every size, alone, readable by machines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.dataset_stats import StatsRequest, count_pictures

Visit = Callable[..., Any]  # the fixture of conftest.py


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Return where the page of a folder with long and hostile names is."""
    root = tmp_path / "set"
    root.mkdir()
    picture = Image.radial_gradient("L").convert("RGB").crop((0, 0, 200, 160))
    for n, name in enumerate(("a" * 90, "<img src=x onerror=alert(1)>", "b")):
        picture.resize((200 - n, 160)).save(root / f"{name}.png")
        tags = (f"{'very_long_' * 12}tag", "</style><script>alert(1)</script>", *map(str, range(n)))
        (root / f"{name}.txt").write_text(", ".join(tags))
    page = tmp_path / "stats.html"
    count_pictures(StatsRequest(folder=root, out=page), load_settings(), Silent())
    return page.as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_is_whole_and_asks_nobody_for_anything(
    visit: Visit, address: str, width: int, scheme: str
) -> None:
    seen = visit(address, (width, 844), scheme)
    assert seen.errors == []
    assert [own for own in seen.requests if not own.startswith("data:")] == [address]
    assert not seen.is_too_wide()
    assert "3 pictures alike" in seen.text("#alike")
    assert "</style><script>alert(1)</script>" in seen.text("#tags")
