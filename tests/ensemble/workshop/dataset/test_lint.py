"""What is wrong with captions, and that mending is safe, complete and done once."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import settings as tries
from hypothesis import strategies as st

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.rules.rule import Alias, Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.workshop.dataset.caption_text import Writing, key_of
from tagstack.ensemble.workshop.dataset.lint import CHECKS, Linter, SharedTags

RULES = Rules(
    implications=(
        Implication(id="i", tags=("very_long_hair",), implies=("long_hair",), source="me"),
        Implication(id="j", tags=("2girls_only",), implies=("2girls",), source="me"),
        Implication(id="k", tags=("4koma",), implies=("comic",), source="me"),
    ),
    exclusives=(
        Exclusive(id="n", tags=("1girl", "2girls", "3girls"), unless=("comic",), source="me"),
        Exclusive(id="soft", tags=("sky", "indoors"), penalty=1.0, source="me"),
    ),
    aliases=tuple(
        Alias(old=old, new=new)
        for old, new in (
            ("old", "older"),
            ("older", "new_name"),
            ("hat_(x)", "cap_(x)"),
            ("a1", "a2"),
            ("a2", "a1"),
        )
    ),
)


def linter(texts: list[str], known: tuple[str, ...] = (), **changes: object) -> Linter:
    settings = load_settings(changes={"dataset": changes}).dataset
    return Linter(settings=settings, rules=RULES, writing=Writing.of(texts), known=known)


def checks(text: str, own: Linter) -> Counter[str]:
    return Counter(finding.check for finding in own.findings("1.txt", text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1girl, sky", {}),
        ("", {"empty": 1}),
        (" \n", {"empty": 1}),
        ("1girl, 2girls", {"contradiction": 1}),
        ("1girl, 2girls, comic", {}),
        # What a tag implies excludes others as if it stood there, and so does what guards.
        ("3girls, 2girls_only", {"contradiction": 1}),
        ("1girl, 2girls, 4koma", {}),
        ("sky, indoors", {}),  # a soft rule is no contradiction
        ("very long hair, long hair", {"implied": 1}),
        ("long hair, Long_hair", {"double": 1}),
        ("old, sky", {"alias": 1}),
        ("a1, sky", {}),  # a circle of aliases has no end
        ("sky,, solo", {"format": 1}),
        (" sky, solo", {"format": 1}),
        ("sky, solo\nnight", {"lines": 1}),
    ],
)
def test_each_fault_is_found(text: str, found: dict[str, int]) -> None:
    assert checks(text, linter(["1girl, long hair", "sky, blue hat"])) == found


def test_trigger_words_come_first_in_their_order() -> None:
    own = linter(["1girl, long hair"], trigger=["My Char", "a_style"])
    assert checks("1girl, sky", own) == {"trigger": 2}
    assert checks("sky, My Char, a_style", own) == {"order": 1}
    assert own.mended("sky, a_style\n") == "My Char, a_style, sky\n"
    assert own.mended("") == ""


def test_tags_by_name_after_the_trigger() -> None:
    own = linter(["b, c", "a, b"], trigger=["z"], order="name")
    assert own.mended("c, z, a, b") == "z, a, b, c"


def test_unknown_tags_need_a_vocabulary() -> None:
    texts = ["1girl, sky"]
    assert not checks("1girl, qwerty, trig", linter(texts, trigger=[]))
    own = linter(texts, known=("1girl", "sky"), ignore=["order"], trigger=["trig"])
    assert checks("1girl, qwerty, trig", own) == {"unknown": 1}


@pytest.mark.parametrize(
    ("texts", "text", "mended"),
    [
        (["1girl, long hair", "a cap, sky"], "old, sky", "new name, sky"),
        (["1girl, long_hair"], "old, sky", "new_name, sky"),
        (["1girl,long_hair,sky"], "old,sky", "new_name,sky"),
        (["1girl long_hair", "sky sun"], "old sky old", "new_name sky"),
        ([r"1girl, hat \(b\), long hair"], r"hat \(x\)", r"cap \(x\)"),
        (["1girl; long hair; sky"], "old; sky", "new name; sky"),
        # Sentences are no tags, a comma among spaces separates nothing, lines stay lines.
        (["sky sun"], "a cat on a mat on a mat", "a cat on a mat on a mat"),
        (["sky sun", "sky day", "rain"], "old, old", "old, old"),
        (["1girl, sky"], "old\nold", "old\nold"),
    ],
)
def test_mending_keeps_the_writing_of_the_folder(texts: list[str], text: str, mended: str) -> None:
    assert linter(texts).mended(text) == mended


words = st.text("ab(),_;\\ \n|", max_size=6) | st.sampled_from(
    ["old", "older", "new name", "hat (x)", "1girl", "the", "trig", "my word", ":d", "\\m/"]
)
captions = st.lists(words, max_size=6).flatmap(
    lambda parts: st.sampled_from([", ", ",", " ", "; ", "\n"]).map(lambda mark: mark.join(parts))
)


@tries(max_examples=150, deadline=None)
@example([");"], "any")  # its one mark has no space behind it
@example([";; ", "old; "], "any")  # a mark that is a tag
@example(["old; ;;; old"], "any")
@example(["old; ;; old"], "any")
@example(["old; \\;; old"], "any")
@given(st.lists(captions, min_size=1, max_size=4), st.sampled_from(["any", "name"]))
def test_mending_twice_is_mending_once_and_leaves_nothing_to_mend(
    texts: list[str], order: str
) -> None:
    own = linter(texts, trigger=["my word"], order=order)
    once = own.mended(texts[0])
    assert own.mended(once) == once
    if own.writing.may_be_joined(texts[0]):
        left = checks(once, own)
        assert not [name for name in left if CHECKS[name].fixed]
        before = {key_of(part) for part in own.writing.parts(texts[0]) if part}
        after = {key_of(part) for part in own.writing.parts(once) if part}
        renamed = {"old", "older", "hat_(x)"}
        assert before - renamed <= after


def test_shared_tags_are_counted_by_folder() -> None:
    shared = SharedTags(load_settings(changes={"dataset": {"allow": ["solo"]}}).dataset)
    for n in range(5):
        shared.add(f"a/{n}.txt", {"red_hair", "solo", "sky"} - ({"sky"} if n < 2 else set()))
        shared.add(f"b/{n}.txt", {"blue_hair", "solo"})
    assert [(f.file, f.tag) for f in shared.findings()] == [("a", "red_hair"), ("b", "blue_hair")]


def test_a_tag_on_exactly_80_percent_is_shared_and_on_fewer_is_not() -> None:
    for n, found in ((8, ["sky"]), (7, [])):
        shared = SharedTags(load_settings().dataset)
        for i in range(10):
            shared.add(f"{i}.txt", {"sky", f"t{i}"} if i < n else {f"t{i}"})
        assert [own.tag for own in shared.findings()] == found


def test_one_caption_shares_nothing() -> None:
    shared = SharedTags(load_settings().dataset)
    shared.add("1.txt", {"sky"})
    assert not list(shared.findings())


def test_a_check_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TagstackError, match=r"ignore names \['ordr'\], which are no checks"):
        linter(["a"], ignore=["ordr"])
