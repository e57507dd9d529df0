"""A package's metric as a picture's outcome: between its ends, and of one version."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.experiments.contrast import A, B
from tagstack.ensemble.experiments.experiment import FILE, Experiment, ExperimentArm
from tagstack.ensemble.experiments.measure import Measure
from tagstack.ensemble.tasks.experiment_review import paired_outcomes

FromDocs = Callable[[str], None]
ANSWERS = {"hat": True, "scarf": True, "shoes": False, "solo": False}


def test_a_metric_of_counts_is_of_all_judged_tags_of_a_picture(from_docs: FromDocs) -> None:
    from_docs("A metric that is raised")
    judge = Measure.of("review_worth", -1, 1).judge()

    def worth(*given: str) -> float:
        """By hand: right tags less a fifth for each look, of the two true ones."""
        right = sum(tag in ("hat", "scarf") for tag in given)
        return ((right - 0.2 * len(given)) / 2 + 1) / 2

    for given in ((), ("hat",), ("hat", "shoes"), ("hat", "scarf"), ("shoes", "solo")):
        assert judge(ANSWERS, {*given, "unasked"}) == pytest.approx(worth(*given))
    assert math.isnan(judge({"hat": False}, set()))  # nothing holds


def test_any_metric_of_decisions_sees_one_picture_and_less_may_be_better(
    from_docs: FromDocs,
) -> None:
    from_docs("A metric")
    own = Measure.of("invented", 0, 1)
    assert own.text == "invented of a picture's answers, from 1 (0) to 0 (1)"
    judge = own.judge()
    assert judge(ANSWERS, {"hat"}) == 1  # no tag is wrong
    assert judge(ANSWERS, {"hat", "solo"}) == 0


def test_what_lies_beyond_an_end_counts_as_the_end(from_docs: FromDocs) -> None:
    from_docs("A metric that is raised")
    judge = Measure.of("review_worth", 0, 0.5).judge()
    assert judge(ANSWERS, {"hat", "scarf"}) == 1
    assert judge(ANSWERS, {"shoes", "solo"}) == 0


def test_ends_kinds_and_versions_are_held_to(from_docs: FromDocs, install_package: object) -> None:
    from_docs("A metric that is raised")
    for low, high in ((1, 1), (1, 0), (0, math.inf), (math.nan, 1)):
        with pytest.raises(TagstackError, match="expected two numbers, the lower one first"):
            Measure.of("review_worth", low, high)
    with pytest.raises(TagstackError, match="review_wort"):
        Measure.of("review_wort", 0, 1)
    older = replace(Measure.of("review_worth", 0, 1), package="my-worth 1.1")
    with pytest.raises(TagstackError, match=r"of my-worth 1\.2 is not the my-worth 1\.1 that"):
        older.judge()
    ranking = (
        "from tagstack.meta.metrics.scores import of_probabilities\nLRAP, *_ = of_probabilities()"
    )
    install_package("ranks", ranking, {"tagstack.metrics": {"ranked": "LRAP"}})  # type: ignore[operator]
    with pytest.raises(TagstackError, match="looks at probabilities, and people judge tags"):
        Measure.of("ranked", 0, 1)


def test_what_is_undefined_in_both_arms_has_no_outcome_and_in_one_is_worth_nothing() -> None:
    nan = math.nan
    found = {
        "both": {A: 0.5, B: 1.0}, "none": {A: nan, B: nan}, "one": {A: nan, B: 0.25},
        "unscored": {A: 0.5},
    }  # fmt: skip
    assert [(own.unit, own.arm, own.value) for own in paired_outcomes(found)] == [
        ("both", A, 0.5), ("both", B, 1.0), ("one", A, 0.0), ("one", B, 0.25),
    ]  # fmt: skip


def test_an_experiment_keeps_its_measure(from_docs: FromDocs, tmp_path: Path) -> None:
    from_docs("A metric that is raised")
    own = Experiment(
        name="try", outcome="o", share=0.5, paired=True, alpha=0.05, effect=0.1, baseline=0.5,
        arms={A: ExperimentArm(note="one"), B: ExperimentArm(note="two")},
        salt="s", started_s=0.0, plan={},
        measure=Measure.of("review_worth", -1, 1),
    )  # fmt: skip
    own.save(tmp_path)
    assert Experiment.load(tmp_path) == own
    text = (tmp_path / FILE).read_text()
    for good, worse in (('"low": -1', '"low": "x"'), ('"low": -1', '"low": 7'), ('"low"', '"lo"')):
        (tmp_path / FILE).write_text(text.replace(good, worse))
        with pytest.raises(TagstackError, match="is damaged"):
            Experiment.load(tmp_path)
