"""What a package's strategy proposes is held to its kind before anything is built on it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.thresholds.cuts import Proposal
from tagstack.ensemble.thresholds.strategies.strategy import proposed

N_TAGS = 4
GOOD = np.zeros((1, N_TAGS)), np.ones(N_TAGS, bool)


def given(found: Any) -> Any:
    """Return what `proposed` makes of a strategy's answer; by a name that is built in."""
    strategy: Any = SimpleNamespace(
        name=load_settings().thresholds.strategy, propose=lambda sample, settings: found
    )
    sample: Any = SimpleNamespace(curves=SimpleNamespace(n_tags=N_TAGS))
    return proposed(strategy, sample, load_settings().thresholds)


def test_a_proposal_of_numbers_is_taken_as_it_is() -> None:
    good = Proposal(logits=GOOD[0], own=GOOD[1])
    assert given(good) is good


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda logits, own: None, "proposed NoneType; expected"),
        (lambda logits, own: logits, "proposed ndarray; expected"),
        (lambda logits, own: Proposal(logits=logits.astype(complex), own=own), "type complex128"),
        (lambda logits, own: Proposal(logits=logits.astype(str), own=own), "logits of type <U"),
        (lambda logits, own: Proposal(logits=logits, own=own.astype(object)), "own of type object"),
        (lambda logits, own: Proposal(logits=logits[:, 1:], own=own), "logits of shape"),
        (lambda logits, own: Proposal(logits=logits, own=own[1:]), "own of shape"),
        (lambda logits, own: Proposal(logits=logits * np.nan, own=own), "4 logits that are no num"),
    ],
)
def test_everything_else_is_refused_in_one_line(made: Callable[..., Any], said: str) -> None:
    with pytest.raises(TagstackError, match=said):
        given(made(*GOOD))
