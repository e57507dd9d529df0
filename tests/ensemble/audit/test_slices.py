"""What parts images and tags, what is too small to, and how that is said."""

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.audit.slices import column_slices, held_slices, tag_slices


def test_small_values_stand_together_and_are_named() -> None:
    values = ["a"] * 50 + [f"x{i}" for i in range(30)]
    slices, _ = column_slices({"artist": values}, ["artist"], most_values=50, least_images=20)
    assert [own.value for own in slices] == ["a", "30 other values"]
    assert slices[1].images is not None
    assert len(slices[1].pooled) == slices[1].images.sum() == 30


def test_as_many_images_as_are_least_stand_alone_and_one_fewer_does_not() -> None:
    for n, alone in ((20, ["a", "b"]), (19, ["a"])):
        slices, _ = column_slices(
            {"style": ["a"] * 40 + ["b"] * n}, ["style"], most_values=50, least_images=20
        )
        assert [own.value for own in slices if not own.pooled] == alone


def test_the_commonest_values_stand_alone_and_the_others_together() -> None:
    values = [f"x{i % 8}" for i in range(160)] + ["x0", "x1"] * 30
    slices, said = column_slices({"artist": values}, ["artist"], most_values=2, least_images=20)
    assert [own.value for own in slices] == ["x0", "x1", "6 other values"]
    assert slices[2].pooled == tuple(f"x{i}" for i in range(2, 8))
    assert said == ()


def test_columns_without_two_kinds_make_no_slice_and_are_named() -> None:
    columns = {"id": [str(i) for i in range(100)], "one": ["a"] * 100, "few": ["a", "b"] * 50}
    slices, notices = column_slices(columns, list(columns), most_values=50, least_images=20)
    assert {own.column for own in slices} == {"few"}
    assert [notice.split()[0] for notice in notices] == ["id", "one"]
    assert (
        column_slices({"style": ["a"]}, ["style"], most_values=50, least_images=20)[0] == ()
    )  # one image


def test_an_unknown_column_is_a_message_that_names_the_nearest() -> None:
    with pytest.raises(TagstackError, match=r"no column 'stile'.*Did you mean style\?"):
        column_slices({"style": ["a"]}, ["stile"], most_values=50, least_images=20)


TAGS = Vocabulary(
    ("red_hair", "blue_hair", "solo", "hat", "who"), ("general",) * 4 + ("character",)
)


def held() -> sparse.csr_array:
    """100 images: hair on 60 and 30 of them, solo on all, hat on 5, nobody known."""
    truth = np.zeros((100, 5), bool)
    truth[:60, 0], truth[60:90, 1], truth[:, 2], truth[:5, 3] = True, True, True, True
    return sparse.csr_array(truth)


def test_images_by_tag_leave_out_what_holds_on_few_or_nearly_all() -> None:
    slices, notices = held_slices(["*_hair", "solo", "hat"], held(), TAGS, least_images=20)
    assert [(own.value, 0 if own.images is None else own.images.sum()) for own in slices] == [
        ("red_hair", 60), ("blue_hair", 30),
    ]  # fmt: skip
    assert "2 of 4 tags hold on fewer than 20" in notices[0]
    with pytest.raises(TagstackError, match=r"'red_hare' means none of .* Did you mean red_hair"):
        held_slices(["red_hare"], held(), TAGS, least_images=20)


def test_tags_are_parted_by_category_frequency_and_family() -> None:
    labels = held()
    evidence = np.array([60, 30, 100, 5, 40])
    families = {"hair": np.array([1, 1, 0, 0, 0], bool), "hat": np.array([0, 0, 0, 1, 0], bool)}
    found = tag_slices(
        ["category", "frequency", "family"], TAGS, labels, evidence, families,
        bands=(1, 20, 100), least_pairs=20,
    )  # fmt: skip
    named = {
        (own.kind, own.value): np.flatnonzero(own.tags if own.tags is not None else []).tolist()
        for own in found
    }
    assert named == {
        ("category", "character"): [4],
        ("category", "general"): [0, 1, 2, 3],
        ("frequency", "on 20 to 99 images"): [0, 1],
        ("frequency", "on 100 images or more"): [2],
        ("family", "hair"): [0, 1],
    }  # the rarest tag and its family are too little to say anything of


def test_small_families_stand_together_and_one_category_parts_nothing() -> None:
    families = {name: np.arange(5) == i for i, name in enumerate(("a", "b", "c"))}
    evidence = np.array([10, 15, 90, 0, 0])
    (big, small) = tag_slices(
        ["family"], TAGS, held(), evidence, families, bands=(1,), least_pairs=20
    )
    assert (big.value, small.value, small.pooled) == ("c", "2 small ones", ("a", "b"))
    one = Vocabulary(TAGS.tags, ("general",) * 5)
    assert tag_slices(["category"], one, held(), evidence, {}, bands=(1,), least_pairs=20) == ()
    with pytest.raises(TagstackError, match="'colour' parts no tags; expected some of category"):
        tag_slices(["colour"], one, held(), evidence, {}, bands=(1,), least_pairs=20)
