"""Quality from Python: scores in memory, and the tags of a preset."""

from typing import Any

import numpy as np
import pytest

import tagstack
from tagstack.configs.errors import TagstackError

SETTINGS = {"threads": 1}


def pictures(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    spread = np.linspace(1, 255, n).astype(int)
    return {
        f"{i}": rng.integers(0, s + 1, (20, 24, 3), dtype=np.uint8) for i, s in enumerate(spread)
    }


def test_scores_and_tags_of_pictures_in_memory() -> None:
    given: dict[str, Any] = {**pictures(20), "broken": b"none", "again": pictures(20)["3"]}
    found = tagstack.quality(given, ["contrast", "noise"], SETTINGS)
    assert found.images == (*map(str, range(20)), "again")
    assert set(found.failures) == {"broken"}
    assert found.scores["contrast"][3] == found.scores["contrast"][20]
    assert found.lower_is_better == ("noise",)
    assert found.tags("dbaesthetic", "contrast")["19"] == ("masterpiece",)
    assert found.tags("dbaesthetic", "noise")["0"] == ("masterpiece",)
    apart = found.tags("hakubooru-new", "contrast", strata=["a"] * 10 + ["b"] * 11)
    assert apart["9"] == apart["19"] == ("masterpiece",)
    worst = ("worst_aesthetic",)  # 0 has least contrast, and least noise, which is best
    assert found.tags("noobai-aesthetic", "contrast")["0"] == worst
    assert found.tags("noobai-aesthetic", "contrast", second="noise")["0"] == ()
    assert found.tags("noobai-aesthetic", "noise", second="noise")["19"] == worst


def test_what_is_missing_is_said() -> None:
    found = tagstack.quality(pictures(2), ["contrast"], SETTINGS)
    for preset, scorer, message in (
        ("dbaesthetic", "noise", "No score 'noise'"),
        ("nobody", "contrast", "Known are"),
        ("hakubooru-new", "contrast", "ranks within rating: give strata"),
        ("noobai-years", "contrast", "about years, which no scorer tells"),
    ):
        with pytest.raises(TagstackError, match=message):
            found.tags(preset, scorer)
