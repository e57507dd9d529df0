"""The published filters, literally: their last picture that stays and their first that does not."""

from collections import Counter

import pytest

from tagstack.ensemble.workshop.dataset.filtering import (
    Facts,
    Filters,
    ids_of,
    rare_tags,
    reason_of,
)

CATEGORY = {"miku": "character", "vocaloid": "copyright"}


def category(tag: str) -> str:
    return CATEGORY.get(tag, "general")


def reason(filters: Filters, name: str = "1.png", tags: str = "", **columns: str) -> str:
    facts = Facts(name=name, tags=frozenset(tags.split()), columns=columns)
    return reason_of(facts, filters, category)[0]


@pytest.mark.parametrize(
    ("ids", "inside", "outside"),
    [
        ("1000:0-899", (0, 899, 1000, 7_000_899), (900, 999, 7_000_950)),
        ("1000:950-999", (950, 999, 6_999), (949, 0, 1000)),
    ],
)
def test_wd_parts_its_images_by_the_id_modulo_1000(
    ids: str, inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    filters = Filters(ids=ids_of(ids))
    for number in inside:
        assert reason(filters, f"{number}.png") == reason(filters, "x.png", id=str(number)) == ""
    for number in outside:
        assert reason(filters, f"{number}.png") == "ids"
    assert reason(filters, "none.png") == "ids"  # no id, none of the share


def test_wd_leaves_out_images_with_fewer_than_10_general_tags() -> None:
    filters = Filters(least_general=10)
    nine = " ".join(f"t{i}" for i in range(9))
    assert reason(filters, tags=f"{nine} miku vocaloid") == "general-tags"
    assert reason(filters, tags=f"{nine} t9") == ""


def test_tags_need_the_images_of_their_category() -> None:
    counts = Counter({"hat": 600, "scarf": 599})
    assert rare_tags(counts, Filters(least_images={"*": 600}), category) == {"scarf": 599}
    # Danbooru's autotagger: more than 750, 2,000 and 2,500 posts.
    more = Filters(least_images={"character": 751, "copyright": 2001, "general": 2501})
    enough = Counter({"miku": 751, "vocaloid": 2001, "hat": 2501})
    assert rare_tags(enough, more, category) == {}
    less = Counter({tag: n - 1 for tag, n in enough.items()})
    assert rare_tags(less, more, category) == less
