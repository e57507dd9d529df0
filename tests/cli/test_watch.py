"""The command ``watch``: one pass for cron, and what it says without its extra."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagstack.base_models.zoo.gallery import draw_gallery

Arguments = Callable[..., list[object]]


@pytest.fixture
def arguments(tmp_path: Path) -> Arguments:
    """Return the command for an empty folder, with a short wait."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "quick.toml").write_text("threads = 1\n[watch]\nsettle_seconds = 0.02\n")

    def made(*more: str) -> list[object]:
        return [
            "watch", tmp_path / "pictures", "--models", "doll_resnet", "--out", tmp_path / "out",
            "--config", tmp_path / "quick.toml", *more,
        ]  # fmt: skip

    return made


def test_once_has_the_exit_codes_of_tag(
    arguments: Arguments, tagstack: Any, tmp_path: Path
) -> None:
    empty = tagstack(*arguments("--once"))
    assert (empty.returncode, empty.stderr.count("Error")) == (0, 0)
    assert empty.stdout.endswith(" 0 tagged; 0 images have their tags.\n")
    draw_gallery(tmp_path / "pictures", n_images=2, seed=5)
    (tmp_path / "pictures/broken.png").write_bytes(b"no picture")
    for written in (2, 0):
        found = tagstack(*arguments("--once", "--json"))
        assert found.returncode == 3
        facts = json.loads(found.stdout)
        assert (facts["written"], facts["images"], facts["failures"]) == (written, 2, 1)
        assert facts["failed"][0]["image"] == "broken.png"
    shutil.rmtree(tmp_path / "pictures")
    gone = tagstack(*arguments("--once"))
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "is no folder" in gone.stderr


def test_without_its_extra_it_names_it(
    arguments: Arguments, tagstack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    ended = tagstack(*arguments())
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "pip install 'tagstack[watch]'" in ended.stderr
    assert tagstack(*arguments("--once")).returncode == 0
