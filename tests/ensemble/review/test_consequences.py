"""What follows from an answer by the rules."""

import pytest

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.review.consequences import Consequences
from tagstack.ensemble.rules.rule_set import Rules

TAGS = ("1girl", "2girls", "animal", "animal_ears", "cat_ears", "comic", "hat", "no_hat", "tail")
RULES = """
[[implication]]
id = "ears"
source = "test"
tags = ["cat_ears"]
implies = ["animal_ears"]
[[implication]]
id = "animals"
source = "test"
tags = ["animal_ears"]
implies = ["animal"]
[[exclusive]]
id = "count"
source = "test"
tags = ["1girl", "2girls"]
unless = ["comic"]
[[exclusive]]
id = "soft"
source = "test"
tags = ["hat", "tail"]
penalty = 1.0
[[exclusive]]
id = "hats"
source = "test"
tags = ["animal", "no_hat"]
"""


@pytest.fixture(scope="module")
def consequences() -> Consequences:
    vocabulary = Vocabulary(TAGS, ("general",) * len(TAGS))
    return Consequences(Rules.from_toml(RULES).bind(vocabulary))


@pytest.mark.parametrize(
    ("tag", "there", "held", "follows"),
    [
        ("1girl", True, "2girls", {"2girls": False}),
        ("1girl", True, "2girls comic", {}),
        ("1girl", False, "2girls", {}),
        ("cat_ears", True, "", {"animal_ears": True, "animal": True}),
        ("cat_ears", True, "animal_ears", {"animal": True}),
        ("cat_ears", True, "no_hat", {"animal_ears": True, "animal": True, "no_hat": False}),
        ("no_hat", True, "cat_ears animal_ears animal",
         {"animal": False, "animal_ears": False, "cat_ears": False}),
        ("animal", False, "cat_ears animal_ears hat", {"cat_ears": False, "animal_ears": False}),
        ("hat", True, "tail", {}),
        ("unheard_of", True, "tail", {}),
    ],
)  # fmt: skip
def test_what_follows(
    consequences: Consequences, tag: str, there: bool, held: str, follows: dict[str, bool]
) -> None:
    found = consequences.of(tag, there, held.split())
    assert {item.tag: item.there for item in found} == follows


def test_it_is_said_in_words(consequences: Consequences) -> None:
    (found,) = consequences.of("1girl", True, ["2girls"])
    assert (found.because, found.rule) == ("1girl excludes 2girls", "count")
    assert consequences.implied(["cat_ears", "nothing"]) == {"animal_ears", "animal"}
