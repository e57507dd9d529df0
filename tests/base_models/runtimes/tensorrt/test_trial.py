"""The first load happens in a process that may crash."""

import sys
from pathlib import Path

import pytest

from tagstack.base_models.runtimes.tensorrt.engine_cache import EngineCache
from tagstack.base_models.runtimes.tensorrt.trial import main, try_engine
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi


def program(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.mark.parametrize(
    ("code", "passed", "reason"),
    [
        ("pass", True, "loads"),
        ("import os; os.kill(os.getpid(), 11)", False, r"crashed .*\(signal 11\)"),
        ("import sys; print('a'); sys.exit('TensorRT says no')", False, "TensorRT says no"),
        ("import sys; sys.exit(3)", False, "no message"),
        ("import time; time.sleep(60)", False, "did not load within 1 s"),
    ],
)
def test_every_end_of_the_process(code: str, passed: bool, reason: str) -> None:
    import re

    trial = try_engine(Path("x"), "k", "rtx", timeout_s=1, command=program(code))
    assert trial.passed == passed
    assert re.search(reason, trial.reason)


def test_the_program_gets_what_to_load() -> None:
    code = "import sys; sys.exit(' '.join(sys.argv[1:]))"
    trial = try_engine(Path("/a/b.engine"), "k", "trt", timeout_s=20, command=program(code))
    assert trial.reason == "/a/b.engine k trt"


@pytest.mark.usefixtures("rtx")
def test_junk_is_refused_before_tensorrt_sees_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = EngineCache(tmp_path / "engines")
    cache.path("k").write_bytes(b"junk" * 100)
    assert main([str(cache.path("k")), "k", "rtx"]) == 3
    assert "no engine of tagstack" in capsys.readouterr().err


def test_a_plan_of_junk_is_refused_by_tensorrt(rtx: TrtApi) -> None:
    from tagstack.base_models.runtimes.faults import BackendError

    with pytest.raises(BackendError, match="cannot load the engine"):
        rtx.engine(b"junk" * 1000, rtx.logger())
