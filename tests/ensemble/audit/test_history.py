"""The next audit says what got worse, of the same images under the same labels alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.audit.counts import JudgedPairs
from tagstack.ensemble.audit.history import (
    FILE,
    FigureChanges,
    KeptCounts,
    changes_since,
    label_digests,
)
from tagstack.ensemble.audit.slices import Slice, column_slices

N = 200
TAGS = Vocabulary(tuple("abcdef"), ("general",) * 6)
FIRST = Slice(kind="family", column="family", value="x", tags=np.arange(6) < 2)
STYLES = column_slices({"style": ["p", "q"] * (N // 2)}, ["style"], most_values=9, least_images=20)[
    0
]


def kept(
    missed: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    names: range,
    wrong: NDArray[np.bool_] | None = None,
) -> KeptCounts:
    """Return what is kept where everything true is given but what is missed, and what is wrong."""
    labels = sparse.csr_array(truth)
    nothing = sparse.csr_array(truth.shape, dtype=bool)
    none = Pairs(indptr=np.zeros(len(truth) + 1, np.int64), tag=np.zeros(0, np.int32), n_tags=6)
    proba = PairProba(pairs=none, proba=np.zeros(0, np.float32), base=np.zeros(6, np.float32))
    given = truth & ~missed if wrong is None else (truth & ~missed) | wrong
    judged = JudgedPairs.of(proba, sparse.csr_array(given), labels, nothing)
    return KeptCounts.of(
        judged, [*STYLES, FIRST], [f"{i:064x}"[::-1] for i in names],
        label_digests(labels, nothing, TAGS), TAGS, bundle="b", thresholds="fit",
    )  # fmt: skip


def drawn() -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return truth, what was missed before, and what is missed now: more, in style q."""
    rng = np.random.default_rng(0)
    truth, before = rng.random((N, 6)) < 0.5, rng.random((N, 6)) < 0.2
    now = before.copy()
    now[1::2] |= rng.random((N // 2, 6)) < 0.3
    return truth, before, now


def changes(old: KeptCounts, new: KeptCounts, vocabulary: Vocabulary = TAGS) -> FigureChanges:
    return changes_since(
        old, new, [*STYLES, FIRST], np.arange(len(new.contents)), vocabulary, resamples=200,
        seed=0, confidence=0.95, false_discovery_rate=0.05,
    )  # fmt: skip


def test_a_style_that_lost_recall_is_worse_and_the_other_is_not() -> None:
    truth, before, now = drawn()
    old, new = kept(before, truth, range(N)), kept(now, truth, range(N))
    found = {(one.value, one.figure): one for one in changes(old, new).found}
    one = found["q", "recall"]
    assert (one.verdict, found["p", "recall"].verdict) == ("worse", "no significant difference")
    was, is_ = (1 - (own & truth)[1::2].sum() / truth[1::2].sum() for own in (before, now))
    assert (one.before, one.after) == pytest.approx((was, is_), abs=1e-6)
    assert one.low <= one.difference <= one.high < 0
    assert found["q", "tagging"].verdict == "worse"  # further from as many as hold
    assert found["all images and tags", "recall"].verdict == "worse"
    assert found["x", "recall"].kind == "family"
    assert not any(one.verdict == "worse" for one in changes(old, old).found)


def test_more_wrong_tags_are_worse_and_fewer_better_whichever_side_of_0() -> None:
    truth, missed, _ = drawn()
    wrong = ~truth & (np.random.default_rng(1).random(truth.shape) < 0.6)
    exact, over = (kept(missed & False, truth, range(N), own) for own in (None, wrong))
    under = kept(missed, truth, range(N))
    for old, new, verdict in (
        (exact, over, "worse"),
        (over, exact, "better"),
        (over, under, "better"),
    ):
        found = {(own.kind, own.figure): own for own in changes(old, new).found}
        one = found["all", "tagging"]
        assert one.verdict == verdict
        assert one.difference == pytest.approx(abs(one.before) - abs(one.after), abs=1e-6)


def test_only_the_same_images_under_the_same_labels_are_compared() -> None:
    truth, before, now = drawn()
    old = kept(before, truth, range(N))
    relabelled = truth.copy()
    relabelled[:30, 0] ^= True
    new = kept(now, relabelled, range(10, N + 10))  # ten are gone, ten are new, all moved along
    found = changes(old, new)
    assert (found.n_missing, found.n_images + found.n_relabelled) == (20, N - 10)
    moved = replace(new, contents=old.contents)
    assert changes(old, moved).n_relabelled == 30
    assert changes(old, kept(now, truth, range(N, 2 * N))).found == ()
    names = np.where(np.arange(N) % 2, np.roll(old.contents, 1), old.contents)
    again = replace(old, contents=names)
    copies = changes(again, again)
    assert (copies.n_images, copies.n_missing) == (N // 2, 0)  # each copy once, and none is gone


def test_tags_that_mean_others_now_are_not_compared() -> None:
    truth, before, now = drawn()
    old, new = kept(before, truth, range(N)), kept(now, truth, range(N))
    other = {(kind, value, "of other tags"): part for (kind, value, _), part in old.parts.items()}
    assert "family" in {one.kind for one in changes(old, new).found}
    assert "family" not in {one.kind for one in changes(replace(old, parts=other), new).found}


def test_it_is_read_back_as_it_was_kept_and_rubbish_is_named(tmp_path: Path) -> None:
    truth, before, now = drawn()
    old, new = kept(before, truth, range(N)), kept(now, truth, range(N))
    old.save(tmp_path / FILE)
    assert str(changes(KeptCounts.load(tmp_path), new)) == str(changes(old, new))
    whole = (tmp_path / FILE).read_bytes()
    for broken in (whole[:50], whole.replace(b"contents", b"kontents"), b"", b"x" * 99):
        (tmp_path / FILE).write_bytes(broken)
        with pytest.raises(TagstackError, match="is not what an audit wrote"):
            KeptCounts.load(tmp_path)
    with pytest.raises(TagstackError, match="expected the folder of an earlier"):
        KeptCounts.load(tmp_path / "nowhere")
