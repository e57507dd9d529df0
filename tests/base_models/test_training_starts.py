"""What a training starts from: what timm's own file says of its pictures and its network."""

import json
from pathlib import Path
from typing import Any

import pytest

from tagstack.base_models.training.starts import RECORD_FILE, WEIGHTS_FILE, start_from
from tagstack.configs.errors import TagstackError

SEEN = {
    "input_size": [3, 48, 32],
    "mean": [0.4, 0.5, 0.6],
    "std": 0.25,
    "interpolation": "bilinear",
    "crop_pct": 0.9,
}


def of_timm(folder: Path, **config: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").touch()
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18", **config}))
    return str(folder)


@pytest.mark.parametrize("config", [{"pretrained_cfg": SEEN}, SEEN], ids=["nested", "flat"])
def test_a_file_of_timm_says_how_its_pictures_were_seen(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    arguments = {"in_chans": 3, "num_classes": 3, "global_pool": "max"}
    start = start_from(of_timm(tmp_path, **config, model_args=arguments))
    assert start.size == 48  # the longer side: pictures are squares
    assert start.colours == ((0.4, 0.5, 0.6), (0.25, 0.25, 0.25))
    assert start.resample == "bilinear"
    assert start.arguments == {"global_pool": "max"}
    assert start_from(f"{tmp_path}/model.safetensors") == start


@pytest.mark.parametrize(("size", "side"), [(24, 24), ([24, 40], 40), (None, 48)])
def test_the_networks_own_size_goes_before_that_of_its_pictures(
    tmp_path: Path, size: object, side: int
) -> None:
    given = of_timm(tmp_path, pretrained_cfg=SEEN, model_args={"img_size": size})
    assert start_from(given).size == side


def test_networks_for_grey_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match="in_chans = 1: expected 3"):
        start_from(of_timm(tmp_path, model_args={"in_chans": 1}))


@pytest.mark.parametrize(
    "config",
    [{}, {"pretrained_cfg": None}, {"pretrained_cfg": {"mean": [0, 0, 0], "interpolation": "?"}}],
)
def test_what_the_file_does_not_say_is_left_to_timm(tmp_path: Path, config: dict[str, Any]) -> None:
    start = start_from(of_timm(tmp_path, **config))
    assert (start.size, start.colours, start.resample, start.arguments) == (
        None, None, "bicubic", {},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"input_size": [1, 32, 32]}, r"config.json: input_size.0 = 1: expected 3"),
        ({"input_size": [3, 32]}, r"input_size.* Fetch it again"),
        ({"input_size": [3, 0, 32]}, r"input_size.1 = 0: expected at least 1"),
        ({"input_size": [3, 99_999, 32]}, r"input_size.1 = 99999: expected at most 4096"),
        ({"std": [0.2, 0, 0.2]}, r"std.1 = 0: expected above 0"),
        ({"mean": ["a", 0, 0]}, r"mean.0 = 'a': expected a number"),
        ({"std": [0.2, float("nan"), 0.2]}, r"config.json"),
    ],
)
def test_garbled_values_are_one_line(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    with pytest.raises(TagstackError, match=message):
        start_from(of_timm(tmp_path, pretrained_cfg=said))


@pytest.mark.parametrize(
    "argument", ["pretrained", "pretrained_cfg", "checkpoint_path", "cache_dir", "features_only"]
)
def test_a_file_cannot_make_timm_fetch_or_load_others(tmp_path: Path, argument: str) -> None:
    with pytest.raises(TagstackError, match=rf"not the network's own: {argument}"):
        start_from(of_timm(tmp_path, model_args={argument: "hf-hub:someone/network"}))
    with pytest.raises(TagstackError, match="expected an object"):
        start_from(of_timm(tmp_path, model_args=[argument]))


def test_a_garbled_record_of_a_training_is_one_line(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS_FILE).touch()
    record = {"architecture": "resnet", "size": "24", "tags": ["red"], "seed": 0}
    (tmp_path / RECORD_FILE).write_text(json.dumps(record))
    with pytest.raises(TagstackError, match=r"training.json: size = '24': expected a whole number"):
        start_from(str(tmp_path))


@pytest.mark.parametrize(
    "given", ["hf-hub:someone/network", "hf_hub:someone/network", "timm://x", "https://x.y/z"]
)
def test_a_name_fetches_nothing(given: str) -> None:
    with pytest.raises(TagstackError, match="No such folder or weights"):
        start_from(given)
