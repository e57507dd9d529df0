from collections.abc import Callable

import numpy as np
import pytest

from tagstack.configs.stack import StackSettings
from tagstack.meta.stack.ladder import Ladder
from tagstack.meta.stack.member_worth import MembersWorth, members_worth

MakeLadder = Callable[..., Ladder]
Make = Callable[..., StackSettings]


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def worth(ladder: Ladder, chosen: str = "shrunken_logistic") -> MembersWorth:
    ladder.climb(silent)
    found = members_worth(ladder, chosen, silent)
    assert found is not None
    return found


@pytest.mark.parametrize("how", ["logistic", "full"])
def test_the_good_member_is_missed_and_noise_is_not(
    make_ladder: MakeLadder, stack_settings: Make, how: str
) -> None:
    settings = stack_settings(learners=(), member_worth=how)
    ladder = make_ladder(settings, n_images=400, noise=(1.5, 4.0, 60.0))
    found = worth(ladder, "blend")
    assert found.rung == ("blend" if how == "full" else "shrunken_logistic")
    good, fair, noise = found.losses
    assert good.macro_ap > 0.1
    assert good.macro_low > 0
    assert good.macro_low < good.macro_ap < good.macro_high
    assert good.micro_low < good.micro_ap < good.micro_high
    assert not good.may_go
    assert abs(noise.macro_ap) < 0.02
    assert noise.may_go
    assert good.macro_ap > fair.macro_ap


def test_either_of_two_copies_may_go(make_ladder: MakeLadder, stack_settings: Make) -> None:
    settings = stack_settings(learners=(), member_worth="logistic")
    ladder = make_ladder(settings, n_images=300, noise=(1.5, 1.5, 4.0))
    members = ladder.ground.members
    members.listed[1], members.base[1] = members.listed[0], members.base[0]
    losses = worth(ladder).losses
    assert losses[0].may_go
    assert losses[1].may_go
    assert losses[0].macro_ap == pytest.approx(losses[1].macro_ap, abs=1e-9)


def test_tags_that_one_member_alone_knows_count_as_its_worth(
    make_ladder: MakeLadder, stack_settings: Make
) -> None:
    settings = stack_settings(learners=(), member_worth="full")
    ladder = make_ladder(settings, n_images=300, noise=(1.0, 1.0))
    scores = ladder.data.scores
    scores.knows[1, :6] = False
    scores.logit[1, scores.pairs.tag < 6] = np.nan
    again = Ladder(ladder.data, settings, seed=0, threads=1)
    again.prepare(silent)
    first, second = worth(again, "calibrated_mean").losses
    assert first.macro_ap > 0.2  # half of the tags fall to chance
    assert second.macro_ap < 0.1


def test_one_member_cannot_be_left_out(make_ladder: MakeLadder, stack_settings: Make) -> None:
    ladder = make_ladder(stack_settings(learners=()), n_images=60, noise=(1.0,))
    assert worth(ladder).losses == ()


def test_it_is_not_measured_unless_asked_for(make_ladder: MakeLadder, stack_settings: Make) -> None:
    ladder = make_ladder(stack_settings(learners=(), member_worth="none"), n_images=60)
    ladder.climb(silent)
    assert members_worth(ladder, "mean", silent) is None
