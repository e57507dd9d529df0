"""Weights taken over into a network that sees pictures of another size."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.base_models.training.starts import Start
from tagstack.configs.errors import TagstackError

torch = pytest.importorskip("torch", reason="torch is only in the extra `train`")


@pytest.fixture(scope="module")
def timm() -> Any:
    from tagstack.base_models.training.libraries import timm_library

    try:
        return timm_library()
    except TagstackError as error:
        pytest.skip(str(error))


def saved(folder: Path, network: Any, architecture: str, size: int, **own: Any) -> Start:
    from safetensors.torch import save_file

    path = folder / "weights.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    return Start(architecture=architecture, weights=path, size=size, **own)


def of_timm(timm: Any, folder: Path, name: str = "test_vit", size: int = 32) -> tuple[Any, Start]:
    torch.manual_seed(5)
    given = timm.create_model(name, num_classes=5, img_size=size)
    return given, saved(folder, given, name, size)


@pytest.mark.slow
def test_places_of_a_transformer_are_resampled_as_timm_does(timm: Any, tmp_path: Path) -> None:
    from tagstack.base_models.training.architectures import network_of

    given, start = of_timm(timm, tmp_path)
    told: list[str] = []
    own = network_of(start, ("red",), 64, 0, told.append).body
    cover = {"state_dict": given.state_dict()}
    settings = {"pretrained": True, "pretrained_cfg_overlay": cover, "num_classes": 0}
    timms = timm.create_model("test_vit", img_size=64, **settings).state_dict()
    assert own.state_dict().keys() == timms.keys()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(value, timms[name], rtol=0, atol=0)
    assert told == ["weights for pictures of 32 px, resampled for 64 px: pos_embed"]


@pytest.mark.slow
def test_nothing_is_said_where_all_fits(timm: Any, tmp_path: Path) -> None:
    from tagstack.base_models.training.architectures import network_of

    given, start = of_timm(timm, tmp_path)
    told: list[str] = []
    own = network_of(start, ("red",), 32, 0, told.append).body
    torch.testing.assert_close(own.pos_embed, given.pos_embed, rtol=0, atol=0)
    assert told == []


@pytest.mark.parametrize("architecture", ["vit", pytest.param("test_vit", marks=pytest.mark.slow)])
def test_a_tagger_that_was_trained_here_goes_on_at_another_size(
    request: pytest.FixtureRequest, tmp_path: Path, architecture: str
) -> None:
    from tagstack.base_models.training.architectures import network_of

    if architecture != "vit":
        request.getfixturevalue("timm")
    tags = ("blue", "red")
    before = network_of(Start(architecture=architecture), tags, 48, 0)
    start = saved(tmp_path, before, architecture, 48, tags=tags)
    told: list[str] = []
    after = network_of(start, ("red", "new"), 96, 1, told.append)
    place = "position" if architecture == "vit" else "pos_embed"
    assert told == [f"weights for pictures of 48 px, resampled for 96 px: {place}"]
    torch.testing.assert_close(after.head.weight[0], before.head.weight[1], rtol=0, atol=0)
    first = 0 if architecture == "vit" else 1  # behind the class token
    old, new = (
        (own if architecture == "vit" else own.body).state_dict()[place][0, first:]
        for own in (before, after)
    )
    side, wide = (round(len(own) ** 0.5) for own in (old, new))
    assert wide == 2 * side
    blocks = new.reshape(side, 2, side, 2, -1).mean((1, 3)).reshape(side**2, -1)
    assert np.corrcoef(blocks.flatten(), old.flatten())[0, 1] > 0.9  # the same places
    with torch.no_grad():
        assert torch.isfinite(after(torch.zeros(1, 3, 96, 96))).all()


@pytest.mark.slow
def test_a_tensor_that_cannot_be_taken_over_is_one_line(timm: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from tagstack.base_models.training.architectures import network_of

    _, start = of_timm(timm, tmp_path)
    assert start.weights is not None
    tensors = load_file(start.weights)
    del tensors["blocks.0.norm1.weight"]  # one of many
    save_file(tensors, start.weights)
    message = r"test_vit for pictures of 64 px: 1 of \d+ tensors .* such as blocks.0.norm1.weight"
    with pytest.raises(TagstackError, match=message + ".*train.size = 32"):
        network_of(start, ("red",), 64, 0)
    with pytest.raises(TagstackError, match=r"does not fit resnet18 .* missing or of another"):
        network_of(replace(start, architecture="resnet18"), ("red",), 32, 0)
    (start.weights).write_bytes(b"no tensors")
    with pytest.raises(TagstackError, match="no safetensors that can be read"):
        network_of(start, ("red",), 32, 0)
