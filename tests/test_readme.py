"""The README is true: its set-up is what CI runs, and its main command works as written."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def commands(heading: str) -> list[str]:
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    block = re.search(r"```console\n(.*?)```", section, re.DOTALL)
    assert block, f"no commands under {heading}"
    return block[1].strip().splitlines()


def test_the_set_up_is_two_commands_and_ci_runs_them() -> None:
    set_up = commands("Set up")
    assert len(set_up) == 2
    ci = (ROOT / ".ci/run").read_text().splitlines()
    assert [line for line in ci if line in set_up] == set_up


def test_the_test_command_is_the_one_that_make_runs() -> None:
    (command,) = commands("Tests")
    assert command == ".venv/bin/python -m pytest"
    assert "$(PYTHON) -m pytest" in (ROOT / "Makefile").read_text()


@pytest.mark.slow
def test_the_main_command_works_as_written(tmp_path: Path) -> None:
    (command,) = commands("Run")
    program, *arguments = shlex.split(command)
    assert program == ".venv/bin/tagstack"
    installed = Path(sys.executable).with_name("tagstack")
    done = subprocess.run(
        [installed, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "stack + decoder" in done.stdout
    assert list(tmp_path.rglob("report.html"))


def test_every_command_of_the_readme_exists() -> None:
    installed = Path(sys.executable).with_name("tagstack")
    blocks = "".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))
    named = sorted(set(re.findall(r"^(?:\.venv/bin/)?tagstack ([a-z]+)", blocks, re.MULTILINE)))
    assert len(named) >= 4
    for name in named:
        done = subprocess.run([installed, name, "--help"], capture_output=True, check=False)
        assert done.returncode == 0, name
