"""What trees are fitted on with compiled code and without: the same numbers, to the last bit."""

from collections.abc import Callable

import numpy as np
import pytest

from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators import newton
from tagstack.meta.metrics import ranking
from tagstack.meta.stack.foundation import Foundation, lay_foundation


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def test_columns_do_not_part_where_calibrations_are_compiled(
    lay: Callable[..., Foundation],
    stack_settings: Callable[..., StackSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the eighth digit on, trees made other splits: the third digit of a ranking moved."""
    pytest.importorskip("numba", reason="compiled code needs the extra `fast`")
    data = lay(n_images=300, n_tags=25, noise=(2.5, 3.0, 3.5)).data
    settings, tables = stack_settings(learners=()), []
    for least in (1, 10**9):
        for module in (newton, ranking):
            monkeypatch.setattr(module, "_COMPILED", least)
        laid = lay_foundation(data, settings, seed=0, threads=1, progress=silent)
        tables.append(laid.table.values)
    same = (tables[0] == tables[1]) | np.isnan(tables[0])
    assert same.mean() > 0.9999
    assert tables[0] == pytest.approx(tables[1], abs=1e-6, nan_ok=True)
