from typing import Any

import numpy as np
import pytest

from tagstack.meta.calibrators import tally as module
from tagstack.meta.calibrators.tally import Tally

N_TAGS = 7


def rows(n: int = 4_000, seed: int = 0) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(-3, 3, n),
        rng.random(n) < 0.3,
        rng.random(n) + 0.5,
        rng.integers(0, N_TAGS, n),
        rng.integers(0, 3, n),
    )


def counted(*parts: tuple[Any, ...]) -> Tally:
    every = np.concatenate([part[0] for part in parts])
    tally = Tally(float(every.min()), float(every.max()), N_TAGS)
    for part in parts:
        tally.add(*part)
    return tally


@pytest.mark.parametrize("left_out", [None, 0, 2])
def test_sums_of_each_tag_and_label_are_those_of_the_rows_without_the_fold(
    left_out: int | None,
) -> None:
    logit, true, weight, tag, fold = rows()
    mean, label, total, of_tag = counted(rows()).rows(left_out)
    kept = fold != (-1 if left_out is None else left_out)
    for t in range(N_TAGS):
        for value in (False, True):
            there, here = (of_tag == t) & (label == value), kept & (tag == t) & (true == value)
            assert total[there].sum() == pytest.approx(weight[here].sum())
            assert (total * mean)[there].sum() == pytest.approx((weight * logit)[here].sum())


def test_a_row_stands_for_values_within_a_bin() -> None:
    logit, true, weight, _, fold = rows(2)
    mean = counted((logit, true, weight, np.array([0, 1]), fold)).rows(None)[0]
    np.testing.assert_allclose(np.sort(mean), np.sort(logit))
    many = counted(rows()).rows(None)
    same = (many[3] == 3) & many[1]
    assert (np.diff(np.sort(many[0][same])) > 0).all()
    assert len(many[0]) < 4_000 / 2


def test_how_rows_come_in_parts_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MANY", 100)
    whole = rows()
    parts = [tuple(column[i : i + 300] for column in whole) for i in range(0, 4_000, 300)]
    for one, other in zip(counted(whole).rows(1), counted(*parts).rows(1), strict=True):
        np.testing.assert_allclose(np.asarray(one, float), np.asarray(other, float))


def test_a_tally_of_nothing_has_no_rows() -> None:
    assert [len(part) for part in Tally(0.0, 0.0, N_TAGS).rows(None)] == [0, 0, 0, 0]
