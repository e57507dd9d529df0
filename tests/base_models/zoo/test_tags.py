from hypothesis import given
from hypothesis import strategies as st

from tagstack.base_models.zoo.tags import IMPLICATIONS, RATINGS, VOCABULARY, closed

SOME_TAGS = st.frozensets(st.sampled_from(VOCABULARY.tags), max_size=30)


def test_every_implication_stays_inside_the_vocabulary() -> None:
    named = {*IMPLICATIONS, *(parent for parents in IMPLICATIONS.values() for parent in parents)}
    assert named <= set(VOCABULARY.tags)


def test_ratings_have_their_category() -> None:
    categories = dict(zip(VOCABULARY.tags, VOCABULARY.categories, strict=True))
    assert {tag for tag, name in categories.items() if name == "rating"} == set(RATINGS)
    assert set(categories.values()) == {"rating", "general"}


@given(SOME_TAGS)
def test_closing_adds_every_parent_and_nothing_else(tags: frozenset[str]) -> None:
    whole = closed(tags)
    assert tags <= whole
    for tag in whole:
        assert set(IMPLICATIONS.get(tag, ())) <= whole
    parents = {parent for tag in whole for parent in IMPLICATIONS.get(tag, ())}
    assert whole - tags <= parents


@given(SOME_TAGS, SOME_TAGS)
def test_closing_is_idempotent_and_monotone(tags: frozenset[str], more: frozenset[str]) -> None:
    assert closed(closed(tags)) == closed(tags)
    assert closed(tags) <= closed(tags | more)
