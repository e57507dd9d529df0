"""An engine file: every damage is seen before TensorRT sees a byte."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagstack.base_models.runtimes.tensorrt.engine_file import (
    MAGIC,
    EngineHeader,
    StaleEngineError,
    read_engine,
    read_header,
    write_engine,
)

PLAN = bytes(range(256)) * 3
KEY = "k" * 64
HEADER = EngineHeader(
    key=KEY,
    facts={"tensorrt": "11.4.0", "gpu": {"name": "NVIDIA X"}},
    tagger="net",
    plan_sha256=hashlib.sha256(PLAN).hexdigest(),
    plan_bytes=len(PLAN),
    built={},
    seconds=1.5,
    made="2026-01-01T00:00:00+00:00",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "a.engine"
    write_engine(file, HEADER, PLAN)
    return file


def test_what_was_written_is_read(path: Path) -> None:
    header, plan = read_engine(path, KEY)
    assert plan == PLAN
    assert header == read_header(path)
    assert (header.facts, header.seconds) == (HEADER.facts, 1.5)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_truncation_is_seen(path: Path, data: st.DataObject) -> None:
    whole = path.read_bytes()
    cut = path.with_name("cut.engine")
    cut.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(StaleEngineError, match=r"no engine of tagstack|damaged|cut short"):
        read_engine(cut, KEY)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_never_gives_another_plan(path: Path, data: st.DataObject) -> None:
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    other = path.with_name("other.engine")
    other.write_bytes(whole)
    try:
        _, plan = read_engine(other, KEY)
    except StaleEngineError:
        return
    # In a note of the header, such as the tagger's name: the plan is what it was.
    assert plan == PLAN


@pytest.mark.parametrize("junk", [b"", b"junk", b"\0" * 5000, MAGIC, MAGIC + b"\xff" * 4000])
def test_junk(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "junk.engine"
    path.write_bytes(junk)
    with pytest.raises(StaleEngineError, match=r"no engine of tagstack|damaged header"):
        read_engine(path, KEY)


def test_another_key_says_what_it_was_made_for(path: Path) -> None:
    with pytest.raises(StaleEngineError, match=r"made for TensorRT 11\.4\.0 on NVIDIA X"):
        read_engine(path, "x" * 64)


def test_a_header_with_other_fields(path: Path) -> None:
    text = json.dumps({"key": KEY}).encode()
    path.write_bytes(MAGIC + len(text).to_bytes(8, "little") + text + PLAN)
    with pytest.raises(StaleEngineError, match=r"damaged header: .*missing"):
        read_header(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StaleEngineError, match=r"Cannot read .*No such file"):
        read_header(tmp_path / "none.engine")
