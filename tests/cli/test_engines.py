"""``tagstack engines`` and the comparison before first use, as a user runs them."""

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tagstack.base_models.contract import text_with_features
from tagstack.base_models.pictures.preprocess import input_tensor
from tagstack.base_models.taggers.last_product import features_of
from tagstack.base_models.taggers.registry import resolve
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.base_models.taggers.timm_contract import contract_of_folder
from tagstack.cli import app
from tagstack.configs.errors import TagstackError

CONFIG = """[score.engines]
batches = [1, 4]
typical_batch = 4
optimization_level = 0
[score.parity]
images = 4
batch = 2
[score.quantize]
images = 6
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(10):
        pixels = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((120, 160)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def score(images: Path, models: str | Path, scores: Path, config: Path) -> str:
    """Score and return what was said on standard error."""
    options = ("--models", models, "--scores", scores, "--config", config)
    result = CliRunner().invoke(
        app, [*map(str, ("score", images, *options))], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stderr


def as_json(*arguments: str | Path, code: int = 0) -> Any:
    return json.loads(run(*arguments, "--json", code=code))


def test_build_list_clean_without_a_gpu(config: Path, home: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="the TensorRT-RTX wheels are missing")
    command = ("engines", "build", "doll_resnet", "--flavour", "rtx", "--config", config)
    (first,) = as_json(*command)
    assert first["was_built"]
    assert stat.S_IMODE((home / "cache" / "engines").stat().st_mode) == 0o700
    assert "was there" in run(*command)
    (entry,) = as_json("engines", "list", "--config", config)["engines"]
    assert (entry["header"]["tagger"], entry["header"]["key"]) == ("doll_resnet", first["key"])
    assert entry["header"]["built"]["max_batch"] == 4
    Path(entry["path"]).with_name("bad.engine").write_bytes(b"junk")
    assert "no engine" in json.dumps(as_json("engines", "list"))
    assert "1 in" not in run("engines", "list")
    folder = home / "cache" / "engines"
    (folder / "models").mkdir(exist_ok=True)
    for name in ("timing-0.cache", "models/cut.onnx"):
        (folder / name).write_bytes(b"cut short")
    assert list(folder.glob("*.lock"))
    gone = as_json("engines", "clean")
    assert [Path(path).name for path in gone] == ["bad.engine", "cut.onnx", "timing-0.cache"]
    assert not list(folder.rglob("*.lock"))
    assert len(as_json("engines", "list")["engines"]) == 1
    assert as_json("engines", "clean", "--all") == [str(home / "cache" / "engines")]
    assert as_json("engines", "list")["engines"] == []


def test_export_for_trtexec(tmp_path: Path) -> None:
    import onnx

    out = tmp_path / "out"
    found = as_json("engines", "export", "doll_vit", "--out", out, "--precision", "fp16")
    model = onnx.load(found["model"])
    assert Path(found["model"]).parent == out
    assert "Attention" in {node.op_type for node in model.graph.node}
    assert f"--onnx={found['model']}" in found["command"]
    assert "--stronglyTyped" in found["command"]
    assert "--noTF32" in found["command"]
    with pytest.raises(TagstackError, match="expected a new folder"):
        run("engines", "export", "doll_vit", "--out", out)


def test_what_engines_are_built_from_gives_features_where_scoring_keeps_them(
    tmp_path: Path,
) -> None:
    """A contract that names them does not decide that, and one that does not is no hindrance."""
    import onnxruntime

    bare = resolve("doll_resnet")
    named = tmp_path / "named"
    shutil.copytree(bare, named)
    contract = named / "tagger.toml"
    found = features_of(bare, contract_of_folder(bare))
    text = contract.read_text("utf-8")
    contract.write_text(text_with_features(text, found, origin="test"), "utf-8")
    tagger = load_tagger(bare, floor=0.001, threads=1, smoke=False, features=True)
    pixels = np.random.default_rng(0).integers(
        0, 256, (2, *tagger.contract.input.height_width, 3), np.uint8
    )
    try:
        expected = tagger.raw_features(pixels), tagger.raw(pixels)
        tensor = input_tensor(pixels, tagger.contract.input)
    finally:
        tagger.close()
    for number, source in enumerate((bare, named)):
        for features in ((), ("--features", "all")):
            out = tmp_path / f"{number}{len(features)}"
            model = as_json("engines", "export", source, "--out", out, *features)["model"]
            session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            given = session.run(None, {session.get_inputs()[0].name: tensor})
            assert len(given) == (2 if features else 1)
            if features:
                np.testing.assert_allclose(given[-1], expected[0], atol=1e-4)
                np.testing.assert_allclose(given[0], expected[1], atol=1e-4)


def test_native_engines_need_a_gpu() -> None:
    from tagstack.base_models.runtimes.probing import probe

    if probe("tensorrt").available:
        pytest.skip("this machine has TensorRT")
    with pytest.raises(TagstackError, match=r"TensorRT cannot build here: .*--flavour rtx"):
        run("engines", "build", "doll_resnet")


def test_verify_prints_and_keeps_a_report(images: Path, config: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    command = ("engines", "verify", "doll_resnet,doll_vit", images, "--config", config)
    text = run(*command, "--backend", "openvino")
    assert text.count("ok  ") == 2
    assert "against ort fp32 of doll_vit on 4 images" in text
    found = as_json(*command, "--backend", "openvino")
    assert [item["tagger"] for item in found] == ["doll_resnet", "doll_vit"]
    assert all(item["fault"] is None and item["n_images"] == 4 for item in found)
    assert json.loads(Path(found[0]["report"]).read_text())["tagger"] == "doll_resnet"


def test_verify_fails_where_too_much_flips(images: Path, tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text(CONFIG.replace("[score.quantize]", "max_flips_int8 = 0.0\n[score.quantize]"))
    out = tmp_path / "int8"
    command = ("engines", "quantize", "doll_resnet", images, "--out", out, "--config", strict)
    text = run(*command, code=1)
    assert "refused: decides" in text
    found = as_json("engines", "verify", out, images, "--config", strict, code=1)
    assert "allowed are 0.0%" in found[0]["fault"]
    # Scoring with it is refused for the same reason, in one line.
    with pytest.raises(TagstackError, match=r"too far from ort fp32 of doll_resnet: it decides"):
        run("score", images, "--models", out, "--scores", tmp_path / "s", "--config", strict)


def test_an_int8_tagger_scores_after_one_comparison(
    images: Path, config: Path, tmp_path: Path, home: Path
) -> None:
    # Pictures of noise, and a processor that may lack exact products of int8 (VNNI): far off.
    config.write_text(CONFIG.replace("batch = 2\n", "batch = 2\nmax_flips_int8 = 0.9\n"))
    out = tmp_path / "int8"
    found = as_json("engines", "quantize", "doll_resnet", images, "--out", out, "--config", config)
    assert found["folder"] == str(out)
    assert found["parity"]["precision"] == "int8"
    scores = tmp_path / "scores"
    score(images, out, scores, config)
    (member,) = scores.rglob("member.json")
    assert "int8" in json.loads(member.read_text())["runtime"]
    # What quantize found still holds: nothing was compared again.
    assert len(list((home / "cache" / "parity").glob("*.json"))) == 1


def test_an_fp8_tagger_is_made_for_tensorrt_alone(
    images: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "fp8"
    command = ("engines", "quantize", "doll_resnet", images, "--out", out, "--config", config)
    with pytest.raises(TagstackError, match=r"No processor computes in fp8.*--type int8"):
        run(*command, "--type", "fp8")
    found = as_json(*command, "--type", "fp8", "--target", "tensorrt")
    assert found["parity"]["precision"] == "fp8"
    assert found["parity"]["reference"] == "ort fp32 of doll_resnet"
    result = CliRunner().invoke(app, [*map(str, command), "--type", "fp4"])
    assert result.exit_code == 2
    assert "int8, fp8" in " ".join(result.stderr.split())


def test_auto_says_what_it_takes(images: Path, tmp_path: Path) -> None:
    config = tmp_path / "auto.toml"
    config.write_text(f'[score]\nbackend = "auto"\n{CONFIG}')
    said = score(images, "doll_resnet", tmp_path / "s", config)
    assert "score.backend = auto takes" in said
    if "takes openvino" in said:
        assert "doll_resnet runs in openvino CPU" in said


def test_a_target_that_is_none(images: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["engines", "quantize", "doll_vit", str(images), "--out", "x", "--target", "gpu"]
    )
    assert result.exit_code == 2
    assert "cpu, tensorrt" in " ".join(result.stderr.split())


def test_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(TagstackError, match=r"None of the 1 images in .* can be read"):
        run("engines", "quantize", "doll_resnet", folder, "--out", tmp_path / "x")
    with pytest.raises(TagstackError, match=r"None of the 1 images in .* can be read"):
        run("engines", "verify", "doll_resnet", folder)
