"""What scripts read: every command that ends prints JSON, of the form that is published."""

import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image
from typer.main import get_command

from tagstack.cli import app
from tagstack.ensemble.experiments.experiment import Experiment
from tagstack.ensemble.experiments.running import ExperimentStanding
from tagstack.ensemble.tasks.accept import Acceptance
from tagstack.ensemble.tasks.experiment import Recorded
from tagstack.ensemble.tasks.feedback_apply import Applied, Move

Command = Callable[..., Any]  # the fixtures of conftest.py
UNTIL_STOPPED = {"review", "serve"}
RUNS_TAGGERS = {"score", "start", "tag", "watch", "explain", "moderate", "review", "serve"}


def options(command: Any, name: str = "") -> Iterator[tuple[str, set[str]]]:
    if hasattr(command, "commands"):
        for key, own in command.commands.items():
            yield from options(own, f"{name} {key}".strip())
    else:
        yield name, {option for parameter in command.params for option in parameter.opts}


def test_every_command_that_ends_prints_json(schemas: dict[str, Any]) -> None:
    found = dict(options(get_command(app)))
    assert {name for name, own in found.items() if "--json" not in own} == UNTIL_STOPPED
    for name in RUNS_TAGGERS:
        assert {"--threads", "--backend", "--precision"} <= found[name], name
    assert set(schemas) == set(found) - UNTIL_STOPPED
    text = resources.files("tagstack.configs").joinpath("schemas/answers-1.json").read_text("utf-8")
    jsonschema.Draft202012Validator.check_schema(json.loads(text))  # all of them at once


def test_an_answer_that_lacks_a_key_is_found(checked_answer: Command) -> None:
    checked_answer(["scores", "merge"], '{"members": ["a"], "images": 1, "new": 0}')
    with pytest.raises(jsonschema.ValidationError, match="'new' is a required property"):
        checked_answer(["scores", "merge"], '{"members": ["a"], "images": 1}')


def test_answers_that_are_results_have_their_fields(schemas: dict[str, Any]) -> None:
    moves = schemas["feedback apply"]["properties"]["moves"]["items"]
    standing = schemas["experiment status"]["$defs"]["standing"]
    for schema, result, more in (
        (schemas["accept"], Acceptance, set()),
        (schemas["feedback apply"], Applied, set()),
        (moves, Move, set()),
        (schemas["experiment start"], Experiment, set()),
        (schemas["experiment record"], Recorded, set()),
        (standing, ExperimentStanding, {"stopped_s"}),
    ):
        names = {field.name for field in fields(result)} | more
        assert set(schema["required"]) == set(schema["properties"]) == names, result


def test_commands_that_need_no_bundle_answer_as_published(
    tmp_path: Path, tagstack: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    Image.new("RGB", (9, 9)).save(tmp_path / "1.png")
    (tmp_path / "tags.txt").write_text("sky\n1girl\n")
    (tmp_path / "mine.toml").write_text("[score]\nbatch_images = 2\n")
    row = {"image": "1.png", "probabilities": {"sky": 0.5}}
    (tmp_path / "s.jsonl").write_text(json.dumps(row))
    store = tmp_path / "store"
    for words in (
        "doctor", "config show", f"config check {tmp_path}/mine.toml", "config docs score",
        "models list", "models show doll_vit", "models check doll_vit", "presets list",
        "presets show kohya", "rules list danbooru", "rules show counts.girls",
        "rules check danbooru", "thresholds strategies", "engines list", "engines clean",
        f"scores import {tmp_path}/s.jsonl --scores {store} --member m --tags {tmp_path}/tags.txt "
        f"--floor 0.01 --images {tmp_path}",
        f"scores info {store}", f"scores verify {store}", f"scores prune {store}",
        f"scores export {store} --out {tmp_path}/o.npz",
        f"scores merge {store} --out {tmp_path}/all",
        f"start --models doll_vit --bundle {tmp_path}/start",
        f"thresholds list --bundle {tmp_path}/start",
        f"thresholds show --bundle {tmp_path}/start",
        f"thresholds export {tmp_path}/t.csv --bundle {tmp_path}/start",
    ):  # fmt: skip
        done = tagstack(*words.split(), "--json")  # the fixture holds it to the schema
        assert done.returncode == 0, (words, done.stderr)
        assert done.stdout, words
