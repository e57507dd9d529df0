"""The command line in process, and two drawn boorus that every test reads and none writes to."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jsonschema
import pytest
from typer.main import get_command

Command = Callable[..., "Finished"]

TAGSTACK = Path(sys.executable).with_name("tagstack")
# No search for strengths: tests of meta/ have one. A fit takes half the time.
WHOLE = """
threads = 1
[score]
part_images = 40
[stack]
folds = 3
calibration_strengths = [100.0]
logistic_strengths = [300.0]
selection_rounds = 5
[stack.lightgbm]
rounds = 40
[stack.xgboost]
rounds = 40
[stack.tuning]
trials = 2
storage = "journal"
rounds = [20, 60]
[thresholds]
joint_rounds = 2
frontier = [0.0, 0.5, 1.0]
[compare]
resamples = 100
"""
QUICK = """
threads = 1
[stack]
folds = 3
calibration_strengths = [100.0]
logistic_strengths = [300.0]
selection_rounds = 5
learners = ["svm"]
[stack.tuning]
trials = 0
[thresholds]
joint_rounds = 2
frontier = [0.0, 1.0]
[compare]
resamples = 100
"""


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code and what it said."""

    returncode: int
    stdout: str
    stderr: str


@cache
def the_command() -> Any:
    """Return the command line that `main` makes anew in each process, made once in this one."""
    from tagstack import cli

    return get_command(cli.app)


def run_in_process(*arguments: object) -> Finished:
    """Run the installed command's entry point here, with streams and arguments of its own."""
    from tagstack import cli

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code = 0
    argv = [str(TAGSTACK), *(os.fsdecode(a if isinstance(a, bytes) else str(a)) for a in arguments)]
    line = patch.object(cli, "app", the_command())
    with line, patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    said = []
    for stream in (out, err):
        stream.flush()
        said.append(stream.buffer.getvalue().decode("utf-8"))
    if "--json" in argv and said[0]:
        check_answer(argv[1:], said[0])
    return Finished(code, *said)


@cache
def answer_schemas() -> dict[str, Any]:
    """Return the published schemas of what commands print with ``--json``, by command."""
    text = resources.files("tagstack.configs").joinpath("schemas/answers-1.json").read_text("utf-8")
    found = json.loads(text)
    return {
        command: {"$defs": found["$defs"], **schema}
        for command, schema in found["properties"].items()
    }


@cache
def answer_validators() -> dict[str, Any]:
    """Return what holds answers to their schemas; tests check these as schemas once, not here."""
    return {name: jsonschema.Draft202012Validator(own) for name, own in answer_schemas().items()}


def check_answer(arguments: list[str], printed: str) -> None:
    """Hold an answer to the schema of its command: every command that a test runs passes here."""
    validators = answer_validators()
    names = [" ".join(arguments[:n]) for n in (2, 1)]
    command = next((name for name in names if name in validators), None)
    if command is None:
        return
    try:
        answers = [json.loads(printed)]
    except json.JSONDecodeError:  # a line each
        answers = [json.loads(line) for line in printed.splitlines()]
    for answer in answers:
        validators[command].validate(answer)


@pytest.fixture(scope="session")
def schemas() -> dict[str, Any]:
    """Return the published schemas of answers, by command."""
    return answer_schemas()


@pytest.fixture(scope="session")
def checked_answer() -> Callable[[list[str], str], None]:
    """Return what holds the answer to some arguments to its schema."""
    return check_answer


@pytest.fixture(scope="session")
def tagstack() -> Command:
    """Return the command line: arguments in, exit code and both outputs out."""
    return run_in_process


@pytest.fixture(scope="session")
def done() -> Callable[..., str]:
    """Return the command line of which success is expected: its standard output."""

    def run(*arguments: object) -> str:
        result = run_in_process(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="session")
def in_a_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return the installed command in a process of its own, where that is what is tested."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TAGSTACK, *map(str, arguments)], capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def on_a_full_disk() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return the installed command where writing fails as on a full disk, in the middle of a file.

    A limit on the sizes of files does that. It would cut compiled modules as well, and they would
    stay so for everybody: that process keeps none.
    """

    def limit() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-B", TAGSTACK, *map(str, arguments)],
            capture_output=True, text=True, check=False, preexec_fn=limit,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def killed() -> Callable[..., int]:
    """Return a killer of commands: at a moment, which must come while the command still runs."""

    def kill(
        arguments: list[object], moment: Callable[[], bool], how: signal.Signals = signal.SIGKILL
    ) -> int:
        command = [str(TAGSTACK), *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not moment():
            assert process.poll() is None, "it ended before the moment came"
            time.sleep(0.01)
        process.send_signal(how)
        return process.wait()

    return kill


def draw(root: Path, n_images: int, seed: int) -> None:
    """Draw pictures and write labels of which whole series are ``part=test``, one in three."""
    from tagstack.base_models.zoo.gallery import draw_gallery

    labels = draw_gallery(root / "images", n_images=n_images, seed=seed)
    with labels.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels.unlink()
    series = sorted({row["series"] for row in rows})
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, ["image", "tags", "series", "part"], extrasaction="ignore")
        table.writeheader()
        for row in rows:
            part = "test" if series.index(row["series"]) % 3 == 0 else "fit"
            table.writerow({**row, "part": part})


def fit_arguments(root: Path, bundle: Path) -> list[object]:
    """Return the command that fits a drawn booru's bundle."""
    return [
        "fit", "--scores", root / "scores", "--labels", root / "labels.csv", "--bundle", bundle,
        "--rules", "danbooru", "--group", "series", "--where", "part=fit",
        "--config", root / "config.toml", "--json",
    ]  # fmt: skip


def make_booru(root: Path, taggers: str, config: str) -> None:
    """Score drawn pictures and fit a bundle on two thirds of them."""
    (root / "config.toml").write_text(config)
    for arguments in (
        ["score", root / "images", "--models", taggers, "--scores", root / "scores",
         "--config", root / "config.toml"],
        fit_arguments(root, root / "bundle"),
    ):  # fmt: skip
        result = run_in_process(*arguments)
        assert result.returncode == 0, result.stderr
    (root / "fit.json").write_text(result.stdout)


@pytest.fixture(scope="session")
def booru(once: Callable[..., Path]) -> Path:
    """Return 160 drawn pictures, their scores by three taggers and a bundle of the whole ladder."""

    def make(root: Path) -> None:
        draw(root, 160, seed=77)
        make_booru(root, "doll_resnet,doll_convnext,doll_vit", WHOLE)

    return once("booru", make)


@pytest.fixture(scope="session")
def small(once: Callable[..., Path]) -> Path:
    """Return 150 drawn pictures, their scores by two taggers and a bundle fitted in a moment.

    One tagger is in a folder of its own, ``doll_vit``, as a user has one.
    """

    def make(root: Path) -> None:
        from tagstack.base_models.taggers.registry import resolve

        draw(root, 150, seed=5)
        shutil.copytree(resolve("doll_vit"), root / "doll_vit")
        make_booru(root, f"{root / 'doll_vit'},doll_resnet", QUICK)

    return once("small", make)
