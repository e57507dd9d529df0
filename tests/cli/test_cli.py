"""The installed command, run as a user runs it: exit codes, messages, files, resuming."""

import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from tagstack.base_models.taggers.registry import resolve
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.cli import app
from tagstack.ensemble.rules.sources import load_rules

Command = Callable[..., Any]  # the fixtures of conftest.py
Done = Callable[..., str]

TAGSTACK = Path(sys.executable).with_name("tagstack")
TAGGERS = "doll_resnet,doll_convnext,doll_vit"


def fit_arguments(root: Path, bundle: Path) -> list[object]:
    return [
        "fit", "--scores", root / "scores", "--labels", root / "labels.csv", "--bundle", bundle,
        "--rules", "danbooru", "--group", "series", "--where", "part=fit",
        "--config", root / "config.toml",
    ]  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {".scores", ".tagstack"} & set(path.parts)
    }


def test_help_is_fast_and_ends_with_two_commands_to_paste(done: Done) -> None:
    began = time.perf_counter()
    text = done("--help")
    assert time.perf_counter() - began < 3  # a gross bound; the figure is in docs/results.md
    assert "tagstack demo --out demo" in text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert all(line.startswith("tagstack ") for line in lines[-2:]), lines[-2:]


def commands_below(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield " ".join((*path, name)), inner
        yield from commands_below(inner, (*path, name))


@pytest.mark.parametrize(("path", "command"), [*commands_below(typer.main.get_command(app))])
def test_every_command_ends_its_help_with_examples_that_fit_a_line(path: str, command: Any) -> None:
    examples = (command.epilog or "").split("\n\n")
    assert len(examples) >= 2
    for example in examples:
        assert example.startswith("tagstack ")
        assert len(example) <= 78, example  # of 80 columns, the margins taken off


def test_the_package_runs_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tagstack", "doctor", "--json"], capture_output=True, check=False
    )
    assert {"subject", "state", "detail"} == set(json.loads(result.stdout)[0])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["models", "show", "nope"], 1, "Error: Unknown tagger 'nope'. Known taggers: ["),
        (["score", "gone", "--models", "doll_vit", "--scores", "s"], 1, "Error: No such file"),
        (
            ["score", ".", "--models", "doll_vit", "--scores", "s", "--devices", "0,gpu"],
            1,
            "must be numbers of GPUs, each once, or all \"cpu\"; got ['0', 'gpu']",
        ),
        (["tag", "x.png", "--bundle", "gone", "--out", "o"], 1, "Error: gone is no bundle"),
        (["tag", "x.png", "--bundle", "b", "--out", "o", "--format", "xml"], 2, "'xml' is none of"),
        (["fit"], 2, "Missing option"),
        (["nope"], 2, "No such command"),
    ],
)
def test_a_mistake_is_one_line_and_the_right_exit_code(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tagstack: Command,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = tagstack(*arguments)
    assert result.returncode == code
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_compare_writes_the_report_on_images_the_stack_never_saw(
    booru: Path, tmp_path: Path, done: Done
) -> None:
    text = done(
        "compare", "--bundle", booru / "bundle", "--scores", booru / "scores", "--labels",
        booru / "labels.csv", "--where", "part=test", "--group", "series", "--out",
        tmp_path / "report", "--config", booru / "config.toml",
    )  # fmt: skip
    for rung in ("doll_vit @ published", "single:doll_vit", "mean", "calibrated_mean",
                 "shrunken_logistic", "stack", "stack + decoder"):  # fmt: skip
        assert rung in text
    assert {"report.html", "metrics.json", "report.md"} <= set(files(tmp_path / "report"))


def test_compare_takes_other_tools_as_rungs(booru: Path, tmp_path: Path, tagstack: Command) -> None:
    with (booru / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    test = [row for row in rows if row["part"] == "test"]
    with (tmp_path / "mine.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["filename", "tag", "score"])
        for row in rows:  # a tool that knows the truth, and says so at 0.3 instead of 0.1
            table.writerows([row["image"], tag, 0.3] for tag in row["tags"].split())
            table.writerow([row["image"], "solo", 0.3 if "solo" in row["tags"].split() else 0.1])
    for row in test[1:]:
        path = tmp_path / "sidecars" / Path(row["image"]).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(row["tags"])
    result = tagstack(
        "compare", "--bundle", booru / "bundle", "--scores", booru / "scores", "--labels",
        booru / "labels.csv", "--where", "part=test", "--group", "series", "--out",
        tmp_path / "report", "--config", booru / "config.toml",
        "--other", f"mine={tmp_path / 'mine.csv'}", "--other", f"side={tmp_path / 'sidecars'}",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "side says nothing about 1 images" in " ".join(result.stderr.split())
    metrics = json.loads((tmp_path / "report/metrics.json").read_text())
    mine, side = metrics["rungs"][:2]
    assert (mine["name"], side["name"]) == ("mine", "side")
    assert mine["scores"]["all"]["macro_ap"]["value"] == pytest.approx(1)
    assert mine["decisions"]["micro_f"] == pytest.approx(1)  # by thresholds, not at 0.5
    assert "fit images" in mine["note"]
    assert side["decisions"]["micro_precision"] == pytest.approx(1)
    assert 0.9 < side["decisions"]["micro_recall"] < 1


def test_compare_refuses_a_tool_without_a_name(tmp_path: Path, tagstack: Command) -> None:
    result = tagstack(
        "compare", "--bundle", "b", "--scores", "s", "--labels", "l.csv", "--out", tmp_path,
        "--other", "tags.csv",
    )  # fmt: skip
    assert result.returncode == 2
    assert "'tags.csv' is not NAME=PATH" in " ".join(result.stderr.split())


def test_compare_refuses_images_that_were_fitted_on(
    booru: Path, tmp_path: Path, tagstack: Command
) -> None:
    result = tagstack(
        "compare", "--bundle", booru / "bundle", "--scores", booru / "scores", "--labels",
        booru / "labels.csv", "--where", "part=fit", "--out", tmp_path / "report",
    )  # fmt: skip
    assert result.returncode == 1
    assert "Error: All " in result.stderr
    assert "images were used to fit this bundle" in result.stderr
    assert not (tmp_path / "report").exists()


def test_compare_leaves_out_fitted_images_and_says_so(
    booru: Path, tmp_path: Path, tagstack: Command
) -> None:
    result = tagstack(
        "compare", "--bundle", booru / "bundle", "--scores", booru / "scores", "--labels",
        booru / "labels.csv", "--out", tmp_path / "report", "--config", booru / "config.toml",
    )  # fmt: skip
    assert result.returncode == 0
    assert "of 160 images were used to fit this bundle" in result.stderr
    assert "are left out" in (tmp_path / "report/report.html").read_text()


def test_tags_do_not_depend_on_company(booru: Path, tmp_path: Path, done: Done) -> None:
    names = sorted(path.name for path in (booru / "images").glob("*.png"))[:6]
    for kind, chosen in (("few", names[:3]), ("more", names)):
        folder = tmp_path / kind
        folder.mkdir()
        for name in chosen:
            shutil.copy(booru / "images" / name, folder / name)
        done(
            "tag", folder, "--bundle", booru / "bundle", "--out", tmp_path / f"{kind}-tags",
            "--format", "txt,json",
        )  # fmt: skip
    few, more = files(tmp_path / "few-tags"), files(tmp_path / "more-tags")
    assert len(few) == 6
    assert few.items() <= more.items()


def test_bad_images_cost_only_themselves(booru: Path, tmp_path: Path, tagstack: Command) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    good = sorted((booru / "images").glob("*.png"))[0]
    shutil.copy(good, folder / "good.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "half.png").write_bytes(good.read_bytes()[:400])
    result = tagstack("tag", folder, "--bundle", booru / "bundle", "--out", tmp_path / "tags")
    assert result.returncode == 3
    assert set(files(tmp_path / "tags")) == {"good.txt", "failures.csv"}
    with (tmp_path / "tags/failures.csv").open(newline="") as stream:
        failed = {row["image"]: row["reason"] for row in csv.DictReader(stream)}
    assert set(failed) == {"empty.png", "half.png"}
    assert "0 bytes" in failed["empty.png"]


def test_explain_names_votes_threshold_and_rule(booru: Path, tagstack: Command, done: Done) -> None:
    image = sorted((booru / "images").glob("*.png"))[0]
    content = json.loads(done("explain", image, "--bundle", booru / "bundle", "--json"))
    entry = content["entries"][0]
    assert set(entry["votes"]) == set(TAGGERS.split(","))
    assert (entry["proba"] >= entry["threshold"]) == entry["tagged"] or entry["rule"]
    one = json.loads(done("explain", image, "1girl", "--bundle", booru / "bundle", "--json"))
    assert [entry["tag"] for entry in one["entries"]] == ["1girl"]
    wrong = tagstack("explain", image, "1gril", "--bundle", booru / "bundle")
    assert wrong.returncode == 1
    assert "Did you mean 1girl" in wrong.stderr


def test_a_bundle_refuses_other_taggers(booru: Path, tmp_path: Path, tagstack: Command) -> None:
    changed = tmp_path / "doll_vit"
    shutil.copytree(resolve("doll_vit"), changed)
    contract = (changed / "tagger.toml").read_text()
    (changed / "tagger.toml").write_text(contract.replace('"RGB"', '"BGR"'))
    result = tagstack(
        "tag", booru / "images", "--bundle", booru / "bundle", "--out", tmp_path / "tags",
        "--models", f"doll_resnet,doll_convnext,{changed}",
    )  # fmt: skip
    assert result.returncode == 1
    assert "Tagger 'doll_vit' has fingerprint" in result.stderr


@pytest.mark.parametrize("harm", ["truncate", "remove", "add", "flip"])
def test_a_damaged_bundle_is_refused_and_named(
    booru: Path, tmp_path: Path, harm: str, tagstack: Command
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(booru / "bundle", bundle)
    victim = bundle / "thresholds.csv"
    content = victim.read_bytes()
    if harm == "remove":
        victim.unlink()
    elif harm == "add":
        victim = bundle / "extra.bin"
        victim.write_bytes(b"x")
    else:
        half = content[: len(content) // 2]
        victim.write_bytes(half if harm == "truncate" else content[:-3] + b"9" + content[-2:])
    result = tagstack("tag", booru / "images", "--bundle", bundle, "--out", tmp_path / "tags")
    assert result.returncode == 1
    assert victim.name in result.stderr
    assert not (tmp_path / "tags").exists()


def test_an_existing_bundle_stays_unless_told(booru: Path, tagstack: Command) -> None:
    before = files(booru / "bundle")
    result = tagstack(*fit_arguments(booru, booru / "bundle"))
    assert result.returncode == 1
    assert "--overwrite" in result.stderr
    assert files(booru / "bundle") == before


def test_one_image_is_too_few_to_fit_on(booru: Path, tmp_path: Path, tagstack: Command) -> None:
    with (booru / "labels.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))[:2]
    (tmp_path / "one.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
    result = tagstack(
        "fit", "--scores", booru / "scores", "--labels", tmp_path / "one.csv", "--bundle",
        tmp_path / "bundle",
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert "at least 10 labelled images for 5 folds, got 1" in result.stderr


def test_images_of_one_stem_get_a_sidecar_each(
    booru: Path, tmp_path: Path, tagstack: Command
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    first, second = sorted((booru / "images").glob("*.png"))[:2]
    shutil.copy(first, folder / "1.png")
    with Image.open(second) as picture:
        picture.convert("RGB").save(folder / "1.jpg")
    result = tagstack("tag", folder, "--bundle", booru / "bundle", "--out", tmp_path / "tags")
    assert result.returncode == 0
    assert "2 images share their name" in result.stderr
    assert set(files(tmp_path / "tags")) == {"1.png.txt", "1.jpg.txt"}


def some_of(booru: Path, n_images: int, folder: Path) -> Path:
    """Return a folder with the first pictures of a booru."""
    folder.mkdir()
    for path in sorted((booru / "images").glob("*.png"))[:n_images]:
        shutil.copy(path, folder)
    return folder


def test_captions_can_leave_out_what_other_tags_imply(
    booru: Path, tmp_path: Path, done: Done
) -> None:
    (tmp_path / "drop.toml").write_text('[output]\nimplied = "drop"\n')
    images = some_of(booru, 24, tmp_path / "images")
    arguments = ["tag", images, "--bundle", booru / "bundle", "--format", "txt,json"]
    done(*arguments, "--out", tmp_path / "keep")
    done(*arguments, "--out", tmp_path / "drop", "--config", tmp_path / "drop.toml")
    dropped = 0
    for path in sorted((tmp_path / "keep").glob("*.txt")):
        kept = set(path.read_text().strip().split(", "))
        short = set((tmp_path / "drop" / path.name).read_text().strip().split(", "))
        bound = load_rules("danbooru").bind(Vocabulary(tuple(sorted(kept)), ("",) * len(kept)))
        implied = set(bound.ancestors.tocoo().coords[1].tolist())
        assert short == {tag for i, tag in enumerate(sorted(kept)) if i not in implied}
        dropped += len(implied)
        record = json.loads(path.with_suffix(".json").read_text())
        assert set(record["tags"]) == kept
    assert dropped > 0
