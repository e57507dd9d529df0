"""Labels that the rules forbid are said at the fit, not found out from what it never tags."""

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.taggers.check import _with_commas
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.fitting.dataset_fit import broken_exclusions
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

TAGS = ("1girl", "2girls", "cat_ears", "animal_ears")
RULES = Rules(
    implications=(
        Implication(id="ears", tags=("cat_ears",), implies=("animal_ears",), source="test"),
    ),
    exclusives=(Exclusive(id="girls", tags=("1girl", "2girls"), source="test"),),
)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1, 1, 0, 0], [1, 1, 0, 0]], "2 of 2 images have labels that exclude each other"),
        ([[1, 1, 0, 0], [1, 0, 0, 0]], "1 of 2 images .* most of them by girls (1)"),
        ([[1, 0, 1, 0], [0, 1, 0, 0]], None),  # a missing implication is no contradiction
    ],
)
def test_labels_that_exclude_each_other_are_counted(
    rows: list[list[int]], said: str | None
) -> None:
    bound = RULES.bind(Vocabulary(TAGS, ("general",) * 4))
    found = broken_exclusions(bound, sparse.csr_array(np.array(rows, bool)))
    if said is None:
        assert found == ""
    else:
        assert all(part in found for part in said.split(" .* "))


def test_tags_with_commas_are_named_by_the_check() -> None:
    (finding,) = _with_commas(("solo", "great_white_shark,_white_shark"))
    assert "1 tags hold a comma, such as 'great_white_shark,_white_shark'" in finding.detail
    assert _with_commas(("solo",)) == []
