import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.bound_rules import Violations
from tagstack.ensemble.rules.rule import Alias, Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules, shipped_rules


def vocabulary(*tags: str) -> Vocabulary:
    return Vocabulary(tags, ("general",) * len(tags))


def implies(child: str, *parents: str) -> Implication:
    return Implication(id=f"{child}.{parents[0]}", tags=(child,), implies=parents, source="test")


def exclusive(*tags: str, **changes: object) -> Exclusive:
    return Exclusive(id="x." + ".".join(tags), tags=tags, source="test", **changes)  # type: ignore[arg-type]


def decided(vocabulary: Vocabulary, *images: str) -> sparse.csr_array:
    dense = np.zeros((len(images), len(vocabulary)), bool)
    for i, tags in enumerate(images):
        dense[i, [vocabulary.index[tag] for tag in tags.split()]] = True
    return sparse.csr_array(dense)


TEXT = """
[[implication]]
id = "ears"
tags = ["cat_ears", "dog_ears"]
implies = "animal_ears"
source = "wiki"

[[exclusive]]
id = "hair"
tags = ["black_hair", "blonde_hair"]
when = ["solo"]
unless = ["multicolored_hair"]
penalty = 1.5
source = "me"

[[alias]]
from = "silver_hair"
to = "grey_hair"
"""


def per_rule(found: Violations) -> dict[str, int]:
    return dict(zip(found.rules, found.counts.sum(axis=0).tolist(), strict=True))


def test_toml_says_what_it_says() -> None:
    rules = Rules.from_toml(TEXT)
    assert rules.implications[0].edges == (("cat_ears", "animal_ears"), ("dog_ears", "animal_ears"))
    hair = rules.exclusives[0]
    assert (hair.when, hair.unless) == (("solo",), ("multicolored_hair",))
    assert (hair.penalty, hair.hard, hair.at_least_one) == (1.5, False, False)
    assert rules.aliases == (Alias(old="silver_hair", new="grey_hair"),)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
tag_sets = st.lists(names, min_size=2, max_size=5, unique=True).map(tuple)


@settings(deadline=None)
@given(tag_sets, tag_sets, st.booleans(), st.one_of(st.just(math.inf), st.floats(0.01, 50)))
def test_toml_round_trip(
    tags: tuple[str, ...], others: tuple[str, ...], least: bool, penalty: float
) -> None:
    rules = Rules(
        implications=(Implication(id="a\n\"\\'", tags=tags, implies=others, source="\x7f\t"),),
        exclusives=(
            Exclusive(
                id="b",
                tags=tags,
                source="",
                when=others[:1],
                unless=others[1:],
                at_least_one=least,
                penalty=penalty,
            ),
        ),
        aliases=(Alias(old=tags[0], new=tags[1]),),
    )
    assert Rules.from_toml(rules.to_toml()) == rules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[implication]]\nid='a'\ntags=['b']\nimplies='c'",
            "implication.0.source is missing",
        ),
        (
            "[[exclusive]]\nid='a'\ntags=['b','c']\nsource=''\nwhenever=[]",
            "whenever is no known key",
        ),
        ("[[rule]]\nid='a'", "rule is no known key"),
        ("[[exclusive]]\nid='a'\ntags=['b']\nsource=''", "'a' has 1 names in 'tags'"),
        ("[[exclusive]]\nid='a'\ntags=['b','b']\nsource=''", r"'a' names \['b'\] more than once"),
        ("[[exclusive]]\nid='a'\ntags=['b','c']\nsource=''\npenalty=0", "penalty 0.0; give"),
        ("[[implication]]\nid='a'\ntags=['b']\nimplies='c'\nsource=''\npenalty=-1", "penalty -1.0"),
        (
            "[[exclusive]]\nid='a'\ntags=['b','c']\nsource=''\npenalty=1\nstrength='hard'",
            "exclude each other",
        ),
        (
            "[[exclusive]]\nid='a'\ntags=['b','c']\nsource=''\nwhen=['d']\nunless=['d']",
            r"\['d'\] in both when and unless",
        ),
        ("[[exclusive]]\nid='a'\ntags=['b','c']\nsource=''\nstrength='soft'", "strength"),
        ("id = ", "Expected a readable TOML"),
        (TEXT + TEXT.replace("hair", "fur"), "Rule id 'ears' occurs more than once"),
        ("[[alias]]\nfrom='a'\nto='b'\n[[alias]]\nfrom='a'\nto='c'", "Alias 'a' occurs more than"),
    ],
)
def test_bad_toml_is_refused(text: str, message: str) -> None:
    with pytest.raises(TagstackError, match=message):
        Rules.from_toml(text, "mine.toml")


def test_unknown_tags_drop_out_but_pass_on() -> None:
    rules = Rules(
        implications=(implies("a", "gone"), implies("gone", "c"), implies("x", "gone2")),
        exclusives=(exclusive("c", "d", "gone2"), exclusive("d", "gone"), exclusive("c", "e")),
    )
    bound = rules.bind(vocabulary("a", "c", "d", "e", "x"))
    assert bound.parents.toarray().tolist()[0] == [False, True, False, False, False]
    assert [rule.tags for rule in bound.exclusives] == [(1, 2), (1, 3)]
    assert bound.unknown == ("gone", "gone2")
    assert bound.dropped == ("gone.c", "x.gone2", "x.d.gone")


def test_guards_on_unknown_tags() -> None:
    rules = Rules(
        exclusives=(
            exclusive("a", "b", when=("gone",)),
            exclusive("a", "c", unless=("gone", "b")),
            exclusive("b", "c", "gone", at_least_one=True),
        )
    )
    bound = rules.bind(vocabulary("a", "b", "c"))
    assert [(rule.tags, rule.unless) for rule in bound.exclusives] == [((0, 2), (1,)), ((1, 2), ())]
    assert not bound.exclusives[1].at_least_one  # the missing tag may be the one that holds


def test_ancestors_are_closed() -> None:
    rules = Rules(implications=(implies("a", "b"), implies("b", "c", "d")))
    bound = rules.bind(vocabulary("a", "b", "c", "d"))
    assert bound.ancestors.toarray().astype(int).tolist()[0] == [0, 1, 1, 1]


def test_aliases_reach_their_final_name() -> None:
    rules = Rules(
        implications=(implies("older", "hair"),),
        exclusives=(exclusive("old", "red"),),
        aliases=(Alias(old="older", new="old"), Alias(old="old", new="new")),
    )
    for known in ("new", "old", "older"):
        bound = rules.bind(vocabulary("hair", "red", known))
        assert bound.parents[2, 0]
        assert bound.exclusives[0].tags == (1, 2)
        assert bound.unknown == ()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            Rules(implications=(implies("a", "b"), implies("b", "c"), implies("c", "a"))),
            r"cycle: .*\(rules \['a.b', 'b.c', 'c.a'\]\). Remove one",
        ),
        (Rules(implications=(implies("a", "a"),)), "'a' implies itself"),
        (
            Rules(implications=(implies("a", "b"),), aliases=(Alias(old="a", new="b"),)),
            "Rule 'a.b': 'a' implies itself",
        ),
        (
            Rules(aliases=(Alias(old="a", new="b"), Alias(old="b", new="a"))),
            "Aliases form a loop: a -> b -> a",
        ),
        (
            Rules(implications=(implies("a", "b"),), exclusives=(exclusive("a", "b"),)),
            "Rule 'x.a.b' excludes 'a' from its own ancestor 'b'",
        ),
        (
            Rules(
                implications=(implies("a", "m"), implies("m", "b", "c")),
                exclusives=(exclusive("b", "c"),),
            ),
            "excludes 'b' from 'c', but '[am]' implies both",
        ),
    ],
)
def test_senseless_rules_are_refused(rules: Rules, message: str) -> None:
    with pytest.raises(TagstackError, match=message):
        rules.bind(vocabulary("z"))


def test_a_guard_that_the_tag_itself_implies_keeps_it_alive() -> None:
    rules = Rules(
        implications=(implies("split", "black", "white", "multicolored"),),
        exclusives=(exclusive("black", "white", unless=("multicolored",)),),
    )
    assert len(rules.bind(vocabulary("split", "black", "white", "multicolored")).exclusives) == 1


def test_violations_count_what_is_broken() -> None:
    known = vocabulary("a", "b", "c", "d", "solo", "mixed")
    rules = Rules(
        implications=(implies("a", "b"),),
        exclusives=(
            exclusive("c", "d", when=("solo",), unless=("mixed",)),
            exclusive("b", "c", at_least_one=True),
        ),
    )
    images = ["a b", "a c", "c d", "c d solo", "c d solo mixed", "", "a b c d solo"]
    found = rules.bind(known).violations(decided(known, *images))
    assert found.rules == ("a.b", "x.c.d", "x.b.c")
    assert found.counts.toarray().tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
        [0, 0, 0],
        [0, 0, 1],
        [0, 1, 1],
    ]
    assert found.per_image.tolist() == [0, 1, 0, 1, 0, 1, 2]
    assert per_rule(found) == {"a.b": 1, "x.c.d": 2, "x.b.c": 2}


def test_violations_need_the_same_vocabulary() -> None:
    bound = Rules.none().bind(vocabulary("a", "b"))
    with pytest.raises(TagstackError, match=r"shape \(n_images, 2\).*got \(3, 5\)"):
        bound.violations(sparse.csr_array((3, 5), dtype=bool))
    assert bound.violations(sparse.csr_array((3, 2), dtype=bool)).per_image.tolist() == [0, 0, 0]


def test_relations_hold_hard_rules_only() -> None:
    rules = Rules(
        implications=(implies("a", "b"),),
        exclusives=(exclusive("b", "c"), exclusive("c", "d", penalty=1.0)),
    )
    relations = rules.bind(vocabulary("a", "b", "c", "d")).relations()
    assert relations.groups == ((1, 2),)
    assert relations.parents.toarray().astype(int).sum() == 1
    assert relations.parents[0, 1]


def test_joined_rules_keep_ids_apart() -> None:
    one, other = Rules(exclusives=(exclusive("a", "b"),)), Rules(exclusives=(exclusive("c", "d"),))
    assert one.joined(other).ids == ("x.a.b", "x.c.d")
    with pytest.raises(TagstackError, match=r"same id: \['x.a.b'\].*without = \['x.a.b'\]"):
        one.joined(one)


def test_a_later_set_replaces_rules_of_an_earlier_one() -> None:
    first = Rules.from_toml(TEXT)
    text = "without = ['hair']\n[[exclusive]]\nid='hair'\ntags=['a','b']\nsource='me'\n"
    joined = first.joined(Rules.from_toml(text))
    assert joined.ids == ("ears", "hair")
    assert joined.exclusives[0].tags == ("a", "b")
    with pytest.raises(TagstackError, match=r"not there: \['feet'\]"):
        first.joined(Rules.from_toml("without = ['feet']"))


def test_an_alias_in_two_sets_needs_one_target() -> None:
    one, other = (Rules(aliases=(Alias(old="a", new=new),)) for new in ("b", "c"))
    assert one.joined(one).aliases == one.aliases
    with pytest.raises(TagstackError, match="Alias 'a' occurs more than once"):
        one.joined(other)


def test_proposed_rules_do_not_apply_until_accepted() -> None:
    text = TEXT.replace('source = "me"', 'source = "me"\naccepted = false')
    rules = Rules.from_toml(text)
    assert rules.exclusives == ()
    assert rules.proposed == ("hair",)
    assert Rules.none().joined(rules).proposed == ("hair",)
    accepted = Rules.from_toml(text.replace("accepted = false", "accepted = true"))
    assert accepted == Rules.from_toml(TEXT)


def test_a_soft_implication_counts_where_it_is_broken() -> None:
    text = "[[implication]]\nid='i'\ntags=['a','d']\nimplies=['b','c']\nsource=''\npenalty=1.5"
    rules = Rules.from_toml(text)
    assert not rules.implications[0].hard
    assert Rules.from_toml(rules.to_toml()) == rules
    bound = rules.bind(vocabulary("a", "b", "c", "d"))
    assert bound.parents.nnz == 0
    assert [(rule.when, rule.tags, rule.penalty) for rule in bound.exclusives] == [
        ((0,), (1,), 1.5),
        ((0,), (2,), 1.5),
        ((3,), (1,), 1.5),
        ((3,), (2,), 1.5),
    ]
    known = vocabulary("a", "b", "c", "d")
    assert bound.violations(decided(known, "a", "a b", "b", "a d")).per_image.tolist() == [
        2,
        1,
        0,
        4,
    ]
    assert bound.relations().parents.nnz == 0


def test_a_soft_implication_within_a_hard_one_says_nothing() -> None:
    soft = Implication(id="s", tags=("a",), implies=("c",), source="", penalty=1.0)
    rules = Rules(implications=(implies("a", "b"), implies("b", "c"), soft))
    bound = rules.bind(vocabulary("a", "b", "c"))
    assert bound.exclusives == ()
    assert bound.dropped == ("s",)


def test_every_shipped_set_makes_sense() -> None:
    assert "danbooru" in shipped_rules()
    for name in shipped_rules():
        rules = load_rules(name)
        tags = {tag for rule in rules.implications for tag in (*rule.tags, *rule.implies)}
        for rule in rules.exclusives:
            tags |= {*rule.tags, *rule.when, *rule.unless}
        bound = rules.bind(vocabulary(*sorted(tags)))
        assert bound.dropped == ()
        assert Rules.from_toml(rules.to_toml()) == rules


@pytest.mark.parametrize(
    ("image", "broken"),
    [
        ("general solo 1girl blonde_hair blue_eyes smile", set()),
        ("general solo 1girl blonde_hair black_hair", {"hair.color"}),
        ("general solo 1girl blonde_hair black_hair multicolored_hair", set()),
        ("general multiple_girls 2girls blonde_hair black_hair long_hair short_hair", set()),
        ("general 1girl 2girls multiple_girls", {"counts.girls.one_or_more"}),
        ("general 1girl 2girls multiple_girls multiple_views", set()),
        ("general sensitive", {"rating"}),
        ("1girl", {"rating"}),
        ("general cat_ears", {"ears.animal"}),
        ("general solo red_eyes blue_eyes", {"eyes.color"}),
        ("general solo red_eyes blue_eyes heterochromia", set()),
        ("general day night", {"time.of_day"}),
        ("general indoors outdoors", {"place.in_or_out"}),
        ("general monochrome red_hair", {"monochrome.red_hair"}),
        ("general monochrome red_hair spot_color", set()),
        ("general full_body portrait", {"view.framing"}),
        ("general very_long_hair", {"hair.very_long"}),
    ],
)
def test_danbooru_rules_on_pictures_one_can_imagine(image: str, broken: set[str]) -> None:
    rules = load_rules("danbooru")
    tags = {tag for rule in rules.implications for tag in (*rule.tags, *rule.implies)}
    for rule in rules.exclusives:
        tags |= {*rule.tags, *rule.when, *rule.unless}
    known = vocabulary(*sorted(tags))
    found = rules.bind(known).violations(decided(known, image))
    assert {rule for rule, count in per_rule(found).items() if count} == broken


_ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(_ANY, min_size=3, max_size=3, unique=True), _ANY)
@example(["\x7f", "\x00\r", '"\\'], "# ]]")
def test_no_text_breaks_a_rule_file(tags: list[str], source: str) -> None:
    rule = Implication(id=tags[2], tags=(tags[0],), implies=(tags[1],), source=source, penalty=0.5)
    rules = Rules(implications=(rule,), aliases=(Alias(old=tags[1], new=tags[2]),))
    assert Rules.from_toml(rules.to_toml()) == rules
