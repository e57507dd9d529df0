"""A check as a user may show it: what ran and what was seen, and nothing of their machine."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tagstack.base_models.taggers.check import CheckReport, Finding, check_tagger
from tagstack.base_models.taggers.check_text import shareable, write_check
from tagstack.base_models.taggers.registry import list_taggers
from tagstack.base_models.taggers.tried import reports, tried_by
from tagstack.cli import app
from tagstack.configs.errors import TagstackError

Folder = Callable[..., Path]


def test_a_report_names_files_by_their_hash_and_no_folder(
    make_tagger_folder: Folder, tmp_path: Path
) -> None:
    folder = make_tagger_folder()
    target = tmp_path / "check.json"
    result = CliRunner().invoke(app, ["models", "check", str(folder), "--report", str(target)])
    assert result.exit_code == 0, result.output
    facts = json.loads(target.read_text())
    assert facts["passed"]
    assert [file["name"] for file in facts["files"]] == ["model.onnx", "selected_tags.csv"]
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert facts["files"][0]["sha256"] == digest
    write_check(check_tagger(folder, floor=1e-3, threads=1), tmp_path / "check.md")
    for path in (target, tmp_path / "check.md"):
        text = path.read_text()
        assert str(tmp_path) not in text
        assert facts["contract_sha256"] in text
    assert "| outputs | ok |" in text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("{folder}/model.onnx is no model", "model.onnx is no model"),
        ("Cannot read {folder}: gone", "Cannot read the folder: gone"),
        ("links to /srv/someone/blobs/abc.onnx, '/x/y z'", "links to abc.onnx, 'y z'"),
        ("as pulled from someone/tiny at abc", "as pulled from someone/tiny at abc"),
        ("see https://huggingface.co/a/b/c", "see https://huggingface.co/a/b/c"),
        ("a / b, 1/2, mean (0, 1)", "a / b, 1/2, mean (0, 1)"),
    ],
)
def test_what_fails_is_told_without_paths(
    make_tagger_folder: Folder, said: str, shown: str
) -> None:
    folder = make_tagger_folder()
    found = check_tagger(folder, floor=1e-3, threads=1)
    finding = Finding("files", False, said.format(folder=folder))
    facts = shareable(CheckReport(folder=folder, contract=found.contract, findings=(finding,)))
    assert facts["findings"] == [{"check": "files", "passed": False, "detail": shown}]
    assert not facts["passed"]


def test_what_cannot_be_written_is_said_before_the_check(tmp_path: Path) -> None:
    (tmp_path / "there.md").touch()
    for name, message in (("check.txt", "ends in .md or .json"), ("there.md", "exists")):
        result = CliRunner().invoke(
            app, ["models", "check", "no-such-tagger", "--report", str(tmp_path / name)]
        )
        assert re.search(message, str(result.exception)), result.exception
    empty = CheckReport(folder=tmp_path, contract=None, findings=())
    with pytest.raises(TagstackError, match="nothing to report"):
        write_check(empty, tmp_path / "empty.md")


def test_who_ran_a_contract_counts_until_it_changes() -> None:
    published = {e.name: e.contract for e in list_taggers() if e.origin == "contract"}
    contract = published["wd-vit-tagger-v3"]
    entry = {"contract": contract.name, "contract_sha256": contract.digest(), "by": "ann"}
    assert tried_by(contract, [entry]) == ("ann",)
    assert tried_by(contract, [entry | {"contract_sha256": "0" * 64}]) == ()
    assert tried_by(published["camie-tagger"], [entry]) == ()
    for known in reports():  # each entry is of a contract that ships, with all that it says
        assert known["contract"] in published
        assert set(known) == {"contract", "contract_sha256", "by", "on", "tagstack"}


def test_the_list_says_that_nobody_has() -> None:
    entries = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)
    by_name = {entry["name"]: entry for entry in entries}
    assert by_name["wd-vit-tagger-v3"]["tried_by"] == []
    text = CliRunner().invoke(app, ["models", "list"]).stdout
    (row,) = [line for line in text.splitlines() if line.startswith("wd-vit-tagger-v3 ")]
    assert "nobody" in row
