from pathlib import Path

import pytest

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rule_study.catalogue import (
    binding_of,
    find_rule,
    list_rules,
    vocabulary_of,
)
from tagstack.ensemble.rules.rule import Alias, Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

RULES = Rules(
    implications=(
        Implication(id="ears", tags=("cat_ears", "fox_ears"), implies=("ears", "head"), source="w"),
        Implication(id="soft", tags=("cat_ears",), implies=("tail",), source="me", penalty=1.5),
    ),
    exclusives=(
        Exclusive(
            id="hair",
            tags=("black_hair", "blond_hair", "red_hair"),
            source="w",
            when=("solo",),
            unless=("wig", "dye"),
            penalty=2.0,
        ),
        Exclusive(id="rating", tags=("safe", "explicit"), source="w", at_least_one=True),
    ),
    aliases=(Alias(old="blond_hair", new="blonde_hair"),),
)


def test_rules_are_put_into_words() -> None:
    says = {entry.id: (entry.kind, entry.strength, entry.says) for entry in list_rules(RULES)}
    assert says == {
        "ears": ("implication", "hard", "cat_ears, fox_ears imply, each, ears and head"),
        "soft": ("implication", "1.5", "cat_ears implies tail"),
        "hair": (
            "exclusion",
            "2",
            "at most one of black_hair, blond_hair, red_hair; where solo; unless wig or dye",
        ),
        "rating": ("exclusion", "hard", "exactly one of safe, explicit"),
    }


def test_rules_are_chosen_by_tag_and_kind() -> None:
    assert [entry.id for entry in list_rules(RULES, tag="cat_ears")] == ["ears", "soft"]
    assert [entry.id for entry in list_rules(RULES, tag="wig")] == ["hair"]
    assert [entry.id for entry in list_rules(RULES, kind="exclusion")] == ["hair", "rating"]
    assert list_rules(RULES, tag="wig", kind="implication") == ()


def test_a_rule_that_is_not_there_is_answered_with_similar_ones() -> None:
    assert find_rule(RULES, "hair").source == "w"
    with pytest.raises(TagstackError, match=r"no rule 'hairs' among 4. Did you mean hair"):
        find_rule(RULES, "hairs")
    with pytest.raises(TagstackError, match="`tagstack rules list` names them all"):
        find_rule(RULES, "zzz")


def test_binding_shows_what_a_vocabulary_leaves() -> None:
    tags = ("cat_ears", "ears", "tail", "blonde_hair", "black_hair", "solo", "dye", "safe")
    known = Vocabulary(tags, ("",) * len(tags))
    assert binding_of(RULES, "ears", known).says == ("cat_ears implies ears",)
    assert binding_of(RULES, "ears", known).unknown == ("fox_ears", "head")
    assert binding_of(RULES, "soft", known).says == ("cat_ears implies tail",)
    hair = binding_of(RULES, "hair", known)
    assert hair.says == ("at most one of blonde_hair, black_hair; where solo; unless dye",)
    assert hair.unknown == ("red_hair", "wig")
    assert binding_of(RULES, "rating", known).says == ()


def test_a_vocabulary_is_read_from_a_tag_file(tmp_path: Path) -> None:
    path = tmp_path / "selected_tags.csv"
    path.write_text("tag_id,name,category\n1,a,0\n2,b,4\n")
    assert vocabulary_of(path).tags == ("a", "b")
    path.write_text("tag,parent\nx,\ny,x\n")
    assert vocabulary_of(path).tags == ("x", "y")
    path.write_text("label\nx\n")
    with pytest.raises(TagstackError, match="no tags in a column 'name' or 'tag'"):
        vocabulary_of(path)
    with pytest.raises(TagstackError, match=r"Cannot read the vocabulary .*gone\.csv"):
        vocabulary_of(tmp_path / "gone.csv")


def test_a_tag_that_no_rule_names_is_answered_with_those_like_it() -> None:
    with pytest.raises(TagstackError, match=r"the tag 'black_hiar'\. Did you mean black"):
        list_rules(RULES, tag="black_hiar")
    assert not list_rules(RULES, tag="black_hair", kind="implication")  # named, of another kind
