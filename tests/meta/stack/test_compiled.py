"""A stack fitted with compiled code and one without: the same figures."""

from collections.abc import Callable

import pytest

from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators import newton
from tagstack.meta.metrics import ranking
from tagstack.meta.stack.foundation import Foundation, lay_foundation
from tagstack.meta.stack.ladder import climb


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def test_trees_do_not_part_where_calibrations_are_compiled(
    lay: Callable[..., Foundation],
    stack_settings: Callable[..., StackSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("numba", reason="compiled code needs the extra `fast`")
    data = lay(n_images=300, n_tags=25, noise=(2.5, 3.0, 3.5)).data
    settings, found = stack_settings(learners=("lightgbm", "xgboost")), []
    for least in (1, 10**9):
        for module in (newton, ranking):
            monkeypatch.setattr(module, "_COMPILED", least)
        laid = lay_foundation(data, settings, seed=0, threads=1, progress=silent)
        ladder = climb(laid, silent)
        names = ("shrunken_logistic", "lightgbm", "xgboost", "blend")
        judged = [ladder.judgement(name) for name in names]
        found.append([score.mean for own in judged for score in (own.macro_ap, own.micro_ap)])
    assert found[0] == pytest.approx(found[1], abs=1e-9)
