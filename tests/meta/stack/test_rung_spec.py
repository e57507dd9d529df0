"""What is known of a rung: made once, for built-in learners and those of packages alike."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.learners.meta_trees import MetaTrees
from tagstack.meta.stack.foundation import Foundation
from tagstack.meta.stack.rung_spec import (
    RungSpec,
    blended_rungs,
    ruled_spec,
    rung_specs,
    simplest_first,
)

Make = Callable[..., StackSettings]
Install = Callable[..., Path]

_SAYS = "class Line:\n    title, monotone = {title!r}, {monotone!r}\n"


def by_name(specs: tuple[RungSpec, ...]) -> dict[str, RungSpec]:
    return {spec.name: spec for spec in specs}


def test_every_rung_says_what_it_is_and_what_it_belongs_to(
    stack_settings: Make, install_learner: Install
) -> None:
    install_learner()
    settings = stack_settings(learners=("line", "xgboost", "svm"))
    specs = rung_specs(("single:a", "b"), settings, banded=True)
    assert [(spec.name, spec.kind, spec.part_of) for spec in specs] == [
        ("single:single:a", "member", ""), ("single:b", "member", ""), ("mean", "average", ""),
        ("calibrated_mean", "average", ""), ("caruana", "average", ""),
        ("shrunken_logistic", "logistic", "stack"), ("svm", "learner", "stack"),
        ("line", "learner", "stack"), ("xgboost", "meta", "stack"), ("blend", "blend", "stack"),
        ("by_band", "bands", "stack"),
    ]  # fmt: skip
    assert [spec.member for spec in specs if spec.is_single] == ["single:a", "b"]
    assert [spec.name for spec in specs if spec.raw_of] == ["mean"]
    found = by_name(specs)
    assert found["single:single:a"].title == "single:a, tuned"
    assert found["svm"].title == "Linear SVM with context"
    assert found["line"].title == "line of tagstack-line 1.2"


def test_a_twin_under_the_rules_is_of_the_same_tagger_kind_and_holder(
    stack_settings: Make,
) -> None:
    """Without its holder, a learner inside the stack would be the rival of its own stack."""
    for spec in rung_specs(("a",), stack_settings(learners=("xgboost", "svm")), banded=True):
        twin = ruled_spec(spec)
        assert (twin.name, twin.rules_of) == (f"{spec.name} + decoder", spec.name)
        assert (twin.kind, twin.part_of) == (spec.kind, spec.part_of)
        assert (twin.member, twin.monotone) == (spec.member, spec.monotone)
        assert twin.raw_of == (f"{spec.raw_of} + decoder" if spec.raw_of else "")


def test_a_package_may_name_its_learner_and_say_that_it_is_not_monotone(
    stack_settings: Make, install_learner: Install
) -> None:
    install_learner("line", _SAYS.format(title="A straight line", monotone=False))
    found = by_name(rung_specs(("a",), stack_settings(learners=("line",))))["line"]
    assert (found.title, found.monotone) == ("A straight line", False)


@pytest.mark.parametrize(("title", "monotone"), [("", True), (3, True), ("fine", "yes")])
def test_what_a_package_says_of_its_learner_is_checked(
    stack_settings: Make, install_learner: Install, title: object, monotone: object
) -> None:
    install_learner("line", _SAYS.format(title=title, monotone=monotone))
    with pytest.raises(TagstackError, match=r"'line' of tagstack-line 1\.2 has the title"):
        rung_specs(("a",), stack_settings(learners=("line",)))


def test_what_was_switched_off_is_neither_up_for_choice_nor_blended(stack_settings: Make) -> None:
    specs = rung_specs(("a",), stack_settings())
    plain = ("calibrated_mean", "caruana", "shrunken_logistic")  # the mean is not calibrated
    assert simplest_first(specs) == (*plain, "blend", "xgboost")
    started = rung_specs(("a",), stack_settings(), started=True)
    assert simplest_first(started) == ("start", *plain, "blend", "xgboost")
    assert "start" not in blended_rungs(started)
    assert simplest_first(specs, {"xgboost"}) == (*plain, "blend")
    assert simplest_first(specs, {"blend"}) == (*plain, "svm", "lightgbm", "xgboost")
    assert blended_rungs(specs) == (*plain, "svm", "lightgbm", "xgboost")
    assert blended_rungs(specs, {"xgboost"}) == (*plain, "svm", "lightgbm")


def test_the_trees_never_hold_a_learner_s_word_against_a_tag(
    stack_settings: Make, install_learner: Install, lay: Callable[..., Foundation]
) -> None:
    """Labels that run against the column, which free trees would follow."""
    install_learner()
    laid = lay(stack_settings(learners=("line",)), n_images=80)
    table, at = laid.table, laid.table.names.index("level2:line")
    raised = replace(table, values=table.values.copy())
    raised.values[:, at] += 1.0
    false_friend = table.column("level2:line") < 0

    def risen(rising: frozenset[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        trees = MetaTrees(laid.settings.xgboost, seed=0, threads=1)
        trees.fit(replace(table, rising=rising), false_friend)
        return trees.predict_logit(raised) - trees.predict_logit(table)

    assert (risen(table.rising) >= 0).all()
    assert (risen(table.rising - {"level2:line"}) < 0).any()
