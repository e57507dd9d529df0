"""Commands import what they need and no more: most of a short command's time is its imports."""

import subprocess
import sys
from typing import Any

from typer.main import get_command

from tagstack.cli import app
from tagstack.ensemble.console.commands import PURPOSES

_PROGRAM = """
import sys

def lacks(*names):
    found = [name for name in names if name in sys.modules]
    assert not found, found

import tagstack.cli
from typer.testing import CliRunner
assert "What people decided" in CliRunner().invoke(tagstack.cli.app, ["--help"]).output
lacks("tagstack.ensemble.console.models", "tagstack.ensemble.console.tagging", "pydantic")
import tagstack.ensemble.console.models
from tagstack.base_models.taggers.registry import list_taggers
list_taggers()
lacks("numpy", "scipy", "onnxruntime", "pyarrow")

import numpy as np
import pyarrow as pa
import tagstack.ensemble.console.tags
import tagstack.ensemble.tasks.tag
from tagstack.base_models.scores.arrow_arrays import list_array, numbers_of, text_array
made = list_array(np.array([0, 1]), np.array([7], np.int32))
pa.table({"a": made, "b": text_array(["x"])})
assert numbers_of(made.values).tolist() == [7]
lacks("pandas", "sklearn", "scipy.stats", "scipy.optimize", "pyarrow.compute", "numba")
lacks("tagstack.meta.stack.fitting", "tagstack.ensemble.bundle.dataset", "PIL.PdfImagePlugin")
"""


def test_listing_needs_no_numbers_and_tagging_no_tables_or_statistics() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_list_of_commands_says_what_their_own_helps_say() -> None:
    line: Any = get_command(app)
    assert {name: line.commands[name].help.split("\n\n")[0] for name in PURPOSES} == PURPOSES
