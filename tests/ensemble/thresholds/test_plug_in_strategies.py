"""A strategy is one class: what each says of itself is true, and a package's is used like ours."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import THRESHOLD_STRATEGIES
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.ensemble.thresholds.objectives import objective_text, parse_objective
from tagstack.ensemble.thresholds.strategies.strategy import (
    Strategy,
    built_in,
    chosen_jointly,
    strategy_of,
)

Make = Callable[..., Any]


class Recording:
    """Settings that note which of their fields are read."""

    def __init__(self, settings: ThresholdSettings) -> None:
        self.settings, self.read = settings, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self.settings, name)


@pytest.mark.parametrize("strategy", tuple(built_in()), ids=lambda strategy: strategy.name)
def test_a_strategy_reads_what_it_says(
    strategy: Strategy, draw: Make, settings_with: Make, from_docs: Make
) -> None:
    from_docs("A metric that is raised")
    read: set[str] = set()
    sample = draw(0, n_images=60).sample
    sample = replace(sample, held=sample.parts)
    for goal in ("f_beta", "utility"):
        for average in ("macro", "micro"):
            settings = Recording(
                settings_with(objective=goal, average=average, fbr=0.3, metric="review_worth")
            )
            strategy.propose(sample, settings)  # type: ignore[arg-type]
            strategy.image_cut(settings)  # type: ignore[arg-type]
            read |= settings.read
    assert read - {"macro_share", "joint_rounds"} <= set(strategy.reads)
    assert set(strategy.reads) <= set(ThresholdSettings.model_fields)
    assert strategy.title
    assert strategy.optimises


def test_the_page_has_every_strategy() -> None:
    page = (Path(__file__).parents[3] / "docs" / "thresholds.md").read_text("utf-8")
    for strategy in built_in():
        assert f"| `{strategy.name}` | {strategy.optimises} |" in page


def fitted(drawn: Any, settings: ThresholdSettings) -> Any:
    folds = np.arange(len(drawn.dense)) % 3
    return fit_thresholds(drawn.proba, drawn.matrix, drawn.vocabulary, folds, settings)


def test_a_packages_strategy_finds_the_best_cut(
    draw: Make, settings_with: Make, from_docs: Callable[[str], None]
) -> None:
    from_docs("A threshold strategy")
    drawn = draw(1)
    found = fitted(drawn, settings_with(strategy="youden"))
    assert set(found.state) == {"tuned"}
    assert set(found.objective) == {"youden"}
    for tag in range(drawn.dense.shape[1]):
        proba, true = drawn.dense[:, tag], drawn.labels[:, tag]

        def gain(cut: float, proba: Any = proba, true: Any = true) -> float:
            return float((proba[true] >= cut).mean() - (proba[~true] >= cut).mean())

        best = max(gain(cut) for cut in np.unique(proba))
        assert gain(found.value[tag]) == pytest.approx(best)


def test_a_packages_strategy_is_an_objective(
    settings_with: Make, from_docs: Callable[[str], None]
) -> None:
    with pytest.raises(TagstackError, match="Unknown objective 'youden'"):
        parse_objective("youden", settings_with())
    from_docs("A threshold strategy")
    chosen = parse_objective("youden", settings_with())
    assert (chosen.strategy, objective_text(chosen)) == ("youden", "youden")
    assert parse_objective("f2", chosen).strategy == "youden"  # it raises a score


_BAD = """
import numpy as np
from tagstack.ensemble.thresholds.cuts import Proposal
from tagstack.ensemble.thresholds.strategies.strategy import Strategy
class Bad(Strategy):
    name, title, optimises, reads = {name!r}, "Bad", "nothing", ()
    def propose(self, sample, settings):
        n_tags = sample.curves.n_tags
        {proposal}
class Loose:
    name, title, optimises, reads, propose = "bad", "Bad", "nothing", (), None
"""


@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        ("return Proposal.of(np.zeros(3), own=np.zeros(n_tags, bool))", r"shape \(1, 3\) and own"),
        ("return Proposal.of(np.full(n_tags, np.nan), own=np.zeros(n_tags, bool))", "4 logits tha"),
        ("return Proposal.of(np.zeros(n_tags), own=np.zeros(1, bool))", r"own of shape \(1,\)"),
    ],
)
def test_what_a_package_proposes_is_checked(
    draw: Make, settings_with: Make, install_package: Make, proposal: str, message: str
) -> None:
    source = _BAD.format(name="bad", proposal=proposal)
    install_package("bad_package", source, {THRESHOLD_STRATEGIES.group: {"bad": "Bad"}})
    with pytest.raises(
        TagstackError, match=rf"^The threshold strategy 'bad' of bad-package 1\.2 .*{message}"
    ):
        fitted(draw(0), settings_with(strategy="bad"))


@pytest.mark.parametrize(("name", "attribute"), [("other", "Bad"), ("bad", "Loose")])
def test_what_is_no_strategy_is_refused(install_package: Make, name: str, attribute: str) -> None:
    source = _BAD.format(name=name, proposal="return None")
    install_package("bad_package", source, {THRESHOLD_STRATEGIES.group: {"bad": attribute}})
    with pytest.raises(TagstackError, match=r"of bad-package 1\.2 is .*expected a class under .*'"):
        strategy_of("bad")


def test_a_broken_strategy_costs_a_warning_where_objectives_are_listed(
    settings_with: Make, install_package: Make, caplog: pytest.LogCaptureFixture
) -> None:
    install_package("bad_package", "import nowhere", {THRESHOLD_STRATEGIES.group: {"bad": "Bad"}})
    with pytest.raises(TagstackError, match="Unknown objective 'best'"):
        parse_objective("best", settings_with())
    assert "of bad-package 1.2 cannot be loaded: No module named 'nowhere'" in caplog.text


def test_two_strategies_that_decide_together_are_refused(
    draw: Make, settings_with: Make, install_package: Make
) -> None:
    source = _BAD.format(name="bad", proposal="needs_decoder = True").replace(
        "    def propose", "    needs_decoder = True\n    def propose"
    )
    install_package("bad_package", source, {THRESHOLD_STRATEGIES.group: {"bad": "Bad"}})
    drawn = draw(0)
    with pytest.raises(TagstackError, match="The strategies bad and joint_f each choose"):
        fit_thresholds(
            drawn.proba, drawn.matrix, drawn.vocabulary, np.arange(300) % 3, settings_with(),
            by_tag=(("t1", settings_with(strategy="bad")),),
        )  # fmt: skip


_JOINT = """
import numpy as np
from tagstack.ensemble.thresholds.cuts import Proposal
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.strategies.strategy import Strategy
class Bad(Strategy):
    name, title, optimises, reads, needs_decoder = "bad", "Bad", "nothing", (), True
    def propose(self, sample, settings):
        n_tags = sample.curves.n_tags
        return Proposal.of(np.zeros(n_tags), own=np.zeros(n_tags, bool))
    def jointly(self, proba, start, tags, n_positive_tags, settings, decide{more}):
        return {given}
"""


@pytest.mark.parametrize(
    ("more", "given", "weighed", "message"),
    [
        ("", "Cutting(value=start)", True, "takes no image_weight in `jointly`, and under stack.b"),
        ("", "Cutting(value=start)", False, ""),
        (", image_weight=None", "Cutting(value=start)", True, ""),
        (", **more", "Cutting(value=start + 0 * more['image_weight'].sum())", True, ""),
        ("", "Cutting(value=start[:2])", False, r"chose values of shape \(2,\) jointly"),
        ("", "start", False, r"chose array\(.* jointly; expected a Cutting of 4 values"),
    ],
)
def test_a_strategy_that_decodes_takes_what_images_count(
    draw: Make,
    settings_with: Make,
    install_package: Make,
    more: str,
    given: str,
    weighed: bool,
    message: str,
) -> None:
    source = _JOINT.format(more=more, given=given)
    install_package("bad_package", source, {THRESHOLD_STRATEGIES.group: {"bad": "Bad"}})
    drawn = draw(0)
    strategy, n_images = strategy_of("bad"), drawn.matrix.shape[0]

    def chosen() -> Cutting:
        return chosen_jointly(
            strategy,
            drawn.proba,
            np.full(4, 0.5, np.float32),
            np.ones(4, bool),
            4,
            settings_with(strategy="bad"),
            lambda cutting: cutting.decided(drawn.proba),
            np.ones(n_images) if weighed else None,
        )

    if message:
        with pytest.raises(TagstackError, match=f"^The threshold strategy 'bad' of .*{message}"):
            chosen()
    else:
        assert chosen().value.tolist() == [0.5] * 4


def test_rounds_give_a_strategy_that_decodes_what_images_count(
    draw: Make, settings_with: Make, install_package: Make
) -> None:
    source = _JOINT.format(more="", given="Cutting(value=start)")
    install_package("bad_package", source, {THRESHOLD_STRATEGIES.group: {"bad": "Bad"}})
    drawn = draw(0)
    with pytest.raises(TagstackError, match="takes no image_weight"):
        fit_thresholds(
            drawn.proba, drawn.matrix, drawn.vocabulary, np.arange(300) % 3,
            settings_with(strategy="bad"), image_weight=np.ones(300),
        )  # fmt: skip
