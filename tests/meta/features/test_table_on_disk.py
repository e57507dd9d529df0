"""Rows of a table that lies in a file: the same as in memory, and their pages are let go."""

from pathlib import Path

import numpy as np
import pytest

from tagstack.base_models.pairs import Pairs
from tagstack.base_models.spill import Spill
from tagstack.meta.features import pair_table
from tagstack.meta.features.pair_table import PairTable

N_IMAGES, N_EACH = 40, 5


class Counting(Spill):
    """Counts how often pages are let go."""

    n_let_go = 0

    def let_go(self) -> None:
        """Count, and let go."""
        self.n_let_go += 1
        super().let_go()


@pytest.mark.parametrize(
    ("rows", "n_reads"),
    [
        (np.arange(3, 170, 2), 5),
        (slice(None, None, 3), 4),  # every third is as far apart as if it were drawn
        (np.array([8, 2]), 0),
        (slice(10, 90), 0),
    ],
)
def test_rows_far_apart_are_read_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: slice, n_reads: int
) -> None:
    monkeypatch.setattr(pair_table, "_READ_TOGETHER", 20)
    spill = Counting(tmp_path, least_bytes=1)
    n = N_IMAGES * N_EACH
    values = np.arange(n * 3, dtype=np.float32).reshape(n, 3)
    pairs = Pairs(
        indptr=np.arange(N_IMAGES + 1, dtype=np.int64) * N_EACH,
        tag=np.tile(np.arange(N_EACH, dtype=np.int32), N_IMAGES),
        n_tags=N_EACH,
    )
    table = PairTable(
        pairs=pairs,
        names=("a", "b", "c"),
        values=spill.held(values),
        logit=np.zeros(n),
        spill=spill,
    )
    np.testing.assert_array_equal(table.values_at(rows), values[rows])
    assert spill.n_let_go == n_reads
    images = np.arange(N_IMAGES)[::-1]
    taken = table.take(images).values_at(rows)
    np.testing.assert_array_equal(taken, values[pairs.rows(images)][rows])
