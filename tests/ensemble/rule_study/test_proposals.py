from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstack.configs.settings import load_settings
from tagstack.ensemble.rule_study.proposals import Proposals, _cliques, propose_rules
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

SETTINGS = load_settings().rules
NAMES = ("solo", "red", "blue", "green", "cat_ears", "animal_ears", "ears", "noise")


def drawn(seed: int = 0, n_images: int = 12_000) -> np.ndarray:
    """Return colours that exclude each other, and ears that imply ears that imply ears."""
    rng = np.random.default_rng(seed)
    tags = rng.random((n_images, len(NAMES))) < 0.2
    colour = rng.integers(0, 4, n_images)
    for i in range(3):
        tags[:, 1 + i] = colour == i
    tags[:, 5] |= tags[:, 4]
    tags[:, 6] |= tags[:, 5]
    return tags


def proposed(labelled: Any, known: Rules | None = None) -> Proposals:
    return propose_rules(labelled, known or Rules.none(), SETTINGS)


def test_groups_and_the_shortest_implications_are_proposed(dense_labels: Any) -> None:
    found = proposed(dense_labels(drawn(), names=NAMES))
    assert [rule.tags for rule in found.rules.exclusives] == [("red", "blue", "green")]
    said = [(rule.tags, rule.implies) for rule in found.rules.implications]
    assert sorted(said) == [(("animal_ears",), ("ears",)), (("cat_ears",), ("animal_ears",))]
    assert found.n_exclusions >= 3
    assert found.n_implications == 3
    for rule in found.rules.rules:
        assert not rule.hard
        assert 0 < rule.penalty <= SETTINGS.mining.max_penalty
        assert rule.source.startswith("mined from labels.csv: ")
    assert "0 images have both where" in found.rules.exclusives[0].source


def test_what_known_rules_say_is_not_proposed(dense_labels: Any) -> None:
    known = Rules(
        implications=(
            Implication(id="a", tags=("cat_ears",), implies=("animal_ears",), source=""),
            Implication(id="b", tags=("animal_ears",), implies=("ears",), source="", penalty=1.0),
        ),
        exclusives=(Exclusive(id="c", tags=("red", "blue", "green"), source=""),),
    )
    assert proposed(dense_labels(drawn(), names=NAMES), known).rules == Rules.none()


def test_exclusions_of_more_general_tags_cover_those_below(dense_labels: Any) -> None:
    tags = drawn()
    tags[:, 7] &= ~tags[:, 5]
    tags[:, 4] = tags[:, 5] & (np.random.default_rng(1).random(len(tags)) < 0.8)
    tags[:, 5] |= tags[:, 4]
    found = proposed(dense_labels(tags, names=NAMES))
    assert ("animal_ears", "noise") in [rule.tags for rule in found.rules.exclusives]
    assert all("cat_ears" not in rule.tags for rule in found.rules.exclusives)


def test_two_names_for_one_thing_give_one_implication(dense_labels: Any) -> None:
    tags = drawn()
    tags[:, 7] = tags[:, 4]
    tags[0, 7], tags[0, 4] = True, False
    said = {
        (rule.tags, rule.implies)
        for rule in proposed(dense_labels(tags, names=NAMES)).rules.implications
    }
    assert (("cat_ears",), ("noise",)) in said
    assert (("noise",), ("cat_ears",)) not in said


def test_a_stratum_becomes_a_condition(dense_labels: Any) -> None:
    rng = np.random.default_rng(0)
    tags = rng.random((12_000, 3)) < 0.5
    tags[tags[:, 0], 2] &= ~tags[tags[:, 0], 1]
    rule = proposed(dense_labels(tags, names=("solo", "red", "blue"))).rules.exclusives[0]
    assert (rule.tags, rule.when) == (("red", "blue"), ("solo",))


def test_the_review_file_proposes_and_applies_nothing(dense_labels: Any) -> None:
    found = proposed(dense_labels(drawn(), names=NAMES))
    text = found.to_toml()
    waiting = Rules.from_toml(text)
    assert len(waiting) == 0
    assert set(waiting.proposed) == set(found.rules.ids)
    one = text.replace("accepted = false", "accepted = true", 1)
    assert Rules.from_toml(one).rules == found.rules.rules[:1]
    assert Rules.from_toml(text.replace("accepted = false\n", "")) == found.rules


def test_proposals_do_not_depend_on_the_order_of_images(dense_labels: Any) -> None:
    tags = drawn(3)
    order = np.random.default_rng(0).permutation(len(tags))
    one, other = (proposed(dense_labels(t, names=NAMES)).to_toml() for t in (tags, tags[order]))
    assert one == other


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=100)
def test_groups_cover_every_pair_and_no_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_tags = int(rng.integers(2, 9))
    pairs = {(a, b) for a in range(n_tags) for b in range(a + 1, n_tags) if rng.random() < 0.6}
    covered = {(a, b) for group in _cliques(pairs) for a in group for b in group if a < b}
    assert covered == pairs
