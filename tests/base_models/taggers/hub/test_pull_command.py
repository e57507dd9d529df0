"""``tagstack models pull`` as a user runs it, against the same server."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from tagstack.base_models.taggers.own_folder import registry_folder
from tagstack.base_models.taggers.registry import resolve
from tagstack.cli import app
from tagstack.configs.errors import TagstackError

COMMITS = ("a" * 40, "b" * 40)
Hub = Any  # the server of conftest.py


def _command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", "pull", *arguments])


def test_the_command_shows_what_it_would_fetch_and_asks_nobody(published: Hub) -> None:
    result = _command("wd-vit-tagger-v3")
    assert isinstance(result.exception, TagstackError)
    assert "Nobody is there to ask before downloading 'wd-vit-tagger-v3'. Pass --yes." in str(
        result.exception
    )
    assert "licence: Apache-2.0" in result.stderr
    assert f"from: SmilingWolf/wd-vit-tagger-v3 at {COMMITS[0]}" in result.stderr
    assert published.ranges == []


def test_the_command_downloads_once_and_then_checks(published: Hub) -> None:
    result = _command("wd-vit-tagger-v3", "--yes", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["passed"]
    assert [name for name, _ in published.ranges] == ["model.onnx", "selected_tags.csv"]
    assert resolve("wd-vit-tagger-v3") == registry_folder() / "wd-vit-tagger-v3"
    again = _command("wd-vit-tagger-v3")
    assert again.exit_code == 0
    assert "as first pulled from SmilingWolf/wd-vit-tagger-v3" in again.stdout
    assert len(published.ranges) == 2
