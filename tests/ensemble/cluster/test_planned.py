"""What shards take: fixed by contents, whatever the order and the number of workers."""

import random
from pathlib import Path

import pytest

from tagstack.base_models.pictures.images import FileContent, ImageError
from tagstack.base_models.scoring.sources import ImageSources
from tagstack.configs.settings import load_settings
from tagstack.ensemble.cluster.planned import Identified, identified, plan_key, shards_of

NOWHERE = ImageSources(Path("/nowhere"), ())


def content(number: int) -> FileContent:
    return FileContent(f"{number:064x}", 1)


FOUND: list[Identified] = [
    *((f"{i:02d}.png", content(i * 37 % 20)) for i in range(20)),
    ("copy.png", content(3)),
    ("bad.png", "no image"),
]


@pytest.mark.parametrize("n_shards", [1, 3, 7, 100])
def test_every_picture_is_in_one_shard_and_a_content_with_all_its_names(n_shards: int) -> None:
    shards = shards_of(NOWHERE, FOUND, n_shards)
    assert sorted(name for own in shards for name in own.names) == sorted(n for n, _ in FOUND)
    assert len(shards) == min(n_shards, 21)
    sizes = [len({str(one) for one in own.contents.values()}) for own in shards]
    assert max(sizes) - min(sizes) <= 1
    (home,) = [own for own in shards if "copy.png" in own.contents]
    assert content(3) in [home.contents[name] for name in home.names if name != "copy.png"]


def test_the_order_in_which_pictures_are_found_changes_nothing() -> None:
    mixed = random.Random(0).sample(FOUND, len(FOUND))
    one, other = shards_of(NOWHERE, FOUND, 4), shards_of(NOWHERE, mixed, 4)
    assert one == other
    assert plan_key(one, ["a"]) == plan_key(other, ["a"])


def test_a_plan_of_other_pictures_shards_or_taggers_has_another_key() -> None:
    changed = [("00.png", content(99)), *FOUND[1:]]
    keys = {
        plan_key(shards_of(NOWHERE, found, n), models)
        for found in (FOUND, changed)
        for n in (2, 3)
        for models in (["a"], ["a", "b"])
    }
    assert len(keys) == 8


def test_no_picture_makes_no_shard() -> None:
    assert shards_of(NOWHERE, [], 3) == []


def test_a_shard_knows_contents_unread_and_refuses_what_has_changed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "empty.png").write_bytes(b"")
    score = load_settings().score
    source = ImageSources(tmp_path, ("a.png", "empty.png", "gone.png"))
    (shard,) = shards_of(source, identified(score, source), 1)
    assert shard.picture("a.png", shard.identify("a.png", score)) == b"one"
    (tmp_path / "a.png").write_bytes(b"two")
    with pytest.raises(ImageError, match="changed"):
        shard.picture("a.png", shard.identify("a.png", score))
    with pytest.raises(ImageError, match="is empty"):
        shard.identify("empty.png", score)
    with pytest.raises(ImageError, match="the file is gone"):
        shard.identify("gone.png", score)
