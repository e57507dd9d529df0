"""A numba that does not import costs time, never a run and never a result; one process compiles."""

import logging
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Resampling
from scipy import sparse

from tagstack.base_models import compilation
from tagstack.base_models.locks import ProcessLock
from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.pictures import resampling
from tagstack.base_models.pictures.squares import alone
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.tasks.doctor import examine
from tagstack.meta.metrics.weighted_ranking import ranked_positives

FAULTS = [
    ImportError("Numba needs NumPy 2.3 or less. Got NumPy 2.5."),
    AttributeError("module 'numpy' has no attribute 'long'"),
    OSError("Could not find/load shared object file"),
]


@pytest.fixture(params=FAULTS, ids=lambda fault: type(fault).__name__)
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    def refuse(_: str) -> Any:
        raise request.param

    monkeypatch.setattr(compilation, "import_module", refuse)
    monkeypatch.setattr(compilation, "find_spec", lambda _: object())
    compilation._import_fault.cache_clear()
    yield str(request.param)
    compilation._import_fault.cache_clear()


def test_what_is_compiled_by_itself_goes_without(
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    rng: np.random.Generator,
) -> None:
    monkeypatch.setattr(resampling, "_WORTH_COMPILING", 1)
    canvas = alone(Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)))
    resized = resampling.chosen_resampler("auto").resized(canvas, (7, 9), Resampling.BICUBIC)
    assert np.array_equal(resized, resampling.PILLOW.resized(canvas, (7, 9), Resampling.BICUBIC))

    rules = Rules.none().bind(Vocabulary(("a", "b"), ("general",) * 2))
    choice = Decoder(rules, load_settings().decoder).engines
    assert choice.engine(10**9) is choice.python

    tag = np.tile(np.arange(2, dtype=np.int32), 5)
    pairs = Pairs(tag=tag, indptr=np.arange(0, 11, 2), n_tags=2)
    proba = PairProba(pairs=pairs, proba=rng.random(10, np.float32), base=np.zeros(2, np.float32))
    ranked = ranked_positives(proba, sparse.csr_array(rng.random((5, 2)) < 0.5))
    weights = np.ones((5, 3), np.float32)
    found, plain = (ranked.average_precision(weights, compiled=how) for how in (None, False))
    assert np.array_equal(found, plain, equal_nan=True)

    with caplog.at_level(logging.WARNING):
        assert not compilation.can_compile()
    assert len([r for r in caplog.records if "does not import" in r.getMessage()]) <= 1


def test_the_fault_is_said_once(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert [compilation.can_compile() for _ in range(3)] == [False] * 3
    (record,) = caplog.records
    assert broken in record.getMessage()
    assert "same results" in record.getMessage()


def test_what_is_asked_for_by_name_is_an_error(broken: str) -> None:
    with pytest.raises(TagstackError, match=r"numba is installed but does not import .* anew, or"):
        resampling.chosen_resampler("compiled")
    settings = load_settings().decoder.model_copy(update={"engine": "numba"})
    rules = Rules.none().bind(Vocabulary(("a",), ("general",)))
    with pytest.raises(TagstackError, match=r"decoder\.engine is 'numba', but numba is installed"):
        Decoder(rules, settings)


def test_doctor_names_it(broken: str, tmp_path: Path) -> None:
    (found,) = (finding for finding in examine(tmp_path) if finding.subject == "numba")
    assert found.state == "fault"
    assert broken in found.detail


def test_doctor_says_whether_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "find_spec", lambda _: None)
    monkeypatch.setattr("tagstack.ensemble.tasks.doctor.find_spec", lambda _: None)
    found = {finding.subject: finding for finding in examine(tmp_path)}
    assert found["numba"].state == "absent"
    assert "Install tagstack[fast]" in found["numba"].detail


_KERNEL = """
from tagstack.base_models.compilation import compiled

@compiled
def twice(value):
    return value * 2
"""


@pytest.fixture
def twice(tmp_path: Path) -> Any:
    """Return a maker of one compiled function, each time as another process would import it."""
    pytest.importorskip("numba", reason="needs the extra `fast`")
    file = tmp_path / "kernel_of_a_test.py"
    file.write_text(_KERNEL)

    def imported() -> Any:
        spec = spec_from_file_location("kernel_of_a_test", file)
        assert spec
        assert spec.loader
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.twice

    return imported


@pytest.fixture
def others_wait(tmp_path: Path) -> Iterator[list[bool]]:
    """Return whether the lock was held, for each time that numba compiles."""
    event = pytest.importorskip("numba.core.event", reason="needs the extra `fast`")
    found: list[bool] = []

    class Compiling(event.Listener):  # type: ignore[misc, name-defined]  # numba has no types
        def on_start(self, _: Any) -> None:
            (path,) = tmp_path.rglob("*.lock")
            lock = ProcessLock(path)
            found.append(not lock.take())
            lock.release()

        def on_end(self, _: Any) -> None:
            """Nothing: only the beginning counts."""

    with event.install_listener("numba:compile", Compiling()):
        yield found


def test_of_processes_that_begin_together_one_compiles(
    twice: Any, others_wait: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one waits for its turn, another has compiled: the first finds that on disk."""
    mine, others = twice(), twice()

    class Later(ProcessLock):
        def take(self, **wait: float) -> bool:
            monkeypatch.undo()
            assert others(3) == 6
            return super().take(**wait)

    monkeypatch.setattr(compilation, "ProcessLock", Later)
    assert mine(4) == 8
    assert mine(2.5) == 5.0  # of other types
    assert others_wait == [True, False]  # one for each: the second holds up nobody


def test_where_there_is_no_lock_each_compiles(
    twice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(lock: ProcessLock, **wait: float) -> bool:
        raise OSError("No locks available")

    monkeypatch.setattr(ProcessLock, "take", refused)
    assert twice()(4) == 8
    monkeypatch.undo()
    (tmp_path / "__pycache__" / "kernel_of_a_test.twice.lock").symlink_to(tmp_path / "elsewhere")
    assert twice()(4) == 8
    assert not (tmp_path / "elsewhere").exists()
