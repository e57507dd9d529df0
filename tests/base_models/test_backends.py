"""Choosing a backend, and what the backends give compared with ONNX Runtime."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.base_models.registry import load_taggers, show_tagger
from tagstack.base_models.runtimes.selection import RuntimeChoice, chosen_backend
from tagstack.base_models.tagger import Tagger, load_tagger
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
    caplog.set_level(logging.INFO)
    _without(monkeypatch, "openvino")
    assert chosen_backend(RuntimeChoice(backend="auto", precision="fp32")) == "ort"
    assert "score.backend = auto: ort" in caplog.text


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
        assert chosen_backend(RuntimeChoice(backend="auto", precision="fp32")) == "openvino"

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
