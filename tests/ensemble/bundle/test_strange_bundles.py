"""Bundles from strangers: whatever their files hold, one line, and never other tags in silence."""

import subprocess
import sys
from pathlib import Path

import pytest

from tagstack.base_models.trials import Trial
from tagstack.configs.errors import TagstackError

MUTATIONS = Path(__file__).parents[3] / "benchmarks" / "bundle_mutations.py"


@pytest.mark.skipif(not MUTATIONS.is_file(), reason="the benchmarks are not here")
def test_mutants_with_right_hashes_cost_one_line() -> None:
    # Three of each file here; two hundred of each by the command that the script names.
    done = subprocess.run(
        [sys.executable, str(MUTATIONS), "--count", "33", "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert len(rows) == 11
    assert sum(int(row[1]) for row in rows) > 10  # that many were refused


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "by signal 11"),
        ("while True: pass", "was not through within 1 s"),
        ("raise SystemExit('oh\\n no')", "with ' no'"),
        ("import sys; sys.stderr.write('it is odd\\n'); sys.exit(3)", "^it is odd$"),
    ],
)
def test_what_is_tried_may_crash_hang_or_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "tried_here.py").write_text(program)
    trial = Trial(facts=("x",), packages=(), module="tried_here", arguments=(), what="The thing")
    with pytest.raises(TagstackError, match=reason):
        trial.once(1.0 if "1 s" in reason else 60.0)  # where it ends by itself it may take its time
    trial.remember()
    trial.once(1.0)  # known: not asked again
