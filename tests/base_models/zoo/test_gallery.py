import csv
from pathlib import Path

import pytest
from PIL import Image

from tagstack.base_models.zoo.gallery import TRUTH_FILE, draw_gallery, draw_picture
from tagstack.base_models.zoo.tags import RATINGS
from tagstack.configs.errors import TagstackError


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_gallery_holds_the_pictures_and_their_noisy_labels(tmp_path: Path) -> None:
    labels = rows(draw_gallery(tmp_path, n_images=12, seed=2))
    assert [row["image"] for row in labels] == [f"doll_{index:06d}.png" for index in range(12)]
    for index, row in enumerate(labels):
        picture = draw_picture(2, index)
        assert set(row["tags"].split(" ")) == picture.noisy
        assert row["rating"] in RATINGS
        assert row["rating"] in row["tags"].split(" ")
        with Image.open(tmp_path / row["image"]) as image:
            assert image.tobytes() == picture.image.tobytes()


def test_the_truth_stands_beside_the_labels(tmp_path: Path) -> None:
    draw_gallery(tmp_path, n_images=12, seed=2)
    for index, row in enumerate(rows(tmp_path / TRUTH_FILE)):
        assert set(row["tags"].split(" ")) == draw_picture(2, index).clean


def test_series_group_pictures(tmp_path: Path) -> None:
    labels = rows(draw_gallery(tmp_path, n_images=16, seed=2))
    assert [row["series"] for row in labels[:8]] == [
        "s00000", "s00000", "s00000", "s00000", "s00001", "s00001", "s00002", "s00003",
    ]  # fmt: skip
    assert not {row["series"] for row in labels[:8]} & {row["series"] for row in labels[8:]}


def test_the_same_call_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_gallery(tmp_path / name, n_images=6, seed=4)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"
    )
    assert first == second
    assert len(first) == 8


def test_start_continues_where_a_shorter_gallery_ended(tmp_path: Path) -> None:
    whole = rows(draw_gallery(tmp_path / "whole", n_images=10, seed=4))
    rest = rows(draw_gallery(tmp_path / "rest", n_images=4, seed=4, start=6))
    assert rest == whole[6:]


@pytest.mark.parametrize("wrong", [{"n_images": 0}, {"seed": -1}, {"start": -1}], ids=str)
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    numbers = {"n_images": 1, "seed": 0, "start": 0, **wrong}
    with pytest.raises(TagstackError, match="expected at least 1, 0 and 0"):
        draw_gallery(tmp_path, **numbers)
    assert not list(tmp_path.iterdir())
