"""The claim on real images holds: the stack beats the calibrated mean, beyond chance."""

import importlib.util
import os
from pathlib import Path

import pytest

DATA = os.environ.get("TAGSTACK_DATA")
BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks/real.py"


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="TAGSTACK_DATA names no folder with data/ and zoo/")
def test_the_stack_beats_the_calibrated_mean_on_emoji(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("real", BENCHMARK)
    assert spec
    assert spec.loader
    real = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(real)
    comparison = real.run(Path(DATA or ""), "emoji", tmp_path, seed=0, trials=0)
    for rung in ("calibrated_mean", "caruana", comparison.best_single):
        leads = comparison.rung(rung).differences["all"]
        assert leads["macro_ap"].low > 0, rung
        assert leads["micro_ap"].value > 0, rung
