"""Commands import what they need and no more: most of a short command's time is its imports."""

import subprocess
import sys

_PROGRAM = """
import sys

def lacks(*names):
    found = [name for name in names if name in sys.modules]
    assert not found, found

import tagstack.cli
lacks("tagstack.ensemble.console.models", "tagstack.ensemble.console.tagging")
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
