"""Thresholds that raise a package's metric of a tag's counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.ensemble.thresholds.objectives import objective_text, parse_objective

HEAD = "from tagstack.meta.metrics.count_metrics import score_of_counts\nimport numpy as np\n"
RECALL = HEAD + (
    "OWN = score_of_counts('own', 'Own', lambda tp, fp, fn, tn: (tp - .05 * fp) / (tp + fn))\n"
)
F1 = (
    HEAD + "OWN = score_of_counts('own', 'Own', lambda tp, fp, fn, tn: tp / (tp + (fp + fn) / 2))\n"
)
LOSS = HEAD + (
    "OWN = score_of_counts('own', 'Own', lambda tp, fp, fn, tn: (fp + fn) / (tp + fn), "
    "larger_is_better=False)\n"
)

Install = Callable[..., Path]


def fitted(drawn: Any, chosen: Any) -> Any:
    folds = np.arange(len(drawn.dense)) % 4
    return fit_thresholds(drawn.proba, drawn.matrix, drawn.vocabulary, folds, chosen)


def installed(install_package: Install, source: str) -> None:
    install_package("own_metric", source, {"tagstack.metrics": {"own": "OWN"}})


def test_a_metric_equal_to_f1_gives_the_thresholds_of_scut(
    draw: Callable[..., Any], settings_with: Callable[..., Any], install_package: Install
) -> None:
    installed(install_package, F1)
    drawn = draw(0, 400)
    plain = settings_with(strategy="scut", shrinkage=[0.0], fbr=0.0, beta=1.0)
    own = settings_with(strategy="metric", metric="own", shrinkage=[0.0])
    np.testing.assert_allclose(fitted(drawn, plain).value, fitted(drawn, own).value)
    assert set(fitted(drawn, own).objective) == {"metric:own"}


def test_what_the_metric_wants_moves_the_thresholds(
    draw: Callable[..., Any], settings_with: Callable[..., Any], install_package: Install
) -> None:
    installed(install_package, RECALL)
    drawn, own = draw(0, 400), settings_with(strategy="metric", metric="own", max_rate=100)
    f1 = fitted(drawn, settings_with(strategy="scut")).value
    found = fitted(drawn, own)
    assert found.value.mean() < f1.mean() - 0.05  # a miss costs twenty wrong tags
    assert np.isnan(found.low).all()
    # Against every other cut, on the images themselves: none is better by more than folds tell.
    for tag in range(4):
        given = drawn.dense[:, [tag]] >= np.unique(drawn.dense[:, tag])
        true = drawn.labels[:, [tag]]
        worth = ((given & true).sum(0) - 0.05 * (given & ~true).sum(0)) / true.sum()
        at = drawn.dense[:, tag] >= found.value[tag]
        own_worth = ((at & true[:, 0]).sum() - 0.05 * (at & ~true[:, 0]).sum()) / true.sum()
        assert own_worth > worth.max() - 0.05


def test_of_a_loss_the_less_is_raised_and_the_table_has_it_as_it_is(
    draw: Callable[..., Any], settings_with: Callable[..., Any], install_package: Install
) -> None:
    installed(install_package, LOSS)
    drawn = draw(0, 400)
    found = fitted(drawn, settings_with(strategy="metric", metric="own", shrinkage=[0.0]))
    assert (found.estimate > 0).all()  # a loss, not its negative
    assert (np.abs(found.value - 0.5) < 0.2).all()  # errors are fewest where a half is sure


def test_an_objective_names_it(settings_with: Callable[..., Any]) -> None:
    found = parse_objective("metric:own", settings_with())
    assert (found.strategy, found.metric) == ("metric", "own")
    assert objective_text(found) == "metric:own"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (HEAD + "from tagstack.meta.metrics.scores import Score\n"
         "OWN = Score(name='own', title='o', needs='decisions', function=lambda judged: 1.0)\n",
         "is no function of a tag's counts"),
        (HEAD + "OWN = score_of_counts('own', 'o', lambda tp, fp, fn, tn: tp[:0])\n",
         r"returned an array of shape \\(0,\\)"),
    ],
)  # fmt: skip
def test_a_broken_metric_is_named(
    draw: Callable[..., Any], settings_with: Callable[..., Any], install_package: Install,
    source: str, why: str,
) -> None:  # fmt: skip
    installed(install_package, source)
    with pytest.raises(TagstackError, match=why.replace("\\\\", "\\")):
        fitted(draw(0, 60), settings_with(strategy="metric", metric="own"))


def test_none_named_is_a_message(
    draw: Callable[..., Any], settings_with: Callable[..., Any]
) -> None:
    with pytest.raises(TagstackError, match=r"needs thresholds\.metric"):
        fitted(draw(0, 60), settings_with(strategy="metric"))
