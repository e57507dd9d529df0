"""A score of one's own values: what decisions are worth, tag by tag, against an explicit loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.meta.metrics.scores import Judged
from tagstack.meta.metrics.utility import read_utility, utility_score

USUAL = load_settings().thresholds.utility
WORDS = Vocabulary(("sky", "gore", "1girl"), ("general",) * 3)


def table(folder: Path, *lines: str) -> Path:
    path = folder / "utility.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rows_win_over_the_row_for_all_and_that_over_the_defaults(tmp_path: Path) -> None:
    path = table(tmp_path, "tag,fn,tp", "gore,-10,", "*,-1,2", "1 girl,,3")
    with pytest.raises(TagstackError, match=r"line 4: no tag '1 girl' is known here"):
        read_utility(path, WORDS, USUAL)
    path = table(tmp_path, "tag,fn,tp", "Gore,-10,", "*,-1,2", "1girl,,3")
    np.testing.assert_array_equal(
        read_utility(path, WORDS, USUAL),
        [[2, 2, 3], [-1, -1, -1], [-1, -10, -1], [0, 0, 0]],  # tp, fp, fn, tn
    )


def test_every_decision_counts_with_its_own_value(
    rng: np.random.Generator, make_proba: Callable[..., tuple[Any, Any]]
) -> None:
    proba, _ = make_proba(0)
    shape = proba.dense().shape
    labels, decided, unknown = (rng.random(shape) < share for share in (0.3, 0.4, 0.2))
    labels, decided = labels & ~unknown, decided & ~unknown
    worth = rng.normal(size=(4, shape[1]))
    total = 0.0
    for i in range(shape[0]):
        for j in range(shape[1]):
            if not unknown[i, j]:
                outcome = [[3, 1], [2, 0]][int(labels[i, j])][int(decided[i, j])]
                total += worth[outcome, j]
    judged = Judged(
        proba=proba,
        decided=sparse.csr_array(decided),
        labels=sparse.csr_array(labels),
        unknown=sparse.csr_array(unknown),
    )
    assert utility_score(worth).function(judged) == pytest.approx(total / shape[0])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("tag,value", "sky,1"), r"columns \['tag', 'value'\]; expected tag and some of"),
        (("tag,tp", "sky,1", "Sky,2"), r"line 3: 'Sky' is there twice"),
        (("tag,tp", "*,1", "*,2"), r"line 3: '\*' is there twice"),
        (("tag,tp", "sky,much"), r"line 2, tp"),
        (("tag,tp", "sky,inf"), r"line 2: tp is inf, no number"),
        (("tag,tp", "skyy,1"), r"line 2: no tag 'skyy' is known here"),
    ],
)
def test_a_table_with_a_mistake_is_refused(
    tmp_path: Path, lines: tuple[str, ...], message: str
) -> None:
    with pytest.raises(TagstackError, match=message):
        read_utility(table(tmp_path, *lines), WORDS, USUAL)
