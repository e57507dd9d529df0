"""Policies: what they hold for, which answer wins, and that none is in vain."""

import pytest

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.serving import Policy
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.decisions import TagEntry, TaggedImage
from tagstack.ensemble.moderation.moderator import NOT_VOUCHED, Moderator, moderator_of

VOCABULARY = Vocabulary(
    ("gore", "blood", "explicit", "general", "a:b", "long_hair", "explicit_art", "two words"),
    ("general", "general", "rating", "rating", "general", "general", "general", "general"),
)


def entry(tag: str, proba: float, *, tagged: bool = False) -> TagEntry:
    category = VOCABULARY.categories[VOCABULARY.index[tag]]
    return TagEntry(tag=tag, category=category, proba=proba, threshold=0.5, votes={}, tagged=tagged)


def image(*entries: TagEntry, failure: str = "") -> TaggedImage:
    ordered = tuple(sorted(entries, key=lambda one: -one.proba))
    return TaggedImage(image="1.png", entries=ordered, failure=failure)


def settings_with(**lists: list[str]) -> Settings:
    return load_settings(changes={"moderation": lists})


def answer(tagged: TaggedImage, **lists: list[str]) -> str:
    moderator = Moderator(settings_with(**lists).moderation, VOCABULARY, floor=0.01)
    return moderator.judged(tagged).answer


@pytest.mark.parametrize(
    ("policy", "held"),
    [
        ("gore>=.3", True),
        ("gore>=.31", False),
        ("gore >= 0.3", True),
        ("gore", False),  # not tagged, whatever its probability
        ("long_hair", True),
        ("rating:explicit>=.2", True),
        ("rating:explicit>=.21", False),
        ("rating:exp*>=.2", True),
        ("category:rating>=.2", True),
        ("a:b>=.6", True),  # a tag with a colon is no category
        ("*_hair", True),
        ("two words>=.4", True),
        ("explicit_art>=.01", False),  # not listed
    ],
)
def test_a_policy_holds_for_its_tag_from_its_probability_on(policy: str, held: bool) -> None:
    tagged = image(
        entry("gore", 0.3), entry("explicit", 0.2), entry("a:b", 0.6), entry("two words", 0.4),
        entry("long_hair", 0.1, tagged=True),
    )  # fmt: skip
    assert answer(tagged, block=[policy]) == ("block" if held else "allow")


def test_block_wins_over_review_and_review_over_allow() -> None:
    tagged = image(entry("gore", 0.3), entry("blood", 0.4), entry("general", 0.9))
    lists = {"block": ["gore>=.3"], "review": ["blood>=.3"], "allow": ["rating:general>=.8"]}
    assert answer(tagged, **lists) == "block"
    assert answer(tagged, **{**lists, "block": ["gore>=.4"]}) == "review"
    assert answer(tagged, allow=lists["allow"]) == "allow"


def test_every_policy_that_held_is_a_reason_with_the_most_probable_tag() -> None:
    settings = settings_with(block=["*o*>=.2", "blood>=.9", "gore>=.3"]).moderation
    found = Moderator(settings, VOCABULARY, floor=0.01).judged(
        image(entry("gore", 0.3), entry("blood", 0.4))
    )
    assert found.as_dict() == {
        "answer": "block",
        "reasons": [
            {"policy": "*o*>=.2", "tag": "blood", "proba": 0.4},
            {"policy": "gore>=.3", "tag": "gore", "proba": 0.3},
        ],
    }


def test_what_nothing_vouches_for_is_reviewed() -> None:
    settings = settings_with(allow=["rating:general>=.8"]).moderation
    moderator = Moderator(settings, VOCABULARY, floor=0.01)
    found = moderator.judged(image(entry("general", 0.7)))
    assert (found.answer, found.reasons[0].policy) == ("review", NOT_VOUCHED)
    assert moderator.judged(image(failure="no picture")).answer == "review"
    assert Moderator(settings_with().moderation, VOCABULARY, floor=0.05).judged(image()).answer == (
        "allow"
    )


def test_a_policy_that_could_never_hold_is_an_error() -> None:
    with pytest.raises(TagstackError, match=r"'gor>=.3' .* no tag .* Close to it: gore"):
        moderator_of(settings_with(block=["gor>=.3"]), VOCABULARY)
    with pytest.raises(TagstackError, match=r"is about no tag .*general, rating"):
        moderator_of(settings_with(review=["category:artist"]), VOCABULARY)
    with pytest.raises(TagstackError, match=r"asks for a probability of 0.01"):
        moderator_of(settings_with(block=["gore>=.01"]), VOCABULARY)
    assert moderator_of(settings_with(), VOCABULARY) is None


@pytest.mark.parametrize("text", ["", " ", "gore>=0", "gore>=1.5", "gore>=2"])
def test_a_text_that_is_no_policy_is_refused_with_the_settings(text: str) -> None:
    with pytest.raises(TagstackError, match=r"moderation\.block.*is no policy"):
        settings_with(block=[text])


def test_a_tag_may_look_like_an_operator() -> None:
    assert Policy.of(">=o") == Policy(text=">=o", name=">=o", proba=None)
    assert Policy.of(":>=.5").name == ":"
