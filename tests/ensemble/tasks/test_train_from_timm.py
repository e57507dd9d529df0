"""`tagstack train --from FOLDER`: weights of timm on disk, seen as they were when trained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.contract import read_contract
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.train import train_tagger
from tagstack.ensemble.training.request import TrainRequest

torch = pytest.importorskip("torch", reason="torch is only in the extra `train`")
pytest.importorskip("onnxscript", reason="onnxscript is only in the extra `train`")
SEEN: dict[str, Any] = {
    "input_size": [3, 32, 32],
    "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.6, 0.7],
    "interpolation": "bilinear",
}
SETTINGS = load_settings(
    changes={
        "threads": 1,
        "train": {"epochs": 1, "batch_images": 8, "mixed": False, "learning_rate": 1e-9},
    }
)


@pytest.fixture(scope="module")
def timm() -> Any:
    from tagstack.base_models.training.libraries import timm_library

    try:
        return timm_library()
    except TagstackError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def checkpoint(timm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a tiny transformer without a class token, as timm's hub has them."""
    arguments = {"class_token": False, "global_pool": "avg", "img_size": 32}
    network = timm.create_model("test_vit", num_classes=5, **arguments)
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    timm.models.save_for_hf(
        network,
        folder,
        {"pretrained_cfg": SEEN},
        {**arguments, "in_chans": 3},
        safe_serialization=True,
    )
    return folder


@pytest.fixture(scope="module")
def asked(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainRequest:
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 256, (16, 20, 20, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    rows = (f"{number}.png,{'odd' if number % 2 else 'even'}\n" for number in range(16))
    (folder / "labels.csv").write_text("image,tags\n" + "".join(rows))
    return TrainRequest(
        images=(folder,),
        labels=folder / "labels.csv",
        start=str(checkpoint),
        out=folder.parent / f"{folder.name}-tagger",
    )


@pytest.mark.slow
def test_the_tagger_sees_pictures_as_the_weights_did(
    checkpoint: Path, asked: TrainRequest, quick_export: None
) -> None:
    from safetensors.torch import load_file

    for request in (asked, replace(asked, start=str(asked.out), out=asked.out / "next")):
        train_tagger(request, SETTINGS, Silent())
        image = read_contract(request.out / "tagger.toml").input
        assert image.height_width == (32, 32)
        assert (image.mean, image.std) == (tuple(SEEN["mean"]), tuple(SEEN["std"]))
        assert image.resample == "bilinear"
        given = load_file(checkpoint / "model.safetensors")
        own = load_file(request.out / "weights.safetensors")
        body = {name for name in given if not name.startswith("head.")}
        assert {name.removeprefix("body.") for name in own if "body." in name} == body
        for name in body:  # the rate is next to nothing
            torch.testing.assert_close(own[f"body.{name}"], given[name], atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"no_such_word": 1}, "timm cannot build 'test_vit' for pictures of 32 px: .*no_such_word"),
        ({"global_pool": "no"}, "timm cannot build 'test_vit'.*model_args in the config.json"),
    ],
)
def test_arguments_that_timm_does_not_know_are_one_line(
    checkpoint: Path, asked: TrainRequest, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    config = {"architecture": "test_vit", "model_args": arguments, "pretrained_cfg": SEEN}
    (tmp_path / "config.json").write_text(json.dumps(config))
    request = replace(asked, start=str(tmp_path), out=tmp_path / "out")
    with pytest.raises(TagstackError, match=message):
        train_tagger(request, SETTINGS, Silent())
