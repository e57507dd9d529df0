from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.ensemble.comparison.rule_effects import OTHER, rule_effects
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.contradictions.explanations import explain
from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

TAGS = ("cat", "animal", "day", "night", "indoors", "solo")


def bound() -> BoundRules:
    rules = Rules(
        implications=(Implication(id="cats", source="me", tags=("cat",), implies=("animal",)),),
        exclusives=(
            Exclusive(id="time", source="me", tags=("day", "night")),
            Exclusive(
                id="place", source="me", tags=("day", "indoors"), when=("solo",), unless=("cat",)
            ),
        ),
    )
    return rules.bind(Vocabulary(TAGS, ("general",) * len(TAGS)))


def tags(*rows: str) -> sparse.csr_array:
    dense = [[tag in row.split() for tag in TAGS] for row in rows]
    return sparse.csr_array(np.array(dense, bool))


def test_every_change_is_booked_on_the_rule_behind_it() -> None:
    before = tags("cat", "day night", "day night", "solo day indoors", "cat")
    after = tags("cat animal", "day", "night", "solo indoors", "")
    labels = tags("cat", "day", "day", "solo indoors", "cat")
    effects = {effect.rule: effect for effect in rule_effects(bound(), before, after, labels)}
    assert set(effects) == {"time", "cats", "place"}
    time, cats, place = effects["time"], effects["cats"], effects["place"]
    assert (time.removed_right, time.removed_wrong, time.images) == (1, 1, 2)
    assert (cats.added_wrong, cats.removed_wrong, cats.images) == (1, 1, 2)
    assert (place.removed_right, place.removed_wrong) == (1, 0)
    assert {effect.kind for effect in effects.values()} == {"implication", "exclusion"}


def test_precision_and_recall_are_those_of_undoing_the_rule() -> None:
    before = tags("day night", "day night", "cat")
    after = tags("day", "night", "cat animal")
    labels = tags("day", "day", "cat animal")
    effects = {effect.rule: effect for effect in rule_effects(bound(), before, after, labels)}
    # After: 4 decided, 3 right of 4 true. Without "time": 6 decided, 4 right.
    assert effects["time"].precision == pytest.approx(3 / 4 - 4 / 6)
    assert effects["time"].recall == pytest.approx((3 - 4) / 4)
    # Without "cats": 3 decided, 2 right.
    assert effects["cats"].precision == pytest.approx(3 / 4 - 2 / 3)
    assert effects["cats"].recall == pytest.approx((3 - 2) / 4)


def test_unknown_pairs_are_booked_on_nobody() -> None:
    before, after = tags("day night"), tags("day")
    unknown = tags("night")
    assert rule_effects(bound(), before, after, tags("day"), unknown) == ()


def test_changes_that_no_rule_explains_stand_apart() -> None:
    (effect,) = rule_effects(bound(), tags("solo"), tags("solo indoors"), tags("solo"))
    assert (effect.rule, effect.added_wrong) == (OTHER, 1)


def test_the_decoder_s_changes_are_all_booked_and_as_it_explains_them() -> None:
    rng = np.random.default_rng(0)
    n_images = 300
    pairs = Pairs(
        indptr=np.arange(0, n_images * 6 + 1, 6, dtype=np.int64),
        tag=np.tile(np.arange(6, dtype=np.int32), n_images),
        n_tags=6,
    )
    proba = PairProba(
        pairs=pairs,
        proba=rng.random(n_images * 6).astype(np.float32),
        base=np.full(6, 1e-4, np.float32),
    )
    thresholds = np.full(6, 0.4, np.float32)
    rules = bound()
    decoder = Decoder(rules, load_settings().decoder)
    before = sparse.csr_array(proba.dense() >= thresholds)
    after = decoder.decode(proba, thresholds)
    labels = sparse.csr_array(rng.random((n_images, 6)) < 0.4)
    effects = rule_effects(rules, before, after, labels)
    expected: dict[str, int] = {}
    for image in range(n_images):
        for change in explain(decoder, proba.take(np.array([image])), thresholds):
            expected[change.rule] = expected.get(change.rule, 0) + 1

    def size(effect: Any) -> int:
        return int(
            effect.removed_right + effect.removed_wrong + effect.added_right + effect.added_wrong
        )

    assert {effect.rule: size(effect) for effect in effects} == expected
    assert sum(map(size, effects)) == (before.astype(int) - after.astype(int)).count_nonzero()
