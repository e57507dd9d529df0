"""Commands killed, interrupted or out of disk: run again, they end as if nothing had been."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tagstack.base_models.scores.store import ScoreStore
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.console.ladder import print_demo
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.demo import run_demo

Command = Callable[..., Any]  # the fixtures of conftest.py
Done = Callable[..., str]

TAGSTACK = Path(sys.executable).with_name("tagstack")


def fit_arguments(root: Path, bundle: Path) -> list[object]:
    return [
        "fit", "--scores", root / "scores", "--labels", root / "labels.csv", "--bundle", bundle,
        "--rules", "danbooru", "--group", "series", "--where", "part=fit",
        "--config", root / "config.toml",
    ]  # fmt: skip


def score_arguments(root: Path, scores: Path) -> list[object]:
    """Return the command that scores a folder with two taggers, in several parts."""
    return [
        "score", root / "images", "--models", "doll_resnet,doll_vit", "--scores", scores,
        "--config", root / "parts.toml",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def scored(booru: Path, once: Callable[..., Path], done: Done) -> Path:
    """Return a folder with half of the pictures and the scores that one run gives them."""

    def make(root: Path) -> None:
        some_of(booru, 80, root / "images")
        (root / "parts.toml").write_text("threads = 1\n[score]\npart_images = 20\n")
        done(*score_arguments(root, root / "scores"))

    return once("scored", make)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {".scores", ".tagstack"} & set(path.parts)
    }


def some_of(booru: Path, n_images: int, folder: Path) -> Path:
    """Return a folder with the first pictures of a booru."""
    folder.mkdir()
    for path in sorted((booru / "images").glob("*.png"))[:n_images]:
        shutil.copy(path, folder)
    return folder


def test_score_killed_and_run_again_equals_one_run(
    scored: Path, tmp_path: Path, done: Done, killed: Callable[..., int]
) -> None:
    arguments = score_arguments(scored, tmp_path / "scores")
    killed(arguments, lambda: len(list((tmp_path / "scores").rglob("*.parquet"))) >= 2)
    done(*arguments)
    assert loaded(tmp_path / "scores") == loaded(scored / "scores")


def loaded(store: Path) -> tuple[tuple[str, ...], bytes, bytes]:
    scores = ScoreStore(store).load()
    return scores.images, scores.pairs.tag.tobytes(), scores.logit.tobytes()


def test_fit_killed_and_run_again_equals_one_run(
    booru: Path, tmp_path: Path, done: Done, killed: Callable[..., int]
) -> None:
    arguments = fit_arguments(booru, tmp_path / "bundle")
    kept = tmp_path / ".bundle.fitting"
    killed(arguments, lambda: any(path.is_file() for path in kept.rglob("*")))
    assert not (tmp_path / "bundle").exists()
    done(*arguments)
    assert files(tmp_path / "bundle") == files(booru / "bundle")
    assert not kept.exists()


def test_tag_killed_and_run_again_equals_one_run(
    booru: Path, tmp_path: Path, done: Done, killed: Callable[..., int]
) -> None:
    images = some_of(booru, 64, tmp_path / "images")
    arguments = ["tag", images, "--bundle", booru / "bundle", "--format", "txt,jsonl"]
    done(*arguments, "--out", tmp_path / "whole")
    parts = [*arguments, "--out", tmp_path / "parts"]
    killed(parts, lambda: len(list((tmp_path / "parts").glob("*.txt"))) >= 10)
    done(*parts)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_ctrl_c_is_exit_code_130_and_loses_nothing(
    scored: Path, tmp_path: Path, done: Done
) -> None:
    arguments = score_arguments(scored, tmp_path / "scores")
    command = [str(TAGSTACK), *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert "scoring\n" in iter(process.stderr.readline, "")  # after a note on the settings
        process.send_signal(signal.SIGINT)
        _, message = process.communicate()
    assert process.returncode == 130
    assert "run the same command again" in message
    done(*arguments)
    assert loaded(tmp_path / "scores") == loaded(scored / "scores")


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    scored: Path, tmp_path: Path, done: Done, on_a_full_disk: Command
) -> None:
    arguments = score_arguments(scored, tmp_path / "scores")
    result = on_a_full_disk(*arguments)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("Error: Cannot write")
    assert "Traceback" not in result.stderr
    done(*arguments)
    assert loaded(tmp_path / "scores") == loaded(scored / "scores")


_DEMO = """
from pathlib import Path
from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.demo import run_demo

settings = load_settings(Path(CONFIG))
run_demo(Path(OUT), n_images=60, overwrite=False, settings=settings, progress=Silent())
"""


def test_a_demonstration_that_was_killed_goes_on(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small one with quick fits; .ci/run runs the README's as it stands."""
    out, config = tmp_path / "demo", small / "config.toml"
    script = _DEMO.replace("CONFIG", repr(str(config))).replace("OUT", repr(str(out)))
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        while not (out / "scores/fit").is_dir():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    again = partial(
        run_demo, out, n_images=60, overwrite=False, settings=load_settings(config),
        progress=Silent(),
    )  # fmt: skip
    print_demo(again())
    assert "stack + decoder" in capsys.readouterr().out
    assert (out / "report/report.html").exists()
    assert len(list((out / "tags").glob("*.txt"))) == 24
    with pytest.raises(TagstackError, match="--overwrite"):
        again()
