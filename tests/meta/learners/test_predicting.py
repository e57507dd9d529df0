"""Fitted trees without scikit-learn and pandas: the same bits, and nobody else is poorer."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.meta.learners.predicting import _left_out, predicting
from tagstack.meta.learners.registry import check_libraries, make_learner

_PROGRAM = """
import sys
from pathlib import Path

import numpy as np

from tagstack.meta.learners.predicting import predicting

folder, rows = Path(sys.argv[1]), np.load(Path(sys.argv[1]) / "rows.npy")
trees = predicting("lightgbm").Booster(model_str=(folder / "lightgbm.txt").read_text())
meta = predicting("xgboost").Booster({"nthread": 1})
meta.load_model(str(folder / "xgboost.ubj"))
found = [trees.predict(rows, raw_score=True), meta.inplace_predict(rows, predict_type="margin")]
left = {"sklearn", "pandas", "matplotlib", "narwhals", "lightgbm", "xgboost"} & {*sys.modules}
assert not left, left
assert not any(type(finder).__name__ == "_Absent" for finder in sys.meta_path)
np.savez(folder / "found.npz", *found)

import pandas
table = trees.predict(pandas.DataFrame(rows), raw_score=True)  # asks narwhals what that is
assert np.array_equal(table, found[0])
assert sys.modules["narwhals"].__file__

import lightgbm
import sklearn
import xgboost
from lightgbm import LGBMClassifier
from xgboost import XGBClassifier

true = rows[:, 0] > 0
for kind in (LGBMClassifier(n_estimators=2, verbose=-1), XGBClassifier(n_estimators=2)):
    assert kind.fit(pandas.DataFrame(rows), true).score(pandas.DataFrame(rows), true) > 0.9
    sklearn.base.clone(kind)
assert (predicting("lightgbm") is lightgbm) and (predicting("xgboost") is xgboost)
again = lightgbm.Booster(model_str=trees.model_to_string()).predict(rows, raw_score=True)
assert np.array_equal(again, found[0])
"""


def test_both_packages_predict_alike_and_stay_whole(tmp_path: Path) -> None:
    import lightgbm
    import xgboost

    # Whoever has the whole package gets it.
    assert predicting("lightgbm") is lightgbm
    assert predicting("xgboost") is xgboost
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 5)).astype(np.float32)
    true = (rows[:, 0] + rng.normal(0, 0.2, 300) > 0).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    trees = lightgbm.train({"verbosity": -1}, lightgbm.Dataset(rows, label=true), 5)
    (tmp_path / "lightgbm.txt").write_text(trees.model_to_string())
    meta = xgboost.train({"nthread": 1}, xgboost.QuantileDMatrix(rows, label=true), 5)
    meta.save_model(tmp_path / "xgboost.ubj")
    subprocess.run([sys.executable, "-c", _PROGRAM, str(tmp_path)], check=True)
    found = np.load(tmp_path / "found.npz")
    assert np.array_equal(found["arr_0"], trees.predict(rows, raw_score=True))
    assert np.array_equal(found["arr_1"], meta.inplace_predict(rows, predict_type="margin"))


def test_another_thread_finds_what_this_one_does_not() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def is_found(name: str) -> bool:
        import importlib.util

        try:
            return importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            return False

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.delitem(sys.modules, "graphviz", raising=False)
        patch.delitem(sys.modules, "pandas", raising=False)
        with _left_out():
            assert not is_found("pandas")
            assert is_found("numpy")
            assert pool.submit(is_found, "pandas").result()
        assert is_found("pandas")


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_a_package_that_does_not_load_is_no_damaged_file(
    install_package: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: Literal["lightgbm", "xgboost"],
) -> None:
    """Without libgomp, as in slim images: reading a stack and beginning a fit blame no file."""
    settings = load_settings().stack
    monkeypatch.delitem(sys.modules, f"_tagstack_predicting_{name}", raising=False)
    install_package(name, "raise OSError('libgomp.so.1: cannot open shared object file')", {})
    for reads in (
        lambda: predicting(name),
        lambda: check_libraries([name]),
        lambda: make_learner(name, settings, seed=0, threads=1).restore(tmp_path),
    ):
        (tmp_path / f"{name}.ubj").touch()
        with pytest.raises(TagstackError, match=f"{name} is installed but does not load"):
            reads()
    assert f"_tagstack_predicting_{name}" not in sys.modules
