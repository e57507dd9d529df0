"""Tags without labels: published thresholds on one scale, and what unlabelled images add."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logit

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.meta.checked_arrays import CheckedArrays
from tagstack.meta.stack.rungs import RungLogits
from tagstack.meta.stack.start_stack import StartStack, answer_arrays, answer_from_arrays
from tagstack.meta.start.agreement import member_weights, near_copies, one_factor, vote_correlations
from tagstack.meta.start.answer import StartAnswer, published_answer
from tagstack.meta.start.published import Published
from tagstack.meta.start.unlabelled import adapted_answer, tag_cuts

SETTINGS = load_settings().start


@dataclass(frozen=True)
class Member:
    vocabulary: Vocabulary
    published_thresholds: NDArray[np.float32]
    published_counts: NDArray[np.float32]


def member(tags: str, thresholds: Any = 0.5, counts: Any = np.nan) -> Member:
    vocabulary = Vocabulary(tuple(tags), ("general",) * len(tags))
    spread = [np.broadcast_to(np.float32(v), len(tags)).copy() for v in (thresholds, counts)]
    return Member(vocabulary, *spread)


def published(scores: Level1Scores, threshold: float = 0.5, counts: Any = None) -> Published:
    n_members, n_tags = scores.knows.shape
    rarity = np.full(n_tags, np.nan) if counts is None else np.log(np.max(counts) / counts)
    return Published(
        threshold=np.full((n_members, n_tags), logit(threshold)),
        rarity=rarity,
        by_tag=np.zeros(n_members, bool),
    )


def given_tags(answer: StartAnswer, scores: Level1Scores) -> Any:
    listed, base = answer.apply(scores)
    return RungLogits(listed=listed, base=base).proba(scores.pairs).dense() >= 0.5


def test_files_are_read_over_the_joint_vocabulary() -> None:
    union = Vocabulary(("a", "b", "c", "d"), ("general",) * 4)
    found = Published.of(
        [member("ba", (0.2, 0.5), (10, 100)), member("bc", 0.5, (30, np.nan)), member("cd")], union
    )
    np.testing.assert_allclose(
        expit(found.threshold),
        [[0.5, 0.2, np.nan, np.nan], [np.nan, 0.5, 0.5, np.nan], [np.nan, np.nan, 0.5, 0.5]],
        rtol=1e-6,
    )
    # The mean of ln(100 / 10) and ln(30 / 30); nobody counts c or d.
    np.testing.assert_allclose(found.rarity, [0, np.log(10) / 2, np.nan, np.nan], rtol=1e-6)
    assert found.n_counted == 2
    assert found.by_tag.tolist() == [True, False, False]


def test_one_tagger_without_counts_tags_as_published(make_labelled: Callable[..., Any]) -> None:
    scores = make_labelled(noise=(1.0,)).scores
    answer = published_answer(published(scores, 0.3), scores.floor, SETTINGS)
    listed = expit(scores.logit[0].astype(np.float64)) >= 0.3
    kept = np.zeros((scores.n_images, scores.pairs.n_tags), bool)
    kept[scores.pairs.image[listed], scores.pairs.tag[listed]] = True
    np.testing.assert_array_equal(given_tags(answer, scores), kept)


def test_a_rarer_tag_needs_less_and_never_less_than_the_floor(
    make_labelled: Callable[..., Any],
) -> None:
    scores = make_labelled(floor=-2.0).scores
    counts = np.full(12, 1000.0)
    counts[3], counts[4] = 10.0, 1e-30
    zero = published_answer(published(scores, counts=counts), scores.floor, SETTINGS).zero
    assert zero[0, 0] == 0
    assert zero[0, 3] == pytest.approx(-SETTINGS.rarity * np.log(100))
    assert zero[0, 4] == pytest.approx(-1.5)  # half a logit above the floor
    tuned = replace(published(scores, counts=counts), by_tag=np.array([True, False, False]))
    by_tag = published_answer(tuned, scores.floor, SETTINGS).zero
    assert (by_tag[0] == 0).all()
    np.testing.assert_array_equal(by_tag[1:], zero[1:])


def test_an_unlisted_pair_is_never_tagged(make_labelled: Callable[..., Any]) -> None:
    scores = make_labelled(floor=1.0).scores  # the floor lies above the published threshold
    answer = published_answer(published(scores, 0.5), scores.floor, SETTINGS)
    assert (answer.apply(scores)[1] < 0).all()


def test_what_was_answered_of_other_floors_is_not_given_again(
    make_labelled: Callable[..., Any],
) -> None:
    scores = make_labelled(n_images=5).scores
    answer = published_answer(published(scores), scores.floor, SETTINGS)
    answer.apply(scores)
    other = replace(scores, floor=scores.floor - np.float32(1))
    fresh = published_answer(published(scores), scores.floor, SETTINGS)
    np.testing.assert_array_equal(answer.apply(other)[1], fresh.apply(other)[1])
    assert not np.array_equal(answer.apply(scores)[1], answer.apply(other)[1])


def test_an_abstaining_member_has_no_say(make_labelled: Callable[..., Any]) -> None:
    made = make_labelled(noise=(1.0, 1.0)).scores
    knows, values = made.knows.copy(), made.logit.copy()
    knows[1, 0], values[1, made.pairs.tag == 0] = False, np.nan
    scores, files = replace(made, knows=knows, logit=values), published(made)
    answer = published_answer(
        replace(files, threshold=np.where(knows, files.threshold, np.nan)), scores.floor, SETTINGS
    )
    listed, base = answer.apply(scores)
    here = scores.pairs.tag == 0
    np.testing.assert_allclose(listed[here], scores.logit[0, here], rtol=1e-6)
    both = scores.logit[:, ~here].astype(np.float64)
    of_odds = np.log(np.exp(both).mean(0)) - SETTINGS.odds_lead / 2  # of two, half the lead
    share = SETTINGS.odds_share
    expected = (1 - share) * both.mean(0) + share * of_odds
    np.testing.assert_allclose(listed[~here], expected, rtol=1e-4, atol=1e-4)
    assert np.isfinite(base).all()


def counted(made: Any) -> NDArray[np.float64]:
    return np.maximum(np.asarray(made.labels.sum(axis=0), np.float64), 1) * 50


def test_an_image_is_tagged_alike_whatever_stands_beside_it(
    make_labelled: Callable[..., Any],
) -> None:
    made = make_labelled()
    answer = adapted_answer(
        published(made.scores, counts=counted(made)), made.scores, SETTINGS
    ).answer
    together = given_tags(answer, made.scores)
    for image in (0, 7, 199):
        alone = made.scores.take(np.array([image]))
        np.testing.assert_array_equal(given_tags(answer, alone)[0], together[image])


def test_the_order_of_the_images_changes_nothing(make_labelled: Callable[..., Any]) -> None:
    made = make_labelled()
    files = published(made.scores, counts=counted(made))
    shuffled = made.scores.take(np.random.default_rng(3).permutation(200))
    first, second = (adapted_answer(files, s, SETTINGS).answer for s in (made.scores, shuffled))
    for name in ("zero", "spread", "weight", "cut"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-9)


def macro_f1(decided: Any, truth: Any) -> float:
    right = (decided & truth).sum(0)
    return float(np.mean(2 * right / np.maximum(decided.sum(0) + truth.sum(0), 1)))


def test_it_tags_better_than_each_tagger_alone(make_labelled: Callable[..., Any]) -> None:
    made = make_labelled(n_images=1500, noise=(2.5, 3.0, 3.5))
    truth, files = made.labels.toarray(), published(made.scores, 0.4, counted(made))
    start = given_tags(adapted_answer(files, made.scores, SETTINGS).answer, made.scores)
    dense = np.full((3, *truth.shape), made.scores.floor[0])
    dense[:, made.scores.pairs.image, made.scores.pairs.tag] = made.scores.logit
    alone = [macro_f1(expit(own) >= 0.4, truth) for own in dense]
    assert macro_f1(start, truth) > max(alone) + 0.02


@pytest.mark.parametrize("n_images", [1, 2, 10])
@pytest.mark.parametrize("with_counts", [False, True])
def test_a_handful_of_images_changes_next_to_nothing(
    make_labelled: Callable[..., Any], n_images: int, with_counts: bool
) -> None:
    made = make_labelled()
    files = published(made.scores, 0.4, counted(made) if with_counts else None)
    few = made.scores.take(np.arange(n_images))
    adapted = adapted_answer(files, few, SETTINGS)
    plain = given_tags(published_answer(files, made.scores.floor, SETTINGS), made.scores)
    changed = given_tags(adapted.answer, made.scores) != plain
    assert changed.sum() < 0.3 * plain.sum()
    assert adapted.count_share == 0
    assert adapted.answer.weight.sum() == pytest.approx(1)


def test_counts_of_other_pictures_are_hardly_believed(make_labelled: Callable[..., Any]) -> None:
    made = make_labelled(n_images=1500)
    counts = counted(made)
    same = adapted_answer(published(made.scores, 0.4, counts), made.scores, SETTINGS)
    other = adapted_answer(published(made.scores, 0.4, counts[::-1]), made.scores, SETTINGS)
    assert other.rate_spread > same.rate_spread
    assert other.count_share < 0.3 * same.count_share


def test_without_counts_nothing_is_moved_towards_them(make_labelled: Callable[..., Any]) -> None:
    made = make_labelled(n_images=500)
    found = adapted_answer(published(made.scores, 0.4), made.scores, SETTINGS)
    plain = published_answer(published(made.scores, 0.4), made.scores.floor, SETTINGS)
    tags = given_tags(plain, made.scores).sum() / 500
    assert found.count_share == 0
    assert found.tags_per_image == pytest.approx(tags, rel=0.03)
    assert np.isnan(found.rate_spread)


def test_the_tagger_that_knows_more_weighs_more_and_copies_share(
    make_labelled: Callable[..., Any],
) -> None:
    scores = make_labelled(n_images=2000, noise=(0.5, 1.5, 2.5, 3.5)).scores
    target = np.full(12, 200.0)
    weight, copies = member_weights(scores, target, SETTINGS)
    assert (np.diff(weight) < 0).all()
    assert not copies
    twice = replace(
        scores,
        members=(*scores.members, "copy"),
        knows=np.vstack([scores.knows, scores.knows[1:2]]),
        logit=np.vstack([scores.logit, scores.logit[1:2] + np.float32(0.01)]),
        floor=np.append(scores.floor, scores.floor[1]).astype(np.float32),
    )
    shared, copies = member_weights(twice, target, SETTINGS)
    assert copies == ((1, 4),)
    assert shared[1] == pytest.approx(shared[4])
    assert shared[1] + shared[4] == pytest.approx(weight[1], rel=0.15)


def test_agreement_is_the_mean_correlation_of_votes(make_labelled: Callable[..., Any]) -> None:
    scores = make_labelled(n_images=60, floor=-50.0).scores
    count = np.arange(12) * 4
    dense = scores.logit.reshape(3, 60, 12)
    votes = np.zeros(dense.shape)
    for own in range(3):
        for tag, number in enumerate(count):
            votes[own, np.argsort(-dense[own, :, tag])[:number], tag] = 1
    found = vote_correlations(scores, count)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        expected = [np.corrcoef(votes[i, :, t], votes[j, :, t])[0, 1] for t in range(1, 12)]
        assert found[i, j] == pytest.approx(np.mean(expected))


def test_skill_is_found_from_agreement_alone() -> None:
    skill = np.array([0.9, 0.7, 0.5, 0.3])
    correlation = np.outer(skill, skill)
    np.fill_diagonal(correlation, 1)
    np.testing.assert_allclose(one_factor(correlation), skill, atol=0.01)
    assert len(set(one_factor(np.array([[1, 0.5], [0.5, 1]])))) == 1
    assert one_factor(np.eye(1)).shape == (1,)


def test_copies_are_chained() -> None:
    agreement = np.eye(5)
    for i, j in ((0, 3), (3, 4)):
        agreement[i, j] = agreement[j, i] = 0.95
    assert near_copies(agreement, 0.9) == ((0, 3, 4), (1,), (2,))


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-4, 4)), max_size=30), st.data())
def test_cuts_are_those_of_a_loop(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    tag = np.array([t for t, _ in pairs], np.int32)
    value = np.array([v for _, v in pairs], np.float64)
    count = np.array([data.draw(st.integers(0, 12)) for _ in range(4)])
    found = tag_cuts(value, tag, count)
    for t, number in enumerate(count):
        own = sorted(value[tag == t], reverse=True)
        if not 0 < number <= len(own):
            assert np.isnan(found[t])
        else:
            after = own[number] if number < len(own) else own[number - 1]
            assert found[t] == (own[number - 1] + after) / 2


@pytest.fixture
def stack(make_labelled: Callable[..., Any]) -> StartStack:
    scores = make_labelled().scores
    answer = published_answer(published(scores, 0.4), scores.floor, SETTINGS)
    return StartStack(members=scores.members, vocabulary=scores.vocabulary, answer=answer)


def test_a_start_is_read_back_bit_for_bit(
    stack: StartStack, make_labelled: Callable[..., Any], tmp_path: Path
) -> None:
    scores = make_labelled(n_images=20).scores
    stack.save(tmp_path / "stack")
    proba = StartStack.load(tmp_path / "stack").predict_proba(scores)
    np.testing.assert_array_equal(proba.dense(), stack.predict_proba(scores).dense())


@pytest.mark.parametrize("spoiled", ["start.json", "start.safetensors"])
def test_a_damaged_start_is_one_line(stack: StartStack, tmp_path: Path, spoiled: str) -> None:
    stack.save(tmp_path / "stack")
    (tmp_path / "stack" / spoiled).write_bytes(b"{")
    with pytest.raises(TagstackError, match=r"start\.json|Cannot read the start in"):
        StartStack.load(tmp_path / "stack")


def test_a_start_refuses_other_rungs_and_other_taggers(
    stack: StartStack, make_labelled: Callable[..., Any]
) -> None:
    scores = make_labelled(n_images=5).scores
    with pytest.raises(TagstackError, match="Unknown rung 'mean'"):
        stack.predict_proba(scores, "mean")
    with pytest.raises(TagstackError, match="The scores come from"):
        stack.predict_proba(replace(scores, members=("a", "b", "c")))


def test_who_is_sure_is_believed_and_equal_taggers_gain_nothing_but_the_lead(
    make_labelled: Callable[..., Any],
) -> None:
    scores = make_labelled().scores
    answer = published_answer(published(scores), scores.floor, SETTINGS)
    log_odds = replace(answer, odds_share=0.0)
    apart = scores.logit.copy()
    apart[0], apart[1:] = 4.0, -2.0
    sure = replace(scores, logit=apart)
    assert (answer.apply(sure)[0] > log_odds.apply(sure)[0]).all()
    same = replace(scores, logit=np.repeat(scores.logit[:1], len(apart), axis=0))
    alike = replace(answer, zero=np.repeat(answer.zero[:1], len(apart), axis=0))
    lead = SETTINGS.odds_share * SETTINGS.odds_lead * (1 - 1 / len(apart))
    np.testing.assert_allclose(
        alike.apply(same)[0], replace(alike, odds_share=0.0).apply(same)[0] - lead, rtol=1e-6
    )


def test_an_answer_of_before_is_read_as_log_odds_alone(make_labelled: Callable[..., Any]) -> None:
    scores = make_labelled().scores
    answer = published_answer(published(scores), scores.floor, SETTINGS)
    arrays = answer_arrays(answer)
    shape = answer.zero.shape
    again = answer_from_arrays(CheckedArrays(arrays, "here"), *shape)
    assert (again.odds_share, again.odds_lead) == (SETTINGS.odds_share, SETTINGS.odds_lead)
    del arrays["odds"]
    assert answer_from_arrays(CheckedArrays(arrays, "here"), *shape).odds_share == 0
