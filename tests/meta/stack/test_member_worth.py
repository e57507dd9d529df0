from collections.abc import Callable

import numpy as np
import pytest

from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import MemberLogits, regression_rows
from tagstack.meta.learners.shrunken_logistic import (
    fit_on_rows,
    logistic_rows,
    rows_of_some,
)
from tagstack.meta.stack.choice import Choice
from tagstack.meta.stack.foundation import Foundation, lay_foundation
from tagstack.meta.stack.ladder import climb
from tagstack.meta.stack.member_worth import MemberLoss, MembersWorth, members_worth

Lay = Callable[..., Foundation]
Make = Callable[..., StackSettings]


def may_go(loss: MemberLoss) -> bool:
    """Return whether nothing is significantly lost without a member."""
    return not (loss.macro_low > 0 or loss.micro_low > 0)


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def choice_of(rung: str) -> Choice:
    return Choice(chosen=rung, why={}, bands=(), tag_rungs=())


def worth(laid: Foundation, chosen: str = "shrunken_logistic") -> MembersWorth:
    found = members_worth(climb(laid, silent), choice_of(chosen), silent)
    assert found is not None
    return found


@pytest.mark.parametrize("how", ["logistic", "full"])
def test_the_good_member_is_missed_and_noise_is_not(
    lay: Lay, stack_settings: Make, how: str
) -> None:
    settings = stack_settings(learners=(), member_worth=how)
    laid = lay(settings, n_images=400, noise=(1.5, 4.0, 60.0))
    found = worth(laid, "blend")
    assert found.rung == ("blend" if how == "full" else "shrunken_logistic")
    good, fair, noise = found.losses
    assert good.macro_ap > 0.1
    assert good.macro_low > 0
    assert good.macro_low < good.macro_ap < good.macro_high
    assert good.micro_low < good.micro_ap < good.micro_high
    assert not may_go(good)
    assert abs(noise.macro_ap) < 0.02
    assert may_go(noise)
    assert good.macro_ap > fair.macro_ap


def test_either_of_two_copies_may_go(lay: Lay, stack_settings: Make) -> None:
    settings = stack_settings(learners=(), member_worth="logistic")
    laid = lay(settings, n_images=300, noise=(1.5, 1.5, 4.0))
    members = laid.ground.members
    members.listed[1], members.base[1] = members.listed[0], members.base[0]
    losses = worth(laid).losses
    assert may_go(losses[0])
    assert may_go(losses[1])
    assert losses[0].macro_ap == pytest.approx(losses[1].macro_ap, abs=1e-9)


def test_tags_that_one_member_alone_knows_count_as_its_worth(
    lay: Lay, stack_settings: Make
) -> None:
    settings = stack_settings(learners=(), member_worth="full")
    laid = lay(settings, n_images=300, noise=(1.0, 1.0))
    scores = laid.data.scores
    scores.knows[1, :6] = False
    scores.logit[1, scores.pairs.tag < 6] = np.nan
    again = lay_foundation(laid.data, settings, seed=0, threads=1, progress=silent)
    first, second = worth(again, "calibrated_mean").losses
    assert first.macro_ap > 0.2  # half of the tags fall to chance
    assert second.macro_ap < 0.1


def test_a_logistic_of_some_members_is_the_one_fitted_on_theirs_alone(
    lay: Lay, stack_settings: Make
) -> None:
    """One tag that only the member left out knows, one that only one of the others does."""
    laid = lay(stack_settings(learners=()), n_images=80, noise=(1.0, 2.0, 1.5))
    scores, truth = laid.data.scores, laid.fitter.truth
    pairs, category = scores.pairs, np.arange(scores.pairs.n_tags) % 2
    listed = laid.ground.members.listed.astype(np.float64)
    base = laid.ground.members.base.copy()
    for member, tag in ((1, 2), (2, 2), (0, 3), (1, 3)):
        listed[member, pairs.tag == tag], base[member, tag] = np.nan, np.nan
    known = np.logical_not(np.isnan(base).all(axis=0))
    rows = regression_rows(listed, base, pairs.tag, truth, category, known)
    some = fit_on_rows(rows_of_some(rows, [1, 2]), 3.0)
    alone = MemberLogits(listed=listed[1:], base=base[1:])
    expected = fit_on_rows(logistic_rows(alone, pairs, truth, category), 3.0)
    np.testing.assert_array_equal(some.theta, expected.theta)


def test_one_member_cannot_be_left_out(lay: Lay, stack_settings: Make) -> None:
    laid = lay(stack_settings(learners=()), n_images=60, noise=(1.0,))
    assert worth(laid).losses == ()


def test_it_is_not_measured_unless_asked_for(lay: Lay, stack_settings: Make) -> None:
    laid = lay(stack_settings(learners=(), member_worth="none"), n_images=60)
    assert members_worth(climb(laid, silent), choice_of("mean"), silent) is None
