"""Every stage of a fit says which of how many it is, and what is left."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagstack.configs.quick import QUICK as QUICK_FIT
from tagstack.configs.settings import changed_settings, load_settings
from tagstack.ensemble.fitting.dataset_fit import fit_dataset
from tagstack.ensemble.fitting.fit_stages import (
    FitStages,
    fit_stages,
    most_seconds,
    stacking_seconds,
)
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule import Exclusive
from tagstack.ensemble.rules.rule_set import Rules
from tests.ensemble.test_fit_dataset import QUICK, dataset_of


class Told(Silent):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int]] = []

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        self.stages.append((text, done, total))


@pytest.mark.parametrize("quick", [True, False])
def test_a_fit_reports_each_planned_stage_once_in_order(
    quick: bool,
    make_labelled: Callable[..., Any],
    install_learner: Callable[..., Path],
    tmp_path: Path,
) -> None:
    install_learner()
    more = {"frontier": []} if quick else {"frontier": [0.0, 1.0]}
    changes = {"folds": 3, "outer_fold": True, "member_worth": "logistic"} if not quick else {}
    settings = load_settings(changes={"stack": {**QUICK, **changes}, "thresholds": more})
    made, told = make_labelled(90), Told()
    tags = made.scores.vocabulary.tags
    rules = Rules(exclusives=(Exclusive(id="x", tags=tags[:3], source="test"),))
    fit_dataset(dataset_of(made), rules, settings, tmp_path, told)
    numbers = []
    for text, done, total in told.stages:
        found = re.fullmatch(r".+, (\d+) of (\d+), about [\d.]+ (s|min|h) left", text)
        assert found, text
        assert 0 <= done <= total
        numbers.append((int(found[1]), int(found[2])))
    n_stages = numbers[0][1]
    assert sorted({number for number, _ in numbers}) == list(range(1, n_stages + 1))
    assert numbers == sorted(numbers)
    assert n_stages == len(fit_stages(settings, 90, rules=True))


def test_what_is_left_follows_the_speed_of_the_machine() -> None:
    stages, seconds, told = {"a": 10.0, "b": 100.0, "c": 100.0}, [0.0], Told()
    progress = FitStages(told, stages, 877_000, lambda: seconds[0])
    for name, at in {"a": 0.0, "b": 1000.0, "c": 11_000.0}.items():
        seconds[0] = at
        progress.stage(name)
    progress.stage("not foreseen", 1, 2)
    left = [re.sub(r".*about ", "", text) for text, _, _ in told.stages[:3]]
    assert left == ["4 min left", "2.8 h left", "2.5 h left"]
    assert told.stages[3] == ("not foreseen", 1, 2)


def test_ten_times_the_pairs_are_not_ten_times_the_work() -> None:
    """Most of a fit looks at drawn pairs, and says so before it has begun."""
    settings = load_settings()
    few, many = (stacking_seconds(settings, 20_000, n) for n in (877_000, 8_770_000))
    assert 60 < few < 130
    assert few * 3 < many < few * 5
    told = Told()
    FitStages(told, {"a": 100.0, "b": 100.0}, 8_770_000, lambda: 0.0).stage("a")
    assert told.stages[0][0] == "a, 1 of 2, about 13 min left"


def test_an_upper_end_is_above_what_any_measured_fit_took() -> None:
    """CPU seconds of quick fits with their thresholds, as benchmarks/refit_costs.py measures."""
    settings = changed_settings(load_settings(), QUICK_FIT)
    taken = {51_193: 11.6, 153_585: 28.0, 383_953: 20.9}
    for n_pairs, seconds in taken.items():
        most = most_seconds(settings, 1200, n_pairs)
        assert seconds < most < 4 * seconds
        assert most > stacking_seconds(settings, 1200, n_pairs)
