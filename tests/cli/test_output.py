"""docs/output.md is true: its commands are taken as they stand, its words are the settings."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tagstack.cli import app
from tagstack.configs.output import OutputSettings
from tagstack.configs.presets import shipped_presets
from tagstack.ensemble.tasks.tag_request import TagSummary

PAGE = (Path(__file__).parents[2] / "docs" / "output.md").read_text("utf-8")
BLOCKS = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)).splitlines()
COMMANDS = [*BLOCKS, *re.findall(r"`(tagstack tag [^`]*)`", PAGE)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what `tag` asks its task for, which does nothing else."""
    found: list[Any] = []

    def tag_images(request: Any, settings: Any, progress: Any) -> TagSummary:
        found.append((request, settings))
        return TagSummary(
            n_images=1, n_tags=1, n_current=0, n_skipped=0, thresholds="fit", failures=(),
            kept=(), moved=(), stale=(), pruned=0, collisions=(),
        )  # fmt: skip

    monkeypatch.setattr("tagstack.ensemble.tasks.tag.tag_images", tag_images)
    return found


def test_every_command_of_the_page_is_taken(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    presets = set()
    for command in COMMANDS:
        command, _, target = command.partition(" > ")
        program, *arguments = shlex.split(command)
        result = CliRunner().invoke(app, arguments)
        assert (program, result.exit_code) == ("tagstack", 0), (command, result.output)
        if target:
            Path(target).write_text(result.stdout)
        presets |= {arguments[i + 1] for i, word in enumerate(arguments) if word == "--preset"}
    assert presets >= set(shipped_presets())
    assert len(asked) == sum(command.startswith("tagstack tag") for command in COMMANDS)


def test_options_are_the_settings(asked: list[Any], tmp_path: Path) -> None:
    arguments = [
        "tag", "x.png", "--bundle", "b", "--out", "o", "--first", "a, b",
        "--exclude", "category:meta", "--categories", "general,*",
        "--replace", "x=y", "--replace", "z=", "--copyrights", "danbooru", "--no-rating",
        "--max-tags", "9", "--order", "random", "--keep-first", "2", "--separator", " | ",
        "--spaces", "--escape-parentheses", "--implied", "drop", "--existing", "append",
        "--extension", ".caption", "--sidecar-name", "full", "--beside", "--parquet-rows", "pair",
        "--format", "txt,xmp", "--seed", "3", "--rehash", "--retry-failed", "--prune",
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    ((request, settings),) = asked
    expected = {
        "first": ("a", "b"), "exclude": ("category:meta",), "categories": ("general", "*"),
        "replace": {"x": "y", "z": ""}, "copyrights": "danbooru", "rating": False, "max_tags": 9,
        "order": "random", "keep_first": 2, "separator": " | ", "spaces": True,
        "escape_parentheses": True, "implied": "drop", "existing": "append",
        "extension": ".caption", "sidecar_name": "full", "beside": True, "parquet_rows": "pair",
    }  # fmt: skip
    assert {key: getattr(settings.output, key) for key in expected} == expected
    # What is left has no option: it is about json alone.
    assert set(OutputSettings.model_fields) - set(expected) == {"score_floor", "unconfirmed"}
    assert (request.rehash, request.retry_failed, request.prune) == (True, True, True)
    assert request.formats == ("txt", "xmp")
    assert settings.seed == 3
    for name in expected:
        assert f"`{name}`" in PAGE or f"--{name.replace('_', '-')}" in PAGE, name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "pass --beside"),
        (["--out", "o", "--order", "shuffled"], 1, "output.order"),
        (["--out", "o", "--replace", "x"], 2, "is not OLD=NEW"),
        (["--out", "o", "--preset", "gone"], 1, "Unknown preset"),
        (["--out", "o", "--format", "xml"], 2, "is none of"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], code: int, message: str) -> None:
    result = CliRunner().invoke(app, ["tag", "x.png", "--bundle", "b", *arguments])
    shown = " ".join((result.output + str(result.exception or "")).split())
    assert result.exit_code == code, shown
    assert message in re.sub(r"[^\w'-]+", " ", shown) or message in shown


def test_a_spaced_name_is_replaced_and_a_name_in_vain_is_said(
    small: Path, tmp_path: Path, tagstack: Callable[..., Any]
) -> None:
    picture = small / "images" / "doll_000000.png"
    options = ("--replace", "white background=plain", "--exclude", "sollo")
    result = tagstack("tag", picture, "--bundle", small / "bundle", "--out", tmp_path, *options)
    assert "--exclude names 'sollo', which is no tag of these taggers. Did you mean solo?" in (
        result.stderr
    )
    assert "--replace" not in result.stderr
    text = (tmp_path / "doll_000000.txt").read_text()
    assert "plain" in text
    assert "white_background" not in text
