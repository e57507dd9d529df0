"""`tagstack serve` and `tagstack moderate` as they are called."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest


def test_serve_answers_until_it_is_told_to_stop(small: Path) -> None:
    program = Path(sys.executable).with_name("tagstack")
    command = [
        str(program), "serve", "--bundle", str(small / "bundle"), "--port", "0",
        "--config", str(small / "config.toml"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/tags", line):
                break
        assert found, lines
        picture = next((small / "images").glob("*.png")).read_bytes()
        with urlopen(Request(f"{found[1]}/tags", data=picture), timeout=60) as answer:
            (tagged,) = json.load(answer)["images"]
        assert tagged["tags"]
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_serve_says_in_one_line_why_it_does_not_start(
    small: Path, tmp_path: Path, tagstack: Callable[..., Any]
) -> None:
    open_to_all = tagstack("serve", "--bundle", small / "bundle", "--host", "0.0.0.0")
    assert (open_to_all.returncode, open_to_all.stdout) == (1, "")
    assert "a token is needed" in open_to_all.stderr
    gone = tagstack("serve", "--bundle", tmp_path / "gone", "--port", "0")
    assert gone.returncode == 1
    assert len(gone.stderr.splitlines()) == 1
    policy = tmp_path / "policy.toml"
    policy.write_text('[moderation]\nblock = ["gor"]\n')
    wrong = tagstack("serve", "--bundle", small / "bundle", "--port", "0", "--config", policy)
    assert wrong.returncode == 1
    assert "'gor' of [moderation] is about no tag" in wrong.stderr


@pytest.mark.parametrize(
    ("policies", "code"),
    [
        ('block = ["category:rating>=.02"]', 4),
        ('review = ["category:rating>=.02"]', 5),
        ('allow = ["category:rating>=.02"]', 0),
        ("", 1),
    ],
)
def test_moderate_ends_by_the_worst_answer(
    small: Path, tmp_path: Path, tagstack: Callable[..., Any], policies: str, code: int
) -> None:
    config = tmp_path / "policies.toml"
    config.write_text(f"threads = 1\n[moderation]\n{policies}\n")
    some = sorted((small / "images").glob("*.png"))[:2]
    result = tagstack("moderate", *some, "--bundle", small / "bundle", "--config", config, "--json")
    assert result.returncode == code, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["image"] for answer in answers] == [p.name for p in some if code != 1]
    assert {answer["answer"] for answer in answers} <= {"block", "review", "allow"}
    if code == 1:
        assert "No policies" in result.stderr
        return
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    result = tagstack("moderate", some[0], broken, "--bundle", small / "bundle", "--config", config)
    assert result.returncode == (4 if code == 4 else 3)
    assert "unknown format" in result.stdout


def test_json_files_tell_the_answer_and_follow_the_policies(
    small: Path, tmp_path: Path, done: Callable[..., str]
) -> None:
    import jsonschema

    from tagstack.ensemble.outputs.records import schema

    picture = min((small / "images").glob("*.png"))
    config, out = tmp_path / "policies.toml", tmp_path / "tags"
    arguments = [
        "tag", picture, "--bundle", small / "bundle", "--out", out, "--format", "json",
        "--config", config,
    ]  # fmt: skip
    found = []
    for policies in ("", 'block = ["category:rating>=.06"]', 'review = ["category:rating>=.06"]'):
        config.write_text(f"threads = 1\n[moderation]\n{policies}\n")
        done(*arguments)
        content = json.loads((out / f"{picture.stem}.json").read_text())
        jsonschema.validate(content, schema())
        found.append(content.get("moderation", {}).get("answer"))
    assert found == [None, "block", "review"]
