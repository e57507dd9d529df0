"""Settings on the command line: shown, checked, explained; commands in the order of the work."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tagstack import __version__
from tagstack.cli import app


def tagstack(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_version_is_said() -> None:
    assert tagstack("--version").stdout == f"tagstack {__version__}\n"


def test_commands_stand_in_the_order_of_the_work() -> None:
    said = tagstack("--help").stdout
    places = [said.index(f"\u2502 {name} ") for name in ("demo", "score", "fit", "tag", "doctor")]
    assert places == sorted(places)


def test_what_holds_is_shown_with_the_file_over_it(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[score]\nbatch_images = 3\n")
    shown = tagstack("config", "show", "score", "--config", tmp_path / "mine.toml", "--json")
    values = json.loads(shown.stdout)
    assert values["score.batch_images"] == 3
    assert all(name.startswith("score.") for name in values)


def test_a_file_is_checked_and_its_changes_named(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("seed = 7\n[score]\nbatch_images = 3\n")
    said = tagstack("config", "check", tmp_path / "mine.toml").stdout
    assert "seed = 7, by default 0" in said
    assert "mine.toml is right and changes 2 of" in said


def test_every_setting_has_a_default_and_most_a_reason() -> None:
    rows = json.loads(tagstack("config", "docs", "--json").stdout)
    held = json.loads(tagstack("config", "show", "--json").stdout)
    tables = ("utility.", "tag_floors", "category_floors")
    missing = [n for n in held if n not in rows and not any(part in n for part in tables)]
    assert missing == []
    assert sum(bool(row["reason"]) for row in rows.values()) > 0.9 * len(rows)


@pytest.mark.parametrize("command", ["show", "docs"])
def test_an_unknown_key_suggests_one(command: str) -> None:
    result = tagstack("config", command, "score.flor")
    assert result.exit_code == 2
    assert "score.floor" in result.output


@pytest.mark.parametrize(
    ("words", "found"),
    [("tagstack sco", ["score", "scores"]), ("tagstack models ch", ["check"])],
)
def test_the_shell_completes_commands(words: str, found: list[str]) -> None:
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    result = CliRunner().invoke(
        app, [], prog_name="tagstack", env={"_TAGSTACK_COMPLETE": "complete_bash", **asked}
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == found


def test_completion_is_shown_and_installed(
    tmp_path: Path, in_a_process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert "complete_bash" in in_a_process("--show-completion", "bash").stdout
    assert "installed" in in_a_process("--install-completion", "bash").stdout
    assert (tmp_path / ".bash_completions" / "tagstack.sh").read_text().strip()
