"""The README is true: its set-up is what CI runs, and its main command works as written."""

import os
import re
import subprocess
from pathlib import Path

from typer.testing import CliRunner

from tagstack.cli import app

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


def test_the_set_up_installs_what_running_needs_and_no_more() -> None:
    assert "'.[cpu]'" in commands("Set up")[1]


def test_the_test_command_is_what_ci_runs_and_brings_what_it_needs() -> None:
    (command,) = commands("Tests")
    assert command == "make test"
    targets = re.search(r"^make .*\btest\b", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert targets
    # Run by make itself, the tests would hand its flags on: as a user's own make, it has none.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    planned = subprocess.run(
        ["make", "--dry-run", "--always-make", "test"],
        cwd=ROOT, capture_output=True, text=True, check=True, env=alone,
    ).stdout  # fmt: skip
    assert "pip install -c requirements/cpu.lock -e '.[dev]'" in planned
    assert ".venv/bin/python -m pytest" in planned.splitlines()[-1]


def test_ci_runs_the_main_command_as_written_from_the_wheel() -> None:
    (command,) = commands("Run")
    after = (ROOT / ".ci/run").read_text().split("dist/*.whl", 1)[1]
    ci = [line.strip() for line in after.splitlines()]
    (line,) = [number for number, text in enumerate(ci) if text.startswith(command)]
    assert {"grep -q 'stack + decoder' said", "test -s tagstack-demo/report/report.html"} <= set(
        ci[line:]
    )


def test_every_command_of_the_readme_exists() -> None:
    blocks = "".join(re.findall(r"```console\n(.*?)```", README, re.DOTALL))
    named = sorted(set(re.findall(r"^(?:\.venv/bin/)?tagstack ([a-z]+)", blocks, re.MULTILINE)))
    assert len(named) >= 4
    for name in named:
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0, name
