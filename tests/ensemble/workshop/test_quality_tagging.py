"""Quality tags: each shipped preset against a hand-written reading of its source, and the edges."""

import bisect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstack.configs.errors import TagstackError
from tagstack.configs.quality_presets import (
    QualityPreset,
    load_quality_preset,
    shipped_quality_presets,
)
from tagstack.ensemble.workshop.quality.tagging import POOLED, quality_tags

SEVEN = "worst low normal good great best masterpiece".split()


def given_by(name: str, score: np.ndarray, **facts: object) -> list[tuple[str, ...]]:
    return list(quality_tags(score, load_quality_preset(name), **facts).tags)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "cuts", "tags"),
    [
        ("noobai", [30, 60, 85, 95], "worst normal good best masterpiece".split()),
        ("hakubooru-old", [10, 25, 50, 75, 85, 95], SEVEN),
        ("hakubooru-new", [10, 30, 45, 60, 75, 90], SEVEN),
        ("dbaesthetic", [10, 25, 50, 75, 85, 95], SEVEN),
    ],
)
def test_a_preset_gives_the_shares_of_its_source(
    name: str, cuts: list[int], tags: list[str]
) -> None:
    n = 1000
    found = given_by(name, np.random.default_rng(0).permutation(n).astype(float))
    score = np.random.default_rng(0).permutation(n)
    for tag, place in zip(found, score, strict=True):
        percentile = (place + 0.5) / n * 100
        expected = tags[bisect.bisect(cuts, percentile)]
        assert [t.removesuffix("_quality") for t in tag] == [expected]


def test_the_lowest_by_two_scores_are_the_worst_and_the_highest_by_one_the_best() -> None:
    waifu, shadow = np.arange(100.0), np.arange(100.0)[::-1].copy()
    shadow[:3], shadow[3] = [-3, -2, -1], np.nan
    alone = given_by("noobai-aesthetic", waifu)
    assert [i for i, t in enumerate(alone) if t == ("worst_aesthetic",)] == [0, 1, 2, 3, 4]
    both = given_by("noobai-aesthetic", waifu, second=shadow)
    assert [i for i, t in enumerate(both) if t == ("worst_aesthetic",)] == [0, 1, 2]
    assert [i for i, t in enumerate(both) if t == ("very_awa",)] == [95, 96, 97, 98, 99]
    assert set(both[3:95]) == {()}
    of_each = ["a"] * 50 + ["b"] * 50
    parted = given_by("noobai-aesthetic", waifu, second=waifu, strata=of_each)
    assert [i for i, t in enumerate(parted) if t == ("worst_aesthetic",)] == [0, 1, 2, 50, 51, 52]


def test_pony_gives_all_tags_up_to_a_pictures_own() -> None:
    found = given_by("pony", np.arange(10.0))
    assert found[9] == ("score_9", "score_8_up", "score_7_up", "score_6_up", "score_5_up",
                        "score_4_up")  # fmt: skip
    assert found[5] == ("score_5_up", "score_4_up")
    assert found[3] == ()


def test_years_have_the_tags_of_their_source() -> None:
    years = np.array([2004, 2005, 2011, 2013, 2014, 2017, 2018, 2020, 2021, 2024, 2025.0])
    mid = ["", "old", "early", "early", "mid", "mid", "recent", "recent", "newest", "newest", ""]
    assert given_by("noobai-years", years) == [(t,) if t else () for t in mid]
    kohaku = ["early"] * 5 + ["mid", "recent", "recent", "newest", "newest", ""]
    assert given_by("hakubooru-years", years) == [(t,) if t else () for t in kohaku]


@pytest.mark.parametrize(
    ("name", "by", "last_id"),
    [
        ("noobai", ("source", "rating"), 0),
        ("hakubooru-old", ("rating",), 7_000_000),
        ("hakubooru-new", ("rating",), 7_500_000),
        ("dbaesthetic", (), 0),
        ("pony", (), 0),
    ],
)
def test_a_preset_ranks_within_what_its_source_names(
    name: str, by: tuple[str, ...], last_id: int
) -> None:
    preset = load_quality_preset(name)
    assert (preset.by, preset.last_id) == (by, last_id)
    if last_id:
        ids = np.array([last_id, last_id + 1.0])
        assert [bool(t) for t in given_by(name, np.array([1.0, 1.0]), ids=ids)] == [True, False]


def test_exactly_on_a_cut_noobai_says_over_and_the_others_from() -> None:
    of_ten = np.arange(10.0)  # the best one's rank is .95 exactly
    assert given_by("noobai", of_ten)[9] == ("best_quality",)
    assert given_by("dbaesthetic", of_ten)[9] == ("masterpiece",)


def test_a_post_of_this_moment_is_too_young_for_a_half_life() -> None:
    preset = QualityPreset.model_validate(
        {
            "about": "x",
            "half_life_days": 90,
            "cuts": [{"least": 0.5, "tag": "top"}, {"tag": "rest"}],
        }
    )
    found = quality_tags(np.ones(3), preset, age_days=np.array([0.0, -1.0, 1.0]))
    assert found.why == ("too young", "too young", "")


def test_each_stratum_is_ranked_by_itself() -> None:
    score = np.concatenate([np.arange(40.0), 1000 + np.arange(40.0)])
    apart = given_by("hakubooru-old", score, strata=["g"] * 40 + ["e"] * 40)
    assert apart[:40] == apart[40:]
    assert given_by("hakubooru-old", score)[:40] != apart[:40]


def test_small_strata_are_ranked_together_and_named() -> None:
    score = np.arange(44.0)
    found = quality_tags(
        score, load_quality_preset("noobai"), strata=["g"] * 40 + ["q", "q", "e", "e"],
        least_stratum=20,
    )  # fmt: skip
    assert found.pooled == ("e", "q")
    assert set(found.strata[40:]) == {POOLED}
    assert np.allclose(found.rank[40:], [0.125, 0.375, 0.625, 0.875])


def test_posts_too_young_or_without_score_have_no_tag_and_count_for_nobody() -> None:
    score = np.array([1.0, 2.0, 3.0, np.nan])
    ids = np.array([5e6, np.nan, 8e6, 1.0])
    found = quality_tags(score, load_quality_preset("hakubooru-new"), ids=ids)
    assert found.why == ("", "", "too young", "no score")
    assert found.tags[2:] == ((), ())
    assert np.allclose(found.rank[:2], [0.25, 0.75])


def test_young_posts_are_judged_by_what_they_have_for_their_age() -> None:
    preset = QualityPreset.model_validate({
        "about": "x", "half_life_days": 10.0, "least_age_days": 1.0,
        "cuts": [{"least": 0.5, "tag": "good"}, {"tag": "bad"}],
    })  # fmt: skip
    age = np.array([10.0, 10_000.0, 0.5, np.nan])
    found = quality_tags(np.array([60.0, 100.0, 9.0, 9.0]), preset, age_days=age)
    assert found.tags == (("good",), ("bad",), (), ())  # 60 / 0.5 > 100
    assert found.why == ("", "", "too young", "no date")


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_equal_scores_have_equal_tags_in_the_middle(n: int) -> None:
    assert set(given_by("noobai", np.ones(n))) <= {("normal_quality",)}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=60))
def test_a_higher_score_never_has_a_worse_tag(scores: list[int]) -> None:
    preset = load_quality_preset("hakubooru-old")
    found = quality_tags(np.array(scores, float), preset).tags
    place: dict[tuple[str, ...], int] = {(tag,): i for i, tag in enumerate(preset.tags)}
    order = sorted(zip(scores, found, strict=True), key=lambda pair: pair[0])
    places = [place[tags] for _, tags in order]
    assert places == sorted(places, reverse=True)
    assert len({(s, t) for s, t in order}) == len(set(scores))


@pytest.mark.parametrize("name", shipped_quality_presets())
def test_a_shipped_preset_says_what_its_source_leaves_open(name: str) -> None:
    preset = load_quality_preset(name)
    assert preset.source != "your own"
    assert preset.undefined


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about = 'x'\ncuts = []", "cuts"),
        ("about = 'x'\ncuts = [{least=0.1, tag='a'}, {least=0.2, tag='b'}]", "cuts must fall"),
        ("about = 'x'\ncuts = [{least=95, tag='a'}]", "from 0 to 1"),
        ("about = 'x'\ncuts = [{least=0.5}]", "at least one tag"),
        (
            "about = 'x'\ncumulative = true\ncuts = [{least=0.5, tag='a'}, {tag='b', agreed=true}]",
            "a cut that is agreed belongs to a rank or a value",
        ),
        ("about = 'x'\nstrata = ['a']\ncuts = [{tag='a'}]", "strata"),
    ],
)
def test_what_is_wrong_with_a_preset_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(TagstackError, match=message):
        load_quality_preset(str(tmp_path / "mine.toml"))


def test_an_unknown_preset_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(TagstackError, match="Known are dbaesthetic, hakubooru-new"):
        load_quality_preset("illustrious")
