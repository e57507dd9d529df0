"""The folder of engines: private, and with a place for bad files."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from tagstack.base_models.runtimes.tensorrt.engine_cache import QUARANTINE, EngineCache
from tagstack.base_models.runtimes.tensorrt.engine_file import EngineHeader, StaleEngineError
from tagstack.base_models.user_cache import cache_root
from tagstack.configs.errors import TagstackError

PLAN = b"a plan"


def header(key: str = "key", plan: bytes = PLAN) -> EngineHeader:
    return EngineHeader(
        key=key,
        facts={"flavour": "trt"},
        tagger="net",
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        built={},
        seconds=0.0,
        made="now",
    )


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def test_it_is_made_for_its_owner_alone(cache: EngineCache) -> None:
    assert cache.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_wider_folder_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "wide"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(TagstackError, match=rf"mode {mode:04o}.*expected 0700.*chmod 700"):
        EngineCache(folder)


def test_a_folder_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(TagstackError, match=r"expected 0700 and yours"):
        EngineCache(tmp_path / "foreign")


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TagstackError, match=r"Cannot use .*Set score\.engines\.folder"):
        EngineCache(tmp_path / "file")


def test_written_read_tried(cache: EngineCache) -> None:
    assert cache.read("key") is None
    cache.write(header(), PLAN)
    assert cache.read("key") == (header(), PLAN)
    assert not cache.is_tried(header())
    cache.mark_tried(header())
    assert cache.is_tried(header())
    # Another plan under the same key has not been tried, and its report is not this one's.
    cache.report_path("key").write_text("{}")
    cache.write(header(plan=b"new"), b"new")
    assert not cache.is_tried(header(plan=b"new"))
    assert not cache.report_path("key").exists()


def test_quarantine_keeps_the_file_and_the_reason(cache: EngineCache) -> None:
    for number in range(2):
        cache.write(header(), PLAN)
        cache.mark_tried(header())
        place = cache.quarantine("key", "crashed")
        assert place == cache.folder / QUARANTINE / f"key-{number}.engine"
        assert cache.read("key") is None
        assert not cache.is_tried(header())
    states = [entry.state for entry in cache.entries()]
    assert states == ["quarantine: crashed"] * 2


def test_entries_say_what_each_file_is(cache: EngineCache) -> None:
    cache.write(header("a"), PLAN)
    cache.write(header("b"), PLAN)
    cache.mark_tried(header("b"))
    cache.path("c").write_bytes(b"junk")
    first, second, third = cache.entries()
    assert (first.state, second.state) == ("untried", "tried")
    assert third.header is None
    assert "no engine of tagstack" in third.state
    cache.remove(second)
    assert [entry.path.stem for entry in cache.entries()] == ["a", "c"]
    assert not list(cache.folder.glob("b.*"))


def test_a_damaged_note_counts_as_untried(cache: EngineCache) -> None:
    cache.write(header(), PLAN)
    cache.mark_tried(header())
    (cache.folder / "key.tried.json").write_text("[")
    assert not cache.is_tried(header())


def test_an_engine_under_a_foreign_name(cache: EngineCache) -> None:
    cache.write(header("a"), PLAN)
    cache.path("a").rename(cache.path("b"))
    with pytest.raises(StaleEngineError, match="made for"):
        cache.read("b")


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TAGSTACK_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root("") == tmp_path / "tagstack"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root("") == Path.home() / ".cache" / "tagstack"
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    assert cache_root("") == tmp_path / "home" / "cache"
    assert cache_root("/elsewhere") == Path("/elsewhere")


def test_the_reason_file_is_json(cache: EngineCache) -> None:
    cache.write(header(), PLAN)
    place = cache.quarantine("key", "why")
    assert json.loads(place.with_suffix(".reason.json").read_text()) == {"reason": "why"}
