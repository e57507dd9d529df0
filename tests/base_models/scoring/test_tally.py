"""The tally of a run: every image ends up somewhere, or the run says which did not."""

import pytest

from tagstack.base_models.scoring.sources import ImageFailure
from tagstack.base_models.scoring.tally import Tally
from tagstack.configs.errors import TagstackError


def test_a_folder_that_could_not_be_listed_is_no_image() -> None:
    tally = Tally(2, [ImageFailure("locked", "folder cannot be listed")], 1)
    tally.skip()
    tally.fail("b.png", "no image")
    summary = tally.summary()
    assert (summary.n_skipped, summary.n_failed) == (1, 2)


def test_an_image_that_is_left_waiting_is_named() -> None:
    tally = Tally(3, [], 1)
    tally.skip()
    assert tally.first("ab", "lost.png")
    assert not tally.first("ab", "copy.png")
    with pytest.raises(
        TagstackError, match=r"3 images were found, but 1 were .* waiting copy\.png, lost\.png"
    ):
        tally.summary()
    tally.settle("ab", scored=True)
    assert (tally.summary().n_scored, tally.summary().n_skipped) == (1, 2)


def test_an_image_that_nobody_counted_is_an_error() -> None:
    with pytest.raises(TagstackError, match="1 images were found, but 0 were scored"):
        Tally(1, [], 1).summary()
