"""``tagstack scores verify``: what it prints, and its exit code."""

import json
from pathlib import Path

from typer.testing import CliRunner

from tagstack.cli import app


def test_verify_says_what_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "store.json").write_text(json.dumps({"format": 1, "members": {}}))
    done = CliRunner().invoke(app, ["scores", "verify", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, "0 parts, 0 damaged.\n")
    (tmp_path / "images" / "part-00000000.parquet").write_bytes(b"PAR1 and no more")
    done = CliRunner().invoke(app, ["scores", "verify", str(tmp_path), "--json"])
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert (found["parts"], found["without_checksum"], len(found["damaged"])) == (1, 1, 1)
