"""The first load happens in a process that may crash."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagstack.base_models.runtimes.cuda import Cuda
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.tensorrt.engine_cache import EngineCache
from tagstack.base_models.runtimes.tensorrt.trial import main, run_once, try_engine
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi


def program(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.mark.parametrize(
    ("code", "passed", "reason"),
    [
        ("pass", True, "runs"),
        ("import os; os.kill(os.getpid(), 11)", False, r"crashed .*\(signal 11\)"),
        ("import sys; print('a'); sys.exit('TensorRT says no')", False, "TensorRT says no"),
        ("import sys; sys.exit(3)", False, "no message"),
        ("import time; time.sleep(60)", False, "did not run within 1 s"),
    ],
)
def test_every_end_of_the_process(code: str, passed: bool, reason: str) -> None:
    import re

    trial = try_engine(Path("x"), "k", "rtx", timeout_s=1, command=program(code))
    assert trial.passed == passed
    assert re.search(reason, trial.reason)


def test_the_engine_is_run_once(fake_gpu: Any, make_tagger_folder: Callable[..., Path]) -> None:
    api = TrtApi("trt", fake_gpu.trt)
    folder = make_tagger_folder()
    _, engine = api.engine(str(folder / "model.onnx").encode(), api.logger())
    run_once(engine, api, Cuda(0, fake_gpu.cuda))
    (context,) = fake_gpu.trt.contexts
    assert (context.shape, context.n_runs) == ((1, 8, 8, 3), 1)
    context.execute_async_v3 = lambda stream: False
    engine.create_execution_context = lambda strategy: context
    with pytest.raises(BackendError, match="does not run"):
        run_once(engine, api, Cuda(0, fake_gpu.cuda))


def test_the_working_directory_is_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken from the folder at hand')")
    monkeypatch.chdir(tmp_path)
    trial = try_engine(tmp_path / "none.engine", "k", "trt", timeout_s=60)
    assert "Cannot read" in trial.reason


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
    with pytest.raises(BackendError, match="cannot load the engine"):
        rtx.engine(b"junk" * 1000, rtx.logger())
