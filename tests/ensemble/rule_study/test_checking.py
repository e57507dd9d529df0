import re

import pytest

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rule_study.checking import find_faults
from tagstack.ensemble.rules.rule import Alias, Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules


def implies(child: str, *parents: str) -> Implication:
    return Implication(id=f"{child}.{parents[0]}", tags=(child,), implies=parents, source="")


def exclusive(*tags: str, when: tuple[str, ...] = (), unless: tuple[str, ...] = ()) -> Exclusive:
    return Exclusive(id="x." + ".".join(tags), tags=tags, source="", when=when, unless=unless)


BAD = Rules(
    implications=(
        implies("a", "b"),
        implies("b", "c"),
        implies("c", "a"),
        implies("d", "e"),
        implies("e", "d"),
        implies("old", "new"),
        implies("kitten", "cat"),
    ),
    exclusives=(
        exclusive("kitten", "cat"),
        exclusive("kitten", "dog"),
        exclusive("dog", "cat", when=("kitten",), unless=("cat",)),
    ),
    aliases=(
        Alias(old="p", new="q"),
        Alias(old="q", new="p"),
        Alias(old="old", new="new"),
        Alias(old="older", new="old"),
    ),
)


def test_every_fault_is_found_at_once_and_names_the_way_out() -> None:
    found = find_faults(BAD)
    faults = [fault for fault in found if fault.severity == "fault"]
    expected = [
        (("p", "q"), r"Aliases form a loop: p -> q -> p\. Remove one"),
        (("old.new",), "'old' implies itself"),
        (("a.b", "b.c", "c.a"), r"cycle: (\w) -> \w -> \w -> \1 .*Remove one of them"),
        (("d.e", "e.d"), r"cycle: (\w) -> \w -> \1 "),
        (("x.kitten.cat",), "excludes 'kitten' from its own ancestor 'cat'.*Take one"),
    ]
    assert len(faults) == len(expected)
    for rules, message in expected:
        assert [f for f in faults if f.rules == rules and re.search(message, f.message)], rules


def test_notices_do_not_stop_anyone() -> None:
    notices = {f.rules: f.message for f in find_faults(BAD) if f.severity == "notice"}
    assert "never applies: its 'when' implies ['cat']" in notices["x.dog.cat",]
    assert "'older' -> 'old' is followed on to 'new'" in notices["older",]
    assert "uses old names: {'old': 'new'}" in notices["old.new",]


@pytest.mark.parametrize("part", ["implications", "exclusives", "aliases"])
def test_rules_with_a_fault_cannot_be_bound_and_others_can(part: str) -> None:
    known = Vocabulary(("a", "b", "c", "kitten", "cat", "dog"), ("",) * 6)
    rules = Rules(**{part: getattr(BAD, part)})
    faults = [f.message for f in find_faults(rules) if f.severity == "fault"]
    if faults:
        with pytest.raises(TagstackError, match=re.escape(faults[0][:20])):
            rules.bind(known)
    else:
        rules.bind(known)
    assert bool(faults) == (part != "exclusives")


def test_unknown_tags_are_named_and_likely_errors_one_by_one() -> None:
    rules = Rules(
        implications=(implies("cat_ears", "animal_eears"), implies("zebra", "okapi")),
        aliases=(Alias(old="feline_ears", new="cat_ears"),),
    )
    known = Vocabulary(("feline_ears", "animal_ears"), ("", ""))
    one, other = find_faults(rules, known)
    assert one.rules == ("cat_ears.animal_eears",)
    assert "no 'animal_eears'" in one.message
    assert "Is 'animal_ears' meant?" in one.message
    assert "lacks 2 tags that rules name: okapi, zebra." in other.message
    assert other.rules == ("zebra.okapi",)


def test_proposals_are_counted() -> None:
    text = "[[exclusive]]\nid='m'\ntags=['a','b']\nsource=''\npenalty=1.0\naccepted=false"
    (fault,) = find_faults(Rules.from_toml(text))
    assert (fault.severity, fault.rules) == ("notice", ("m",))
    assert "1 proposed rules are not applied" in fault.message


def test_the_shipped_rules_have_no_faults() -> None:
    assert find_faults(load_rules("danbooru")) == ()
