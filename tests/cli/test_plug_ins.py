"""The examples of docs/plug-ins.md, installed as packages and used from the command line."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tagstack.cli import app
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import HOOKS
from tagstack.ensemble.bundle.files import load_bundle

FromDocs = Callable[[str], None]

CONFIG = """
threads = 1
[stack]
folds = 2
calibration_strengths = [100.0]
logistic_strengths = [300.0]
selection_rounds = 5
learners = ["line"]
[stack.tuning]
trials = 0
[thresholds]
strategy = "youden"
[start]
floor_images = 0  # so few pictures would fall back on the start
anchor_positives = 0
"""


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Return a folder with 40 pictures, their labels as ``labels.pipe``, and a configuration."""
    from tagstack.base_models.zoo.gallery import draw_gallery

    labels = draw_gallery(tmp_path / "images", n_images=40, seed=3)
    with labels.open(newline="") as stream:
        rows = [(row["image"], row["tags"].split()) for row in csv.DictReader(stream)]
    text = "".join("|".join([image, *tags]) + "\n" for image, tags in rows)
    (tmp_path / "labels.pipe").write_text(text)
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def test_the_examples_from_labels_to_tags(drawn: Path, from_docs: FromDocs) -> None:
    for heading in ("A label format", "A learner", "A threshold strategy", "An output format"):
        from_docs(heading)
    scored = ("--scores", drawn / "scores", "--config", drawn / "config.toml")
    labelled = (*scored, "--labels", drawn / "labels.pipe", "--bundle", drawn / "bundle")
    run("score", drawn / "images", "--models", "doll_vit", *scored)
    run("fit", *labelled, "--json")
    bundle = load_bundle(drawn / "bundle")
    assert "line" in bundle.stacker.rungs_
    assert set(bundle.thresholds.objective) == {"youden"}
    assert set(bundle.thresholds.state) == {"tuned", "pooled"}

    found = json.loads(
        run("calibrate", *labelled, "--objective", "fixed:0.4", "--tag", "1*=youden", "--json")
    )
    again = load_bundle(drawn / "bundle").thresholds
    assert found["states"] == dict(Counter(again.state))
    assert set(again.objective) == {"fixed:0.4", "youden"}

    picture = next((drawn / "images").glob("*.png"))
    run("tag", picture, "--bundle", drawn / "bundle", "--out", drawn / "tags", "--format", "lines")
    name, *tags = (drawn / "tags" / "tags.lines").read_text().rstrip("\n").split("\t")
    assert name == picture.name
    assert set(tags) <= set(bundle.vocabulary.tags)


def test_a_misspelt_strategy_is_found_before_the_work(tmp_path: Path, from_docs: FromDocs) -> None:
    from_docs("A threshold strategy")
    (tmp_path / "config.toml").write_text('[thresholds]\nstrategy = "yuden"\n')
    with pytest.raises(
        TagstackError,
        match=r"^Unknown threshold strategy 'yuden' in thresholds\.strategy\. Built in are "
        r"\['joint_f', .*'rcut'\]; installed packages offer \['youden'\] under",
    ):
        run("score", tmp_path, "--models", "doll_vit", "--scores", tmp_path / "scores",
            "--config", tmp_path / "config.toml")  # fmt: skip


def test_doctor_lists_plug_ins_found_and_broken(
    tmp_path: Path, from_docs: FromDocs, install_package: Callable[..., Path]
) -> None:
    from_docs("A learner")
    install_package("bad", "import nowhere", {"tagstack.output_formats": {"bad": "bad"}})
    result = CliRunner().invoke(app, ["doctor", "--json"])
    found = {row["subject"]: row for row in json.loads(result.stdout)}
    assert found["learner line"]["state"] == "ok"
    assert found["learner line"]["detail"] == "my-learner 1.2, my_learner:Line"
    assert found["output format bad"]["state"] == "fault"
    assert (
        "of bad 1.2 cannot be loaded: No module named 'nowhere'"
        in (found["output format bad"]["detail"])
    )
    assert result.exit_code == 1


def test_every_hook_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "plug-ins.md").read_text("utf-8")
    assert all(f'[project.entry-points."{hook.group}"]' in page for hook in HOOKS)
