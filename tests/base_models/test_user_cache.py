"""Folders of the user's, and a user who has none: a number without a name, as in containers."""

from pathlib import Path

import pytest

from tagstack.base_models.taggers.own_folder import registry_folder
from tagstack.base_models.user_cache import cache_root


def test_what_is_named_first_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TAGSTACK_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/a")
    assert cache_root() == Path("/home/a/.cache/tagstack")
    assert registry_folder() == Path("/home/a/.local/share/tagstack/taggers")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_root() == Path("/caches/tagstack")
    monkeypatch.setenv("TAGSTACK_HOME", "/own")
    assert cache_root() == Path("/own/cache")
    assert registry_folder() == Path("/own/taggers")
    assert cache_root("named") == Path("named")


def test_without_a_home_nothing_is_there_and_nothing_can_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("TAGSTACK_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    for folder in (cache_root(), registry_folder()):
        with pytest.raises(OSError, match="Not a directory"):
            folder.mkdir(parents=True)
    assert not registry_folder().exists()
