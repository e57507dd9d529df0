"""Captions: which tags, in which order, written so that the reader gets the same tags back."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.decisions import TagEntry, TaggedImage
from tagstack.ensemble.outputs.captions import Captions, TaggedFile, copyrights_of
from tagstack.ensemble.outputs.tag_text import is_kaomoji, tag_text

Make = Callable[..., Any]


def names(captions: Captions, file: TaggedFile) -> list[str]:
    return [tag.name for tag in captions.tags(file)]


def test_the_order_is_by_category_then_probability(make_captions: Make, make_file: Make) -> None:
    expected = ["safe", "saber_(fate)", "fate/stay_night", "wlop", "long_hair", "\\m/"]
    assert names(make_captions(), make_file()) == expected
    assert names(make_captions(order="name"), make_file()) == sorted(expected)
    assert names(make_captions(order="proba"), make_file())[:2] == ["long_hair", "saber_(fate)"]


def test_first_tags_lead_and_stand_once(make_captions: Make, make_file: Make) -> None:
    captions = make_captions(first=["mychar", "long hair"], max_tags=2, order="proba")
    assert names(captions, make_file())[:2] == ["mychar", "long_hair"]
    assert names(captions, make_file())[2:] == ["saber_(fate)", "fate/stay_night"]


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"exclude": ["safe"]}, {"safe"}),
        ({"exclude": ["long hair"]}, {"long_hair"}),
        ({"exclude": ["*_hair", "category:rating"]}, {"long_hair", "safe"}),
        ({"exclude": ["category:c*"]}, {"saber_(fate)", "fate/stay_night"}),
        ({"exclude": ["[s]afe"]}, set()),  # brackets are no classes of characters
        ({"rating": False}, {"safe"}),
        ({"categories": ["general"]}, {"safe", "saber_(fate)", "fate/stay_night", "wlop"}),
        ({"categories": ["artist", "*"]}, set()),
        ({"replace": {"safe": "", "wlop": "style"}}, {"safe", "wlop"}),
    ],
)
def test_what_is_left_out(
    make_captions: Make, make_file: Make, changes: dict[str, Any], gone: set[str]
) -> None:
    before = set(names(make_captions(), make_file()))
    assert before - set(names(make_captions(**changes), make_file())) == gone


def test_replaced_tags_join(make_captions: Make, make_file: Make) -> None:
    captions = make_captions(replace={"wlop": "long_hair", "safe": "sfw"}, order="proba")
    assert names(captions, make_file()).count("long_hair") == 1
    assert "sfw" in names(captions, make_file())


def test_the_most_probable_tags_stay(make_captions: Make, make_file: Make) -> None:
    assert names(make_captions(max_tags=2), make_file()) == ["saber_(fate)", "long_hair"]


def test_a_character_brings_its_copyright(
    make_captions: Make, make_file: Make, tmp_path: Path
) -> None:
    table = tmp_path / "implications.csv"
    table.write_text(
        "antecedent_name,consequent_name,status\nsaber_(fate),fate_(series),active\n"
        "fate_(series),type-moon,active\nlong_hair,hair,active\nwlop,nobody,deleted\n"
    )
    captions = make_captions(copyrights=copyrights_of(str(table)))
    shown = {tag.name: tag.category for tag in captions.tags(make_file())}
    assert shown["fate_(series)"] == shown["type-moon"] == "copyright"
    assert "hair" not in shown  # only characters bring something along


def test_a_random_order_depends_on_picture_and_seed_alone(
    make_captions: Make, make_file: Make
) -> None:
    captions = make_captions(order="random", first=["mychar"], keep_first=1)
    one = names(captions, make_file())
    assert one[:2] == ["mychar", "safe"]
    assert one == names(captions, make_file(image="elsewhere.png"))
    orders = {tuple(names(captions, make_file(sha256=f"{i:064x}"))) for i in range(20)}
    assert len(orders) == 1  # the first half of the hash is what counts
    orders = {tuple(names(captions, make_file(sha256=f"{i:02x}" * 32))) for i in range(20)}
    assert len(orders) > 10
    assert {frozenset(order) for order in orders} == {frozenset(one)}
    others = [names(make_captions(order="random", seed=s), make_file()) for s in range(5)]
    assert len(set(map(tuple, others))) > 1


def prompt_parser(text: str) -> list[str]:
    r"""Return what a prompt means: ``\x`` is x, a bare parenthesis is a weight and goes away."""
    plain = re.sub(r"\\(.)|[()]", lambda found: found[1] or "", text)
    return [part.strip() for part in plain.split(",")]


def test_an_escaped_caption_survives_a_prompt_parser(make_captions: Make, make_file: Make) -> None:
    captions = make_captions(escape_parentheses=True, order="proba")
    assert prompt_parser(captions.text(make_file())) == names(captions, make_file())
    assert "\\\\m/" in captions.text(make_file())
    plain = make_captions(order="proba")
    assert prompt_parser(plain.text(make_file())) != names(plain, make_file())


@pytest.mark.parametrize(
    "tag", ["0_0", "^_^", ">_<", "<o>_<o>", "<|>_<|>", "(o)_(o)", "||_||", "._."]
)
def test_kaomoji_keep_their_underscores(make_captions: Make, tag: str) -> None:
    assert is_kaomoji(tag)
    assert tag_text(tag, make_captions(spaces=True).settings) == tag


@pytest.mark.parametrize(
    "tag", ["long_hair", "arm_up", "m_legs", "eva_02", "no_bra", "au_ra", "1girl"]
)
def test_words_are_not_kaomoji(tag: str) -> None:
    assert not is_kaomoji(tag)


@pytest.mark.parametrize(
    ("separator", "tag", "written"),
    [
        (", ", "great white shark, white shark", "great white shark white shark"),
        (" ", "great white shark", "great_white_shark"),
        (" | ", "a|b", "ab"),
        (", ", "two\nlines", "two lines"),
        (", ", "a\x1b[31m\x00\u202eb", "a[31mb"),
    ],
)
def test_a_tag_never_becomes_two(
    make_captions: Make, separator: str, tag: str, written: str
) -> None:
    captions = make_captions(separator=separator)
    assert tag_text(tag, captions.settings) == written
    assert len(captions.parted(captions.joined([tag, "solo"]))) == 2


def test_a_tag_of_which_nothing_is_left_is_left_out(make_captions: Make) -> None:
    assert make_captions(separator=", ").joined([",", "solo", "\x01"]) == "solo"


def test_spaces_cannot_stand_in_and_between_tags() -> None:
    with pytest.raises(TagstackError, match="cannot part tags that are written with spaces"):
        load_settings(changes={"output": {"separator": " ", "spaces": True}})


@pytest.mark.parametrize("separator", ["_", " _ ", "x", "7"])
def test_a_separator_is_no_part_of_tags(separator: str) -> None:
    with pytest.raises(TagstackError, match="is part of tags and would be taken out of them"):
        load_settings(changes={"output": {"separator": separator, "spaces": False}})


@pytest.mark.parametrize("extension", [".png", ".PNG", ".jxl"])
def test_captions_are_not_named_as_pictures(extension: str) -> None:
    with pytest.raises(TagstackError, match="would read captions as pictures"):
        load_settings(changes={"output": {"extension": extension}})


@pytest.mark.parametrize("extension", ["txt", ".", ".a/b", "", ".x\n"])
def test_an_extension_is_a_suffix(extension: str) -> None:
    with pytest.raises(TagstackError, match="expected a suffix with its dot"):
        load_settings(changes={"output": {"extension": extension}})


DEFAULTS = load_settings().output
TAGS = st.lists(
    st.text(st.sampled_from("ab_()\\:|/'0"), min_size=1, max_size=8), max_size=5, unique=True
)


@given(TAGS, st.sampled_from(["category", "name", "proba", "random"]), st.booleans())
def test_a_caption_can_be_read_back(tags: list[str], order: str, escape: bool) -> None:
    changes = {"order": order, "escape_parentheses": escape}
    captions = Captions(DEFAULTS.model_copy(update=changes))
    entries = tuple(
        TagEntry(tag=t, category="odd", proba=0.5, threshold=0.5, votes={}, tagged=True)
        for t in tags
    )
    tagged = TaggedImage(image="1.png", entries=entries)
    text = captions.text(TaggedFile(tagged=tagged, path=Path("/1.png"), sha256=""))
    assert sorted(captions.parted(text)) == sorted(tags)
