"""Choosing a backend, and what the backends give compared with ONNX Runtime."""

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.base_models.runtimes import gpu_opening, selection
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.probing import Probe, probe
from tagstack.base_models.runtimes.selection import (
    AUTO,
    Chosen,
    RuntimeChoice,
    choose,
)
from tagstack.base_models.taggers.registry import load_taggers, show_tagger
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

Folder = Callable[..., Path]


def _without(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)


def _load(folder: Path, backend: str, precision: str = "fp32") -> Tagger:
    runtime = RuntimeChoice(backend=backend, precision=precision)
    return load_tagger(folder, floor=1e-4, threads=2, runtime=runtime)


@pytest.mark.parametrize(("backend", "module"), [("openvino", "openvino"), ("ort", "onnxruntime")])
def test_a_missing_backend_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, make_tagger_folder: Folder, backend: str, module: str
) -> None:
    _without(monkeypatch, module)
    with pytest.raises(TagstackError, match=rf"{module} is not installed. Run: pip install 'tagst"):
        _load(make_tagger_folder(), backend)


def test_auto_says_what_it_took(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tagstack")
    _without(monkeypatch, "openvino")
    assert choose(RuntimeChoice(backend="auto", precision="fp32")).backend == "ort"
    assert "score.backend = auto: ort" in caplog.text


def _probe_of(*available: str) -> Callable[..., Probe]:
    def examine(backend: str, *, flavour: str) -> Probe:
        return Probe(
            backend=backend,
            available=backend in available,
            reason=f"{backend} is {'' if backend in available else 'not '}there",
            devices=(),
            install="pip install x",
        )

    return examine


@pytest.mark.parametrize(
    ("precision", "available", "expected"),
    [
        ("fp32", ("tensorrt", "ort-cuda", "openvino", "ort"), "tensorrt"),
        ("fp32", ("ort-cuda", "openvino", "ort"), "ort-cuda"),
        ("fp32", ("ort-tensorrt", "ort"), "ort"),
        ("bf16", ("tensorrt", "ort-cuda", "openvino", "ort"), "tensorrt"),
        ("bf16", ("ort-cuda", "openvino", "ort"), "openvino"),
        ("fp16", ("ort-cuda", "openvino", "ort"), "ort-cuda"),
    ],
)
def test_auto_takes_the_first_that_works_and_says_why(
    precision: str, available: tuple[str, ...], expected: str
) -> None:
    choice = RuntimeChoice(backend="auto", precision=precision)
    chosen = choose(choice, _probe_of(*available))
    assert chosen.backend == expected
    passed = AUTO[: AUTO.index(expected)]
    for backend in passed:
        why = f"it has no {precision}" if backend in available else f"{backend} is not there"
        assert f"{backend}: {why}" in chosen.reason


def test_auto_where_nothing_has_that_precision() -> None:
    choice = RuntimeChoice(backend="auto", precision="fp16")
    with pytest.raises(TagstackError, match=r"No backend computes in fp16 here: .*openvino: it"):
        choose(choice, _probe_of("openvino", "ort"))


@pytest.mark.parametrize("backend", ["ort-cuda", "ort-tensorrt", "tensorrt"])
def test_a_gpu_that_is_asked_for_and_missing_is_an_error(
    make_tagger_folder: Folder, backend: str
) -> None:
    if probe(backend).available:
        pytest.skip("this machine has the GPU")
    with pytest.raises(TagstackError, match=rf"score\.backend = '{backend}', but .*Run: pip "):
        _load(make_tagger_folder(), backend)


@pytest.fixture
def broken_engine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every GPU backend be there and fail on the model; return what was opened."""
    opened: list[str] = []

    def fail(path: Path, contract: Any, engines: Any, precision: str, backend: str = "") -> Any:
        opened.append(backend or "tensorrt")
        raise BackendError(f"{path}: two engines were built and neither could be loaded.")

    monkeypatch.setattr(gpu_opening, "open_tensorrt", fail)
    monkeypatch.setattr(gpu_opening, "open_ort_gpu", fail)
    examine = _probe_of("tensorrt", "ort-cuda", "ort")
    monkeypatch.setattr(selection, "probed", examine)
    monkeypatch.setattr(selection, "choose", lambda choice: choose(choice, examine))
    return opened


def test_a_backend_of_autos_that_fails_gives_way_loudly(
    make_tagger_folder: Folder, broken_engine: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    tagger = _load(make_tagger_folder(), "auto", "fp16")
    assert broken_engine == ["tensorrt", "ort-cuda"]
    assert (tagger.session.info.backend, tagger.session.info.precision) == ("ort", "fp32")
    assert "neither could be loaded. Going on with ort-cuda in fp16" in caplog.text
    assert "Going on with ort in fp32" in caplog.text


def test_a_backend_asked_for_by_name_that_fails_is_an_error(
    make_tagger_folder: Folder, broken_engine: list[str]
) -> None:
    with pytest.raises(BackendError, match="neither could be loaded"):
        _load(make_tagger_folder(), "tensorrt", "fp16")
    assert broken_engine == ["tensorrt"]


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize("backend", ["ort-cuda", "ort-tensorrt", "tensorrt"])
def test_a_probe_that_pretends_does_not_let_the_cpu_answer(
    make_tagger_folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str
) -> None:
    if probe(backend).available:
        pytest.skip("this machine has the GPU")
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(selection, "probed", _probe_of(backend))
    monkeypatch.setattr(selection, "choose", lambda choice: Chosen(backend, "pretended"))
    with pytest.raises(BackendError):
        _load(make_tagger_folder(), backend, "fp16")


class _FailingLater:
    """A session on a GPU that opens and then fails at one of its first runs."""

    def __init__(self, session: Any, n_good: int) -> None:
        self.session, self.left, self.closed = session, n_good, False
        self.info = replace(session.info, device="cuda:0 test")
        self.n_outputs = session.n_outputs

    def run(self, batch: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise BackendError("the first capture failed.")
        return self.session.run(batch)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("n_good", [0, 1])
def test_the_first_runs_are_part_of_opening(
    make_tagger_folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    n_good: int,
) -> None:
    opened: list[_FailingLater] = []

    def open_ort_gpu(path: Path, contract: Any, engines: Any, precision: str, name: str) -> Any:
        from tagstack.base_models.runtimes.ort import OrtCpuSession

        opened.append(_FailingLater(OrtCpuSession(path, contract, threads=1), n_good))
        return opened[-1]

    monkeypatch.setattr(gpu_opening, "open_ort_gpu", open_ort_gpu)
    examine = _probe_of("ort-cuda", "ort")
    monkeypatch.setattr(selection, "probed", examine)
    monkeypatch.setattr(selection, "choose", lambda choice: choose(choice, examine))
    assert _load(make_tagger_folder(), "auto").session.info.backend == "ort"
    assert opened[0].closed
    assert "the first capture failed. Going on with ort in fp32" in caplog.text


def test_auto_does_not_go_on_where_the_settings_forbid_it(
    make_tagger_folder: Folder, broken_engine: list[str], settings: ScoreSettings
) -> None:
    engines = settings.engines.model_copy(update={"on_failure": "error"})
    choice = RuntimeChoice(backend="auto", precision="fp16", engines=engines)
    with pytest.raises(BackendError, match="neither could be loaded"):
        load_tagger(make_tagger_folder(), floor=1e-4, threads=1, runtime=choice)
    assert broken_engine == ["tensorrt"]


def test_tensorrt_of_onnx_runtime_has_no_plain_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "choose", lambda choice: Chosen("ort-tensorrt", "asked for"))
    choice = RuntimeChoice(backend="ort-tensorrt", precision="fp32")
    with pytest.raises(TagstackError, match=r"none of \['tf32', 'fp16'\].*ort-tensorrt computes"):
        selection.open_session(Path("x"), None, choice, threads=1)  # type: ignore[arg-type]


def test_onnx_runtime_refuses_bf16(make_tagger_folder: Folder) -> None:
    with pytest.raises(TagstackError, match=r"precision = 'bf16' is none of \['fp32'\].*openvino"):
        _load(make_tagger_folder(), "ort", "bf16")


def test_settings_choose_the_backend(
    make_tagger_folder: Folder, settings: ScoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(make_tagger_folder())
    (tagger,) = load_taggers([folder], settings, threads=1)
    assert tagger.session.info.backend == "ort"
    _without(monkeypatch, "openvino")
    changed = settings.model_copy(update={"backend": "openvino"})
    with pytest.raises(TagstackError, match="openvino is not installed"):
        load_taggers([folder], changed, threads=1)


class TestOpenvino:
    """Parity of OpenVINO with ONNX Runtime; needs the extra ``openvino``."""

    @pytest.fixture(autouse=True)
    def openvino(self) -> Any:
        return pytest.importorskip("openvino", reason="the extra openvino is not installed")

    def test_auto_takes_it(self) -> None:
        assert choose(RuntimeChoice(backend="auto", precision="fp32")).backend == "openvino"

    @pytest.mark.parametrize("name", ["doll_convnext", "doll_resnet", "doll_vit"])
    def test_logits_of_real_networks(self, name: str, rng: np.random.Generator) -> None:
        folder = show_tagger(name).folder
        assert folder is not None
        reference, other = _load(folder, "ort"), _load(folder, "openvino")
        shape = (12, reference.framing.height, reference.framing.width, 3)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        expected = reference.logits(pixels)
        seen = expected > -6  # of what lies far below the floor, only its sign is of use
        assert np.abs(other.logits(pixels) - expected)[seen].max() < 2e-3
        assert (other.session.info.precision, other.session.info.provider) == ("fp32", "CPU")
        assert other.fingerprint != reference.fingerprint

    def test_bf16_is_another_member(self, openvino: Any, rng: np.random.Generator) -> None:
        if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pytest.skip("this processor has no bf16")
        folder = show_tagger("doll_resnet").folder
        assert folder is not None
        exact, coarse = _load(folder, "openvino"), _load(folder, "openvino", "bf16")
        assert coarse.session.info.precision == "bf16"
        assert coarse.fingerprint != exact.fingerprint
        shape = (12, exact.framing.height, exact.framing.width, 3)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        expected = exact.logits(pixels)
        difference = np.abs(coarse.logits(pixels) - expected)[expected > -6]
        assert 0 < difference.max() < 0.6

    def test_a_batch_fixed_in_the_model(
        self, make_tagger_folder: Folder, rng: np.random.Generator
    ) -> None:
        folder = make_tagger_folder(batch=3)
        pixels = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
        found = _load(folder, "openvino")
        assert found.session.info.model_batch == 3
        expected = _load(folder, "ort").logits(pixels)
        np.testing.assert_allclose(found.logits(pixels), expected, atol=1e-3)

    def test_bf16_needs_a_processor_that_has_it(
        self, openvino: Any, make_tagger_folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
        with pytest.raises(
            TagstackError, match=r"computes in \['FP32', 'INT8'\], which has no BF16"
        ):
            _load(make_tagger_folder(), "openvino", "bf16")


def test_a_packages_runtime_is_used_like_ours(
    make_tagger_folder: Folder, from_docs: Callable[[str], None], rng: np.random.Generator
) -> None:
    folder = make_tagger_folder()
    with pytest.raises(TagstackError, match=r"Unknown runtime 'reference' in score\.backend"):
        _load(folder, "reference")
    from_docs("A runtime")
    found, ours = _load(folder, "reference"), _load(folder, "ort")
    pixels = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(found.logits(pixels), ours.logits(pixels), atol=1e-4)
    assert found.session.info.backend == "reference"
    assert found.fingerprint != ours.fingerprint
    with pytest.raises(TagstackError, match=r"'bf16' is none of \['fp32'\], which reference comp"):
        _load(folder, "reference", "bf16")
