"""Partial labels: every way to call a family of tags unknown, and what comes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.label_files import read_labels
from tagstack.meta.labels.labels import AlignedLabels, align_labels
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.stack.stacker import Stacker

MakeLabelled = Callable[..., Any]
Make = Callable[..., StackSettings]

TAGS = (";d", "gender:men", "gender:women", "hat", "long_hair", "short_hair")
VOCABULARY = Vocabulary(TAGS, ("meta", "who", "who", "general", "general", "general"))
GROUPS = {"hair": ("long_hair", "short_hair", "bald")}


def aligned(tmp_path: Path, text: str, **options: Any) -> AlignedLabels:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    images = ["a.png", "b.png", "c.png"]
    return align_labels(read_labels(path), images, VOCABULARY, groups=GROUPS, **options)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gender:*", {"gender:men", "gender:women"}),
        ("who", {"gender:men", "gender:women"}),
        ("hair", {"long_hair", "short_hair"}),
        ("hat;gender:men", {"hat", "gender:men"}),
        (";d hat", {";d", "hat"}),
        ("*_hair;;d", {"long_hair", "short_hair"}),
        ("", set()),
    ],
)
def test_a_word_stands_for_a_tag_a_pattern_a_group_or_a_category(
    tmp_path: Path, words: str, expected: set[str]
) -> None:
    labels = aligned(tmp_path, f"image,tags,unknown\na.png,,{words}\nb.png,hat,\n")
    assert {TAGS[i] for i in labels.unknown[[0]].indices} >= expected
    assert labels.unknown[[1]].nnz == 0
    assert "unknown" not in labels.columns


def test_absent_families_are_unknown_and_present_ones_are_not(tmp_path: Path) -> None:
    labels = aligned(
        tmp_path,
        "image,tags\na.png,hat\nb.png,gender:men\nc.png,short_hair gender:women\n",
        unknown_if_absent=["gender:*", "hair"],
    )
    unknown = labels.unknown.toarray()
    assert unknown[:, 1:3].tolist() == [[True, True], [False, False], [False, False]]
    assert unknown[:, 4:].tolist() == [[True, True], [True, True], [False, False]]
    assert not unknown[:, [0, 3]].any()
    assert any("6 pairs of 2 images and 4 tags are unknown" in n for n in labels.notices)


def test_what_is_labelled_under_unknown_and_what_means_nothing_is_counted(tmp_path: Path) -> None:
    labels = aligned(tmp_path, "image,tags,unknown\na.png,hat gender:men,gender:* wings\n")
    assert labels.matrix.toarray()[0].tolist() == [False, False, False, True, False, False]
    assert "1 labels stand at unknown pairs and are ignored" in labels.notices
    assert "1 words of the columns 'unknown' and 'known' stand for no tag: wings" in labels.notices


@pytest.mark.parametrize("word", ["hat", "colour:*"])
def test_a_family_of_fewer_than_two_tags_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(TagstackError, match=r"stands for [01] of .* 6 tags; expected two or more"):
        aligned(tmp_path, "image,tags\na.png,hat\n", unknown_if_absent=[word])


def test_jsonl_says_unknown_in_either_form(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(
        '{"image": "a.png", "tags": ["hat"], "unknown": ["gender:*"]}\n'
        '{"image": "b.png", "tags": "hat", "unknown": "hair gender:men"}\n'
    )
    labels = align_labels(read_labels(path), ["a.png", "b.png"], VOCABULARY, groups=GROUPS)
    assert labels.unknown.toarray().sum(1).tolist() == [2, 3]
    path.write_text('{"image": "a.png", "tags": ["hat"], "unknown": 3}\n')
    with pytest.raises(TagstackError, match="line 1: 'unknown' is 3"):
        read_labels(path)


def fitted(data: Any, labels: Any, unknown: Any, settings: StackSettings) -> Stacker:
    return Stacker(settings, seed=3, threads=1).fit(
        data.scores,
        sparse.csr_array(labels),
        data.groups,
        TagRelations.none(labels.shape[1]),
        unknown=None if unknown is None else sparse.csr_array(unknown),
    )


def same_everywhere(one: Stacker, other: Stacker, fresh: Any) -> None:
    """Out of fold and on new images, every rung is the same bit for bit."""
    assert one.chosen_ == other.chosen_
    assert one.ladder_ == other.ladder_
    after = [stacker.predict_rungs(fresh.scores, stacker.rungs_) for stacker in (one, other)]
    for rung in one.rungs_:
        pairs = [
            (one.out_of_fold(rung), other.out_of_fold(rung)),
            (after[0][rung], after[1][rung]),
        ]
        for first, second in pairs:
            np.testing.assert_array_equal(first.proba, second.proba)
            np.testing.assert_array_equal(first.base, second.base)


def test_labels_under_unknown_change_nothing_bit_for_bit(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    """Garbage where nobody looked must not reach any fit, metric or choice."""
    data, fresh = make_labelled(n_images=150, floor=-2.0), make_labelled(n_images=20, floor=-2.0)
    rng = np.random.default_rng(5)
    labels = data.labels.toarray()
    unknown = np.zeros_like(labels)
    unknown[:60, 4:8] = True
    garbage = np.where(unknown, rng.random(labels.shape) < 0.5, labels)
    settings = stack_settings(trials=2, member_worth="none")
    one, other = (fitted(data, x, unknown, settings) for x in (labels, garbage))
    same_everywhere(one, other, fresh)
    without = fitted(data, garbage, None, stack_settings(learners=()))
    rung = "shrunken_logistic"
    assert (without.out_of_fold(rung).proba != one.out_of_fold(rung).proba).any()


def test_a_family_unknown_everywhere_takes_no_part(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    """Tags that are unknown in every image leave the other tags' calibration as without them."""
    data = make_labelled(n_images=150)
    labels = data.labels.toarray()
    unknown = np.zeros_like(labels)
    unknown[:, 9:] = True
    whole = fitted(data, labels, unknown, stack_settings(learners=()))

    kept = data.scores.pairs.tag < 9
    from tagstack.base_models.pairs import Level1Scores, Pairs

    counts = np.bincount(data.scores.pairs.image[kept], minlength=150)
    smaller = Level1Scores(
        images=data.scores.images,
        vocabulary=Vocabulary(
            data.scores.vocabulary.tags[:9], data.scores.vocabulary.categories[:9]
        ),
        members=data.scores.members,
        knows=data.scores.knows[:, :9],
        floor=data.scores.floor,
        pairs=Pairs(
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            tag=data.scores.pairs.tag[kept],
            n_tags=9,
        ),
        logit=data.scores.logit[:, kept],
    )
    alone = Stacker(stack_settings(learners=()), seed=3, threads=1).fit(
        smaller, sparse.csr_array(labels[:, :9]), data.groups, TagRelations.none(9)
    )
    for rung in ("single:member_0", "calibrated_mean", "shrunken_logistic"):
        np.testing.assert_allclose(
            whole.out_of_fold(rung).proba[kept], alone.out_of_fold(rung).proba, rtol=1e-6
        )
    rows = {row.rung: row for row in whole.ladder_}
    for row in alone.ladder_:
        assert rows[row.rung].macro_ap == pytest.approx(row.macro_ap, abs=2e-3), row.rung


def test_probabilities_are_those_of_the_images_that_were_looked_at(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    """A family missing from half of the images by neglect must not halve its probabilities."""
    data = make_labelled(n_images=400)
    true = data.labels.toarray()
    neglected = np.zeros_like(true)
    neglected[::2, :6] = True  # groups are pairs of images: half of each group
    seen = true & ~neglected
    settings = stack_settings(learners=())
    aware, naive = fitted(data, seen, neglected, settings), fitted(data, seen, None, settings)
    expected = true[:, :6].sum()
    sums = [s.out_of_fold("shrunken_logistic").dense()[:, :6].sum() for s in (aware, naive)]
    assert sums[0] == pytest.approx(expected, rel=0.05)
    assert sums[1] < 0.7 * expected
