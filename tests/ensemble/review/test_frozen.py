"""The frozen slice: drawn once, alike for near-duplicates, the same whatever comes later."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tagstack.ensemble.feedback.store import DecisionStore
from tagstack.ensemble.review.frozen import frozen_slice

CONTENTS = [f"{i:064x}" for i in range(2000)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DecisionStore]:
    with DecisionStore(tmp_path / "d.sqlite") as opened:
        yield opened


def test_near_duplicates_lie_on_one_side_and_the_share_is_right(store: DecisionStore) -> None:
    groups = np.arange(2000) // 2
    found = frozen_slice(store, CONTENTS, groups, 0.1, seed=0)
    assert (found[::2] == found[1::2]).all()
    assert 0.07 < found.mean() < 0.13


def test_what_was_said_stays_when_pictures_settings_or_seeds_change(store: DecisionStore) -> None:
    alone = np.arange(2000)
    before = frozen_slice(store, CONTENTS[:1000], alone[:1000], 0.1, seed=0)
    order = np.random.default_rng(1).permutation(2000)
    after = frozen_slice(store, [CONTENTS[i] for i in order], alone, 0.5, seed=9)
    again = np.empty(2000, bool)
    again[order] = after
    assert (again[:1000] == before).all()
    assert 0.4 < again[1000:].mean() < 0.6


def test_a_new_picture_goes_where_its_copies_are(store: DecisionStore) -> None:
    first = frozen_slice(store, CONTENTS[:500], np.arange(500), 0.3, seed=0)
    both = frozen_slice(store, CONTENTS[:1000], np.arange(1000) % 500, 0.3, seed=0)
    assert (both[500:] == first).all()
