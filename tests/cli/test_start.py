"""``tagstack start``, and every command that takes a bundle on a start bundle, in process."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tagstack.cli import app

TAGGERS = "doll_resnet,doll_vit"
CAUTION = "a start bundle, made without labels: not judged on your images"


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 60 pictures, their labels and scores, and a start bundle of those."""
    from tagstack.base_models.zoo.gallery import draw_gallery

    root = tmp_path_factory.mktemp("start")
    draw_gallery(root / "images", n_images=60, seed=9).rename(root / "labels.csv")
    run("score", root / "images", "--models", TAGGERS, "--scores", root / "scores")
    run("start", "--scores", root / "scores", "--bundle", root / "start", "--rules", "danbooru")
    return root


def tags_of(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.txt"))}


def pictures(root: Path, number: int) -> list[Path]:
    return sorted((root / "images").glob("*.png"))[:number]


def test_a_folder_is_tagged_without_a_bundle_and_each_image_by_itself(
    drawn: Path, tmp_path: Path
) -> None:
    first, *others = pictures(drawn, 4)
    models = ("--models", TAGGERS, "--rules", "danbooru")
    assert CAUTION in run("tag", first, *others, *models, "--out", tmp_path / "all")
    run("tag", first, *models, "--out", tmp_path / "one")
    together, alone = tags_of(tmp_path / "all"), tags_of(tmp_path / "one")
    assert len(together) == 4
    assert "1girl" in " ".join(together.values())
    assert alone == {first.stem: together[first.stem]}


def test_one_tagger_is_enough(drawn: Path, tmp_path: Path) -> None:
    run("start", "--models", "doll_vit", "--bundle", tmp_path / "s")
    out = ("--out", tmp_path / "t")
    assert CAUTION in run("tag", *pictures(drawn, 2), "--bundle", tmp_path / "s", *out)
    assert all(tags_of(tmp_path / "t").values())


def test_start_says_what_it_rests_on(drawn: Path, tmp_path: Path) -> None:
    said = run("start", "--models", TAGGERS, "--bundle", tmp_path / "a")
    assert "No image was looked at" in said
    assert CAUTION in said
    images = pictures(drawn, 3)
    options = [text for image in images for text in ("--images", image)]
    said = run("start", "--models", TAGGERS, "--bundle", tmp_path / "b", *options)
    assert "3 unlabelled images" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]  # no scores left behind
    evidence = json.loads((tmp_path / "b" / "manifest.json").read_text())["evidence"]
    assert evidence["start"]["n_images"] == 3


def test_compare_judges_it_and_no_rule_is_broken(drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[compare]\nresamples = 100\nworst_images = 0\n")
    said = run(
        "compare", "--bundle", drawn / "start", "--scores", drawn / "scores", "--labels",
        drawn / "labels.csv", "--out", tmp_path / "report", "--config", tmp_path / "c.toml",
    )  # fmt: skip
    assert CAUTION in said
    with (tmp_path / "report" / "rungs.csv").open(newline="") as stream:
        rungs = {row["rung"]: row for row in csv.DictReader(stream)}
    assert {"doll_vit @ published", "start", "stack + decoder"} <= set(rungs)
    assert float(rungs["stack + decoder"]["contradictions"]) == 0


def test_explain_shows_votes_and_says_so(drawn: Path) -> None:
    said = run("explain", pictures(drawn, 1)[0], "--bundle", drawn / "start")
    assert CAUTION in said
    assert "doll_vit" in said


def test_calibrate_fits_its_thresholds_and_then_the_caution_is_gone(
    drawn: Path, tmp_path: Path
) -> None:
    run("start", "--scores", drawn / "scores", "--bundle", tmp_path / "s")
    labelled = ("--scores", drawn / "scores", "--labels", drawn / "labels.csv")
    assert CAUTION in run("calibrate", "--bundle", tmp_path / "s", *labelled)
    said = run("tag", *pictures(drawn, 1), "--bundle", tmp_path / "s", "--out", tmp_path / "t")
    assert CAUTION not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("start", "--bundle", "b"), "No tagger is named; say --models A,B,C"),
        (
            ("start", "--models", "x", "--images", "i", "--scores", "s", "--bundle", "b"),
            "Both --images and --scores are given",
        ),
        (("start", "--models", "nope", "--bundle", "b"), "Unknown tagger 'nope'"),
        (("start", "--scores", "gone", "--bundle", "b"), "gone is no score store"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    from tagstack.configs.errors import TagstackError

    monkeypatch.chdir(tmp_path)
    with pytest.raises(TagstackError, match=message.replace("(", "\\(")):
        invoke(*arguments)
    assert not (tmp_path / "b").exists()


def test_tag_wants_a_bundle_or_taggers(drawn: Path, tmp_path: Path) -> None:
    from tagstack.configs.errors import TagstackError

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    with pytest.raises(TagstackError, match="Neither a bundle nor taggers are named"):
        invoke("tag", tmp_path / "a.png", "--out", tmp_path / "t")
    bundle = ("--bundle", drawn / "start", "--rules", "danbooru")
    with pytest.raises(TagstackError, match="A bundle has rules of its own"):
        invoke("tag", tmp_path / "a.png", "--out", tmp_path / "t", *bundle)
