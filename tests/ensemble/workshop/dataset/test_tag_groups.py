"""Tag groups: what heads, patterns and exceptions mean, and what the shipped ones hold."""

import csv
import os
from pathlib import Path

import pytest

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.workshop.dataset.tag_groups import TagGroup, tag_groups, tags_of_groups

GROUPS = tag_groups()


def own(tmp_path: Path, text: str) -> dict[str, TagGroup]:
    path = tmp_path / "own.toml"
    path.write_text(text)
    return tag_groups(path)


@pytest.mark.parametrize(
    ("tag", "there"),
    [
        ("scarf", True),
        ("red_scarf", True),
        ("scarfs", False),
        ("headscarf", False),  # a head is whole words
        ("head_scarf", True),
        ("old_red_scarf", False),  # excepted by a pattern
        ("fur-trimmed_a", True),
        ("fur-trimmed_hat", True),  # excepted, but a whole tag
        ("fur-trimmed_x", False),
        ("snow", True),  # of the group that is included
        ("tag1", True),
        ("tag12", False),
        ("", False),
    ],
)
def test_what_a_group_holds(tmp_path: Path, tag: str, there: bool) -> None:
    text = """
[winter]
tags = ["Fur-trimmed hat"]
heads = ["scarf"]
patterns = ["fur-trimmed_*", "tag?"]
except = ["old_*", "fur-trimmed_hat", "fur-trimmed_x"]
includes = ["snow"]
[snow]
tags = ["snow"]
"""
    assert (tag in own(tmp_path, text)["winter"]) == there


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[a]\nincludes = ["a"]', r"'a' \(included by a\) is no table"),
        ('[a]\nincludes = ["b"]', r"'b' \(included by a\) is no table"),
        ('[a]\ntag = ["b"]', "'a' is no table with tags, heads"),
        ("a = 1", "'a' is no table"),
        ('[a]\nheads = "b"', "heads = 'b'. Expected a list of texts"),
    ],
)
def test_what_is_no_group_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TagstackError, match=message):
        own(tmp_path, text)


@pytest.mark.parametrize(
    ("tag", "groups"),
    [
        ("blue_hair", {"hair_color", "hair", "character"}),
        ("white_dress", {"whole_clothing", "clothing"}),
        ("holding_sword", {"action"}),
        ("sword", {"weapons", "scene"}),
        ("smile", {"expression", "sells"}),
        ("looking_at_viewer", {"gaze", "sells"}),
        ("1girl", {"count"}),
        ("two_side_up", {"hair_style", "hair", "character"}),
        ("from_above", {"view", "composition"}),
        ("fox", {"animals", "scene"}),
        ("tanabata", {"japan", "culture"}),
        ("hanbok", {"whole_clothing", "clothing", "korea", "culture"}),
        ("toe_cleavage", set()),
        ("cleavage", {"nudity", "suggestive", "raises_rating", "sells"}),
        ("mychar", set()),
    ],
)
def test_in_which_groups_a_tag_is(tag: str, groups: set[str]) -> None:
    assert {name for name, group in GROUPS.items() if tag in group} == groups


def test_groups_are_taken_together_with_tags_and_unknown_ones_are_named() -> None:
    both = tags_of_groups(["hair", "gaze"], GROUPS, ["My Tag"])
    assert all(tag in both for tag in ("blue_hair", "looking_back", "my_tag"))
    assert "smile" not in both
    with pytest.raises(TagstackError, match="There is no tag group 'hiar'"):
        tags_of_groups(["hiar"], GROUPS)


@pytest.mark.skipif("TAGSTACK_DATA" not in os.environ, reason="set TAGSTACK_DATA to measure")
def test_most_of_a_published_vocabulary_is_in_some_group() -> None:
    path = Path(os.environ["TAGSTACK_DATA"]) / "data/vocab/wd_v3_selected_tags.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["category"] == "0"]
    found = [any(row["name"].lower() in group for group in GROUPS.values()) for row in rows]
    uses = [int(row["count"]) for row in rows]
    assert sum(found) / len(rows) > 0.75
    assert sum(n for n, own in zip(uses, found, strict=True) if own) / sum(uses) > 0.95
