"""What the blend weighs, and that a ladder leaves the foundation it stands on as it was."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tagstack.configs.stack import StackSettings
from tagstack.meta.stack.foundation import Foundation, lay_foundation
from tagstack.meta.stack.ladder import climb

Lay = Callable[..., Foundation]
Make = Callable[..., StackSettings]


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def test_a_share_of_the_blend_s_weights_is_equal(lay: Lay, stack_settings: Make) -> None:
    """No lead is clear here, so that the equal part is equal over all rungs."""

    def weights(share: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        settings = stack_settings(learners=(), blend_equal_share=share, gate_standard_errors=1e6)
        laid = lay_foundation(data, settings, seed=0, threads=1, progress=silent)
        return np.array(list(climb(laid, silent).blend_weights.values()))

    data = lay(n_images=150, noise=(1.0, 4.0, 8.0)).data
    selected, mixed, equal = (weights(share) for share in (0.0, 0.4, 1.0))
    np.testing.assert_allclose(equal, 1 / len(equal))
    assert not np.allclose(selected, equal)
    np.testing.assert_allclose(mixed, 0.6 * selected + 0.4 * equal)


def test_a_foundation_carries_several_ladders(lay: Lay) -> None:
    laid = lay(n_images=60)
    first = climb(laid, silent)
    with pytest.raises(Exception, match="made of fitted learners"):
        laid.rungs.rung("blend")
    again = climb(laid, silent, off={"blend": "worse"})
    assert again.blend_weights == first.blend_weights
    assert again.proba("blend").proba.tobytes() == first.proba("blend").proba.tobytes()
