"""What a hostile or hurried user does to the installed command: one line each, and no loss."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]  # the fixture of conftest.py

TAGSTACK = Path(sys.executable).with_name("tagstack")


def refused(result: Any, message: str, code: int = 1) -> None:
    """Check that a command ended with one line for the user."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert message in " ".join(result.stderr.split())
    if code == 1:
        assert result.stderr.splitlines()[-1].startswith("Error: ")


def fit(tagstack: Command, root: Path, bundle: Path, *more: object, labels: Any = None) -> Any:
    return tagstack(
        "fit", "--scores", root / "scores", "--labels", labels or root / "labels.csv",
        "--bundle", bundle, "--config", root / "config.toml", *more,
    )  # fmt: skip


def compare(tagstack: Command, root: Path, labels: Path, out: Path) -> Any:
    return tagstack(
        "compare", "--bundle", root / "bundle", "--scores", root / "scores", "--labels", labels,
        "--out", out, "--config", root / "config.toml", "--json",
    )  # fmt: skip


def tag(tagstack: Command, root: Path, images: Path, out: Path, *more: object) -> Any:
    return tagstack("tag", images, "--bundle", root / "bundle", "--out", out, *more)


def picture(root: Path) -> Path:
    return min((root / "images").glob("*.png"))


def test_overwrite_never_deletes_what_is_no_bundle(
    small: Path, tmp_path: Path, tagstack: Command
) -> None:
    before = (small / "config.toml").read_text()
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / "photo.png").write_bytes(b"irreplaceable")
    refused(
        fit(tagstack, small, folder, "--overwrite"),
        "so it is no bundle, and replacing it would delete",
    )
    assert (folder / "photo.png").read_bytes() == b"irreplaceable"
    refused(
        fit(tagstack, small, small / "config.toml", "--overwrite"), "is no folder that can be read"
    )
    assert (small / "config.toml").read_text() == before


def test_json_has_no_nan(small: Path) -> None:
    def reject(constant: str) -> float:
        raise AssertionError(constant)

    for source in (small / "fit.json", small / "bundle" / "manifest.json"):
        assert json.loads(source.read_text(), parse_constant=reject)


@pytest.mark.parametrize(
    ("models", "code", "message"),
    [
        ("", 2, "has an empty part"),
        ("doll_vit,", 2, "has an empty part"),
        ("x" * 5000, 1, "Unknown tagger"),
        ("./" + "x" * 5000, 1, "There is no folder"),
        ("doll_vit,doll_vit", 1, "are both named 'doll_vit'"),
    ],
)
def test_odd_values_of_models(
    small: Path, tmp_path: Path, models: str, code: int, message: str, tagstack: Command
) -> None:
    result = tagstack("score", picture(small), "--models", models, "--scores", tmp_path / "s")
    refused(result, message, code)
    if code == 2:  # not silently the bundle's own taggers
        refused(
            tag(tagstack, small, picture(small), tmp_path / "t", "--models", models), message, code
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ["tag", "", "--bundle", "b", "--out", "t"],
        ["start", "--models", "doll_vit", "--bundle", ""],
        ["start", "--models", "doll_vit", "--bundle=b", "--images="],
        ["dataset", "lint", ""],
        ["scores", "export", "s", "--out", ""],
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    arguments: list[str], tagstack: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = tagstack(*arguments)
    assert result.returncode == 2
    assert "a path is empty" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "message"),
    [("file/x", "is no folder"), ("x" * 300, "File name too long"), ("file/a/b", "is no folder")],
)
@pytest.mark.parametrize("command", ["compare", "audit", "labels suspects", "rules mine"])
def test_what_cannot_be_written_is_said_before_the_work(
    small: Path, tmp_path: Path, tagstack: Command, command: str, place: str, message: str
) -> None:
    (tmp_path / "file").write_text("mine")
    labels = ["--labels", small / "labels.csv", "--out", tmp_path / place]
    scored = ["--bundle", small / "bundle", "--scores", small / "scores"]
    more = [] if command == "rules mine" else [*scored, "--where", "part=test"]
    result = tagstack(*command.split(), *labels[:2], *more, *labels[2:])
    refused(result, message)
    assert len(result.stderr.splitlines()) == 1  # no stage had begun
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("place", [".", "/", "./"])
@pytest.mark.parametrize("command", ["accept", "compare", "dataset stats", "scores export"])
def test_a_folder_is_no_place_for_a_file(
    small: Path, tmp_path: Path, tagstack: Command, command: str, place: str
) -> None:
    choices: dict[str, list[object]] = {
        "accept": ["--bundle", small / "bundle", "--tags", small / "scores"],
        "compare": ["--bundle", small / "nowhere", "--scores", "s", "--labels", "l.csv"],
        "dataset stats": [small / "images"],
        "scores export": [small / "scores", "--member", "doll_resnet"],
    }
    if command == "compare" and place != "/":
        place = "/dev/null/x"
    result = tagstack(*command.split(), *choices[command], "--out", place)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1


def test_a_value_of_an_option_is_not_blamed_on_the_file(small: Path, tagstack: Command) -> None:
    arguments = ["tag", picture(small), "--models", "doll_vit", "--config", small / "config.toml"]
    result = tagstack(*arguments, "--precision", "half")
    refused(result, "Error: By an option: score.precision = 'half'")
    result = tagstack(*arguments, "--first", b"\xff")
    refused(result, "is not UTF-8")


def test_space_around_names_is_no_part_of_them(
    small: Path, tmp_path: Path, tagstack: Command
) -> None:
    result = tagstack(
        "-q", "score", picture(small), "--models", " doll_vit , doll_resnet",
        "--scores", tmp_path / "s", "--json",
    )  # fmt: skip
    assert json.loads(result.stdout)["n_scored"] == 1
    assert result.stderr == ""  # quiet: neither stages nor notices
    assert (
        tag(tagstack, small, picture(small), tmp_path / "t", "--format", "txt, json").returncode
        == 0
    )


def test_verbose_shows_our_lines_alone(small: Path, tmp_path: Path, in_a_process: Command) -> None:
    result = in_a_process(
        "-v", "score", picture(small), "--models", "doll_vit", "--scores", tmp_path / "s"
    )
    assert result.returncode == 0
    assert "STREAM" not in result.stderr  # what the image library says of every chunk


@pytest.mark.parametrize("bundle", ["config.toml/b", "b" * 250])
def test_a_bundle_that_cannot_be_written_is_refused_at_once(
    small: Path, bundle: str, tagstack: Command
) -> None:
    refused(fit(tagstack, small, small / bundle), "Cannot write")


def test_a_user_without_a_home_can_tag(
    small: Path, tagstack: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container's user may be: a number, without a name and without HOME."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("TAGSTACK_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    for command in (
        ("models", "list"),
        ("tag", picture(small), "--bundle", small / "bundle", "--out", tmp_path / "tags"),
    ):
        done = tagstack(*command)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_every_file_of_a_bundle_may_be_read_by_whom_the_umask_lets(
    small: Path, tagstack: Command, tmp_path: Path
) -> None:
    """A service of another user reads it; safetensors makes files for their owner alone."""
    shutil.copytree(small / "bundle", tmp_path / "bundle")
    done = tagstack(
        "calibrate", "--bundle", tmp_path / "bundle", "--scores", small / "scores",
        "--labels", small / "labels.csv", "--where", "part=test", "--config", small / "config.toml",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plain = tmp_path / "plain"
    plain.touch()
    odd = {
        path.relative_to(tmp_path): oct(path.stat().st_mode)
        for path in (tmp_path / "bundle").rglob("*")
        if path.is_file() and path.stat().st_mode != plain.stat().st_mode
    }
    assert odd == {}


def test_explain_wants_one_image(small: Path, tagstack: Command) -> None:
    result = tagstack("explain", small / "images", "--bundle", small / "bundle")
    refused(result, "is a folder; expected one image file")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "image,tags,tags\na,b,c\n", "has the column 'tags' twice"),
        ("l.csv", "image;tags\na;b\n", "was scored: it names 'a', the scores 'doll_"),
        ("l.csv", "image,tags\nNAME,\n", "names no tag that a tagger knows"),
        ("l.csv", "image,tags\nNAME,zzz yyy\n", "not understood are ['zzz', 'yyy']"),
        ("l.jsonl", '{"image": "a", "tags": null}\n', "'tags' is None. Expected one text"),
        ("l.jsonl", '{"image": "a", "tags": {"b": 1}}\n', "Expected one text or a list"),
        ("l.jsonl", "[" * 100_000, "Cannot read labels"),
    ],
)
def test_labels_that_say_nothing(
    small: Path, tmp_path: Path, name: str, text: str, message: str, tagstack: Command
) -> None:
    labels = tmp_path / name
    labels.write_text(text.replace("NAME", picture(small).name))
    refused(fit(tagstack, small, tmp_path / "b", labels=labels), message)
    if "'zzz'" in message:
        refused(compare(tagstack, small, labels, tmp_path / "r"), message)


def test_names_that_are_not_utf8_reach_the_report(
    small: Path, tmp_path: Path, tagstack: Command
) -> None:
    lines = (small / "labels.csv").read_bytes().splitlines()
    test = [line.split(b",") for line in lines if line.endswith(b",test")]
    odd = [[image, tags + b" caf\xe9", b"k\xff%d" % (i % 2)] for i, (image, tags, *_) in
           enumerate(test)]  # fmt: skip
    rows = [[b"image", b"tags", b"kind"], *odd, [b"gone\xff.png", b"a", b"b"]]
    labels = tmp_path / "l.csv"
    labels.write_bytes(b"".join(b",".join(row) + b"\n" for row in rows))
    result = compare(tagstack, small, labels, tmp_path / "r")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["rungs"]
    assert (tmp_path / "r/report.html").read_text(encoding="utf-8")


def test_odd_file_names_cost_nobody_else(small: Path, tmp_path: Path, tagstack: Command) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    names = [b"new\nline.png", b"caf\xe9.png", "\U0001f600.png".encode(), b"a" * 250 + b".png",
             b"b" * 251 + b".png", b"1.png", b"1.jpg", b"1.png.png", b"=1.png"]  # fmt: skip
    for name in names:
        shutil.copy(picture(small), folder / os.fsdecode(name))
    result = tag(tagstack, small, folder, tmp_path / "t", "--format", "json", "--json")
    assert result.returncode == 3, result.stderr
    content = json.loads(result.stdout)
    (failed,) = content["failures"]
    assert failed["name"] == "b" * 251 + ".png"
    assert "256 bytes, over the limit of 255" in failed["reason"]
    written = list((tmp_path / "t").glob("*.json"))
    assert len(written) == len(names) - 1  # nobody shares a sidecar
    assert sorted(json.loads(path.read_text())["image"] for path in written) == sorted(
        os.fsdecode(name) for name in names if not name.startswith(b"bb")
    )


def test_an_error_is_one_line_whatever_the_name_holds(
    small: Path, tmp_path: Path, tagstack: Command
) -> None:
    result = tagstack("explain", tmp_path / "no\nsuch.png", "--bundle", small / "bundle")
    refused(result, "no\\nsuch.png")


def test_a_tagger_that_moved_is_named_with_the_way_out(
    small: Path, tmp_path: Path, tagstack: Command
) -> None:
    shutil.copytree(small / "bundle", tmp_path / "bundle")
    manifest = tmp_path / "bundle" / "manifest.json"
    was, there = json.dumps(str(small / "doll_vit")), json.dumps(str(tmp_path / "gone"))
    assert was in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(was, there))
    arguments = ["explain", picture(small), "--bundle", tmp_path / "bundle"]
    refused(tag(tagstack, tmp_path, picture(small), tmp_path / "t"), "--models A,B,C")
    refused(tagstack(*arguments), "--models A,B,C")
    models = ["--models", f"doll_resnet,{small / 'doll_vit'}"]
    assert tag(tagstack, tmp_path, picture(small), tmp_path / "t", *models).returncode == 0
    assert tagstack(*arguments, *models).returncode == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("files", None), ("members", [{"x": 1}])],
)
def test_a_damaged_manifest_is_named(
    small: Path, tmp_path: Path, key: str, value: object, tagstack: Command
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(small / "bundle", bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {key: value}))
    result = tagstack("tag", picture(small), "--bundle", bundle, "--out", tmp_path / "t")
    refused(result, f"manifest.json is damaged: {key}")


@pytest.mark.parametrize("content", ['{"format": 1}', '{"format": 1, "members": ["a"]}'])
def test_a_damaged_store_index_is_named(
    small: Path, tmp_path: Path, content: str, tagstack: Command
) -> None:
    shutil.copytree(small / "scores", tmp_path / "scores")
    (tmp_path / "scores/store.json").write_text(content)
    result = tagstack(
        "score", picture(small), "--models", "doll_vit", "--scores", tmp_path / "scores"
    )
    refused(result, "store.json is damaged")


def test_fit_on_a_full_disk_is_one_line_and_leaves_no_bundle(
    small: Path, tmp_path: Path, on_a_full_disk: Command
) -> None:
    (tmp_path / "tuned.toml").write_text(
        "threads = 1\n[stack]\nlearners = ['xgboost']\nfolds = 3\n"
        "calibration_strengths = [100.0]\nlogistic_strengths = [300.0]\n"
    )
    more = ["--trials", "2", "--config", tmp_path / "tuned.toml"]
    refused(fit(on_a_full_disk, small, tmp_path / "b", *more), "Cannot keep the tuning trials")
    assert not (tmp_path / "b").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [TAGSTACK, "models", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    refused(result, "Error: No space left on device")


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    command = [str(TAGSTACK), "demo", "--out", str(tmp_path / "demo"), "--images", "3000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"drawing" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate()
    assert process.returncode == 130
    assert shown.decode() == "Interrupted; run the same command again to go on.\n"


COMMAND = """
import time
from tagstack import cli
@cli.app.command()
def busy():
    print("begun", flush=True)
    time.sleep(600)
cli.main()
"""
DEEP = """
import hashlib, threading
from tagstack.ensemble.console.interruption import Interruption
Interruption(grace_s=0.1).watch()
threading.Timer(0.1, lambda: print("begun", flush=True)).start()  # from within that call
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # as long as anybody can wait, in one call
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("program", [COMMAND, DEEP], ids=["a command", "deep in a library"])
def test_one_signal_ends_a_run(program: str, number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", program, "busy"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(number)
        _, shown = process.communicate(timeout=60)
    assert process.returncode == code
    assert shown.decode() == "Interrupted; run the same command again to go on.\n"


def test_a_command_gives_the_signals_back(tagstack: Command) -> None:
    def held() -> list[Any]:
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        return [wakeup, *map(signal.getsignal, (signal.SIGINT, signal.SIGTERM))]

    before, threads = held(), {*threading.enumerate()}
    assert tagstack("config", "show").returncode == 0
    assert held() == before
    for thread in {*threading.enumerate()} - threads:
        thread.join(10)
        assert not thread.is_alive()
