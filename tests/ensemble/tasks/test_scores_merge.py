"""Shares of a run and stores of other taggers become one store, the same bytes for any sharing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tagstack.base_models.scores.store import ScoreStore
from tagstack.cli import app
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.scores_merge import merge_stores
from tagstack.ensemble.tasks.scoring import score_folder

SETTINGS = load_settings(changes={"threads": 1, "score": {"part_images": 3}})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(7):
        pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    shutil.copy(folder / "1.png", folder / "twin.png")
    (folder / "broken.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture(scope="module")
def shares(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return stores of the pictures' shares by one tagger, and one of all by another."""
    root = tmp_path_factory.mktemp("shares")
    for shard in ("1/1", "1/3", "2/3", "3/3"):
        store = root / shard.replace("/", "-")
        score_folder([pictures], ["doll_resnet"], store, SETTINGS, Silent(), shard=shard)
    score_folder([pictures], ["doll_vit"], root / "vit", SETTINGS, Silent())
    return {path.name: path for path in root.iterdir()}


def written(store: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(store.rglob("*")) if path.is_file() and path.name != "lock")
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in paths}


def test_however_a_run_is_shared_out_the_files_are_the_same(
    shares: dict[str, Path], tmp_path: Path
) -> None:
    whole = merge_stores([shares["1-1"]], tmp_path / "whole", SETTINGS, Silent())
    assert (whole.members, whole.n_images, whole.n_new) == (("doll_resnet",), 9, 9)
    thirds = [shares[name] for name in ("3-3", "1-3", "2-3")]
    merge_stores(thirds, tmp_path / "thirds", SETTINGS, Silent())
    assert written(tmp_path / "thirds") == written(tmp_path / "whole")
    again = merge_stores(thirds, tmp_path / "thirds", SETTINGS, Silent())
    assert (again.n_images, again.n_new) == (9, 0)
    assert written(tmp_path / "thirds") == written(tmp_path / "whole")
    merged, scored = ScoreStore(tmp_path / "whole").load(), ScoreStore(shares["1-1"]).load()
    assert merged.images == scored.images
    np.testing.assert_array_equal(merged.logit, scored.logit)
    assert [record.path for record in ScoreStore(tmp_path / "whole").failures()] == ["broken.png"]


def test_stores_of_other_taggers_are_members_of_one(
    shares: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["scores", "merge", str(shares["1-1"]), str(shares["vit"]), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert "9 pictures (9 new) by doll_resnet, doll_vit" in " ".join(result.output.split())
    joint = ScoreStore(out).load()
    for name, member in (("1-1", "doll_resnet"), ("vit", "doll_vit")):
        alone, part = ScoreStore(shares[name]).load(), ScoreStore(out).load(members=[member])
        assert part.images == alone.images == joint.images
        np.testing.assert_array_equal(part.logit, alone.logit)


def test_a_member_that_scored_some_pictures_only_leaves_the_others_out(
    shares: dict[str, Path], tmp_path: Path
) -> None:
    merge_stores([shares["1-3"], shares["vit"]], tmp_path / "out", SETTINGS, Silent())
    store = ScoreStore(tmp_path / "out")
    assert store.load().images == ScoreStore(shares["1-3"]).load().images
    assert len(store.load(members=["doll_vit"]).images) == 8


def test_what_cannot_be_one_is_refused_before_anything_is_written(
    shares: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    other = SETTINGS.model_copy(update={"score": SETTINGS.score.model_copy(update={"floor": 0.2})})
    score_folder([pictures / "0.png"], ["doll_resnet"], tmp_path / "floor", other, Silent())
    with pytest.raises(TagstackError, match=r"doll_resnet is \w{12} in .*another version"):
        merge_stores([shares["1-1"], tmp_path / "floor"], out, SETTINGS, Silent())
    shutil.copy(pictures / "0.png", tmp_path / "5.png")
    score_folder([tmp_path / "5.png"], ["doll_resnet"], tmp_path / "renamed", SETTINGS, Silent())
    with pytest.raises(TagstackError, match=r"5\.png is one picture in .* and another in"):
        merge_stores([shares["1-1"], tmp_path / "renamed"], out, SETTINGS, Silent())
    assert not out.exists()
    with pytest.raises(TagstackError, match=r"to be merged and to be written.*--out"):
        merge_stores([shares["1-1"]], shares["1-1"] / ".", SETTINGS, Silent())


@pytest.mark.parametrize("shard", ["", "1", "0/2", "3/2", "1/0", "-1/2", "a/b", "1/2/3", "²/3"])
def test_a_share_that_is_none_is_refused(shard: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match=r"--shard is .*expected I/N with I from 1 to N"):
        score_folder([pictures], ["doll_vit"], tmp_path / "s", SETTINGS, Silent(), shard=shard)


def test_more_shares_than_pictures_leave_some_empty(pictures: Path, tmp_path: Path) -> None:
    done = score_folder(
        [pictures], ["doll_vit"], tmp_path / "s", SETTINGS, Silent(), shard="1000/1000"
    )
    assert (done.n_scored, done.n_failed) == (0, 0)
