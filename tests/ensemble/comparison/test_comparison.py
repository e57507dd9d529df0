import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import f1_score

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.comparison.comparing import Comparison, Rung, compare
from tagstack.ensemble.comparison.rungs import rival_of
from tagstack.ensemble.report.data import metrics_json, tags_csv
from tagstack.ensemble.report.words import signed, sublines
from tagstack.ensemble.rules.rule import Exclusive
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.meta.learners.workers import handed_to
from tagstack.meta.metrics.bootstrap import UNDECIDED
from tagstack.meta.stack.rung_spec import RungSpec, ruled_spec

VOCABULARY = Vocabulary(("a", "b", "c", "d"), ("general",) * 4)


@pytest.fixture
def comparison(make_comparison: Callable[..., Comparison]) -> Comparison:
    return make_comparison()


def quick(rungs: list[Any], labels: Any, **changes: Any) -> Comparison:
    options: dict[str, Any] = {
        "reference": rungs[0].name,
        "settings": load_settings().compare.model_copy(update={"resamples": 100}),
        "seed": 0,
        "images": [f"{i}.png" for i in range(len(labels))],
        **changes,
    }
    groups = options.pop("groups", np.arange(len(labels)))
    return compare(rungs, sparse.csr_array(labels), VOCABULARY, groups, **options)


def test_every_rung_is_paired_with_the_reference(comparison: Comparison) -> None:
    ours = comparison.rung("stack + decoder").scores["all"]["macro_f"].value
    for rung in comparison.rungs:
        found = rung.differences["all"]["macro_f"]
        assert found.value == pytest.approx(ours - rung.scores["all"]["macro_f"].value)
        assert found.low <= found.value <= found.high
    own = comparison.rung("stack + decoder").differences["all"]["macro_f"]
    assert (own.value, own.low, own.high) == (0, 0, 0)
    assert own.verdict == "no significant difference"


class Copying:
    """Workers that get and give copies, as other processes do."""

    threads = 1

    def __init__(self) -> None:
        self.n_done = 0

    def map(
        self, work: Callable[..., Any], shared: Sequence[Any], tasks: Iterable[Any]
    ) -> Iterator[Any]:
        for task in tasks:
            self.n_done += 1
            theirs = pickle.loads(pickle.dumps((work, shared, task)))
            yield pickle.loads(pickle.dumps(theirs[0](*theirs[1], theirs[2])))


def test_workers_elsewhere_find_the_same(
    make_comparison: Callable[..., Comparison], comparison: Comparison
) -> None:
    workers = Copying()
    with handed_to(workers):
        apart = make_comparison(seed=0)  # made anew
    assert workers.n_done == len(comparison.rungs)
    assert metrics_json(apart, {}) == metrics_json(comparison, {})
    assert tags_csv(apart) == tags_csv(comparison)


def test_every_two_rungs_are_paired_on_the_same_resamples(comparison: Comparison) -> None:
    names = [rung.name for rung in comparison.rungs]
    assert len(comparison.pairs) == len(names) * (len(names) - 1) // 2
    for pair in comparison.pairs:
        assert names.index(pair.first) < names.index(pair.second)
        if pair.second == comparison.reference:
            found = comparison.rung(pair.first).differences["all"]
            for name, mirrored in pair.differences.items():
                ours = found[name]
                assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx(
                    (-ours.value, -ours.high, -ours.low)
                )


def test_each_seed_alone_agrees_with_its_own_comparison(
    make_comparison: Callable[..., Comparison],
) -> None:
    settings = load_settings().compare.model_copy(update={"resamples": 150})
    both = make_comparison(settings=settings.model_copy(update={"seeds": 2}))
    single = settings.model_copy(update={"seeds": 1})
    alone = [make_comparison(settings=single, seed=seed) for seed in (0, 1)]
    assert (both.resamples, both.seeds) == (300, 2)
    for rung in both.rungs:
        for name, found in rung.repeats.items():
            for at, other in enumerate(alone):
                expected = other.rung(rung.name).differences["all"][name]
                assert (found.low[at], found.high[at], found.verdicts[at]) == (
                    expected.low,
                    expected.high,
                    expected.verdict,
                )
    spread = both.rungs[0].repeats["macro_f"].spread
    assert 0 < spread < 0.05


def test_rival_has_other_probabilities_and_singles_are_recognised(comparison: Comparison) -> None:
    assert comparison.rival in ("single:first", "first @ published", "single:second")
    assert comparison.best_single == comparison.rival
    assert comparison.rung("stack").same_proba
    assert not comparison.rung("single:first").same_proba


def test_abstaining_tags_are_not_tagged_and_the_shared_vocabulary_stands_beside(
    comparison: Comparison,
) -> None:
    second = comparison.rung("single:second")
    assert second.votes_on == 11
    assert comparison.n_shared_tags == 11
    assert set(comparison.scopes) == {"all", "supported", "shared"}
    whole, shared = (second.scores[key]["macro_f"].value for key in ("all", "shared"))
    assert whole < shared  # the unknown tag counts as never decided
    assert second.decisions.macro_f == pytest.approx(whole)


def test_tag_table_agrees_with_scikit_learn(make_rung: Callable[..., Any]) -> None:
    rng = np.random.default_rng(1)
    labels = rng.random((200, 4)) < 0.3
    ours = np.clip(labels * 0.6 + rng.random((200, 4)) * 0.5, 0, 1)
    theirs = rng.random((200, 4))
    found = quick([make_rung("ours", ours), make_rung("theirs", theirs)], labels).tags
    assert found.f == pytest.approx(f1_score(labels, ours >= 0.5, average=None))
    assert found.rival_f == pytest.approx(f1_score(labels, theirs >= 0.5, average=None))
    assert found.difference == pytest.approx(found.f - found.rival_f, abs=1e-6)
    assert (found.difference_low < found.difference).all()
    assert (found.difference_high > found.difference).all()
    assert set(found.verdict) == {"better"}


def test_labels_shuffled_between_images_leave_nothing_to_win(
    make_rung: Callable[..., Any],
) -> None:
    rng = np.random.default_rng(2)
    labels = rng.random((200, 4)) < 0.3
    signal = np.where(labels, 1.0, -1.0)
    ours, theirs = (1 / (1 + np.exp(-signal - rng.normal(size=(200, 4)) * s)) for s in (0.6, 1.8))
    rungs = [make_rung("ours", ours), make_rung("theirs", theirs)]
    real = quick(rungs, labels).rungs[1].differences["all"]
    assert real["macro_ap"].verdict == "better"
    called = 0
    for _ in range(30):
        found = quick(rungs, labels[rng.permutation(200)])
        called += found.rungs[1].differences["all"]["macro_ap"].verdict != UNDECIDED
    assert called <= 6  # 1.5 of 30 are expected by chance


def test_order_of_images_does_not_matter(make_rung: Callable[..., Any]) -> None:
    rng = np.random.default_rng(3)
    labels = rng.random((150, 4)) < 0.3
    probas = [np.clip(labels + rng.normal(size=(150, 4)) * s, 0, 1) for s in (0.4, 0.9)]
    groups = rng.integers(0, 60, 150)
    order = rng.permutation(150)
    names = [f"{i}.png" for i in range(150)]
    one = quick(
        [make_rung(n, p) for n, p in zip("ab", probas, strict=True)],
        labels,
        groups=groups,
        images=names,
    )
    two = quick(
        [make_rung(n, p[order]) for n, p in zip("ab", probas, strict=True)],
        labels[order],
        groups=groups[order],
        images=[names[i] for i in order],
    )
    for scope, scores in one.rungs[1].differences.items():
        for name, found in scores.items():
            again = two.rungs[1].differences[scope][name]
            assert (found.low, found.high) == pytest.approx((again.low, again.high))
    assert one.worst == two.worst


def test_the_same_input_gives_the_same_result(make_comparison: Callable[..., Comparison]) -> None:
    assert repr(make_comparison(seed=0)) == repr(make_comparison(seed=0))


def test_larger_groups_widen_the_interval(make_rung: Callable[..., Any]) -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat(rng.random((40, 4)) < 0.3, 10, axis=0)
    noise = np.repeat(rng.normal(size=(40, 4)), 10, axis=0)
    rungs = [make_rung("ours", labels * 0.9), make_rung("theirs", np.clip(labels + noise, 0, 1))]
    widths = []
    for groups in (np.arange(400), np.arange(400) // 10):
        found = quick(rungs, labels, groups=groups).rungs[1].differences["all"]["micro_f"]
        widths.append(found.high - found.low)
    assert widths[1] > 2 * widths[0]


def test_slices_bands_and_categories_are_compared(comparison: Comparison) -> None:
    kinds = {part.kind for part in comparison.parts}
    assert kinds == {"category", "frequency", "rating"}
    ratings = [part for part in comparison.parts if part.kind == "rating"]
    assert [(part.title, part.n_images) for part in ratings] == [("g", 80), ("s", 40)]
    assert set(ratings[0].differences) == {"micro_f", "macro_f", "macro_ap", "sample_f", "micro_ap"}


def test_rare_values_of_a_column_are_pooled(make_comparison: Callable[..., Comparison]) -> None:
    values = [str(i) if i < 30 else "common" for i in range(120)]
    settings = load_settings().compare.model_copy(update={"resamples": 100, "max_slice_values": 3})
    found = make_comparison(slices={"title": values}, settings=settings)
    titles = [part.title for part in found.parts if part.kind == "title"]
    assert titles == ["0", "1", "common", "other values"]


def test_decoder_changes_are_counted_right_and_wrong(make_rung: Callable[..., Any]) -> None:
    labels = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], bool)
    proba = np.array([[0.9, 0.8, 0, 0], [0.9, 0.6, 0, 0], [0, 0, 0.4, 0]])
    plain = make_rung("plain", proba)
    after = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]], bool)
    decoded = replace(make_rung("decoded", proba), decided=sparse.csr_array(after))
    found = quick([plain, decoded], labels, reference="decoded").changes
    assert found is not None
    counts = (found.removed_right, found.removed_wrong, found.added_right, found.added_wrong)
    assert counts == (1, 1, 1, 1)
    assert found.images_changed == 3


def test_confusion_counts_none_and_several(make_rung: Callable[..., Any]) -> None:
    labels = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]], bool)
    ours = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)
    rules = Rules(exclusives=(Exclusive(id="g", source="test", tags=("a", "b", "c")),))
    found = quick([make_rung("ours", ours)], labels, rules=rules.bind(VOCABULARY))
    (confusion,) = found.confusions
    assert confusion.names == ("a", "b", "c", "other tags", "none", "several")
    expected = np.zeros((6, 6), int)
    expected[0, 0] = expected[0, 5] = expected[4, 1] = expected[1, 4] = 1
    assert np.array_equal(confusion.counts, expected)


def test_worst_images_name_what_is_wrong_and_missed(make_rung: Callable[..., Any]) -> None:
    labels = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool)
    ours = np.array([[0.9, 0, 0, 0], [0.8, 0.2, 0.7, 0.9], [0, 0, 0, 0.4]])
    first, second = quick([make_rung("ours", ours)], labels).worst
    assert first.image == "1.png"
    assert [(item.tag, round(item.proba, 2)) for item in first.wrong] == [("d", 0.9), ("a", 0.8)]
    assert [(item.tag, round(item.proba, 2)) for item in first.missed] == [("b", 0.2)]
    assert [item.tag for item in first.right] == ["c"]
    assert second.image == "2.png"


def test_tags_without_positives_are_counted_and_left_out(make_rung: Callable[..., Any]) -> None:
    rng = np.random.default_rng(5)
    labels = rng.random((50, 4)) < 0.4
    labels[:, 3] = False
    found = quick([make_rung("ours", labels * 0.9), make_rung("bad", 1 - labels * 0.9)], labels)
    assert found.n_tags_without_positives == 1
    assert found.rung("ours").scores["all"]["macro_f"].value == 1.0
    assert np.isnan(found.tags.ap[3])


def test_one_rung_alone_has_no_rival(make_rung: Callable[..., Any]) -> None:
    labels = np.eye(4, dtype=bool)
    found = quick([make_rung("ours", labels * 0.9)], labels)
    assert (found.rival, found.best_single) == ("", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "nobody"}, "The reference 'nobody' is no rung"),
        ({"images": ["0.png"]}, r"labels must have shape \(n_images, n_tags\) = \(1, 4\)"),
        ({"groups": np.zeros(3, int)}, "one group per image, 4, got 3"),
        ({"slices": {"year": ["1"]}}, "Column 'year' must have one value per image, 4, got 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    make_rung: Callable[..., Any], change: dict[str, Any], message: str
) -> None:
    labels = np.eye(4, dtype=bool)
    with pytest.raises(TagstackError, match=message):
        quick([make_rung("ours", labels * 0.9)], labels, **change)


def test_two_rungs_of_one_name_are_refused(make_rung: Callable[..., Any]) -> None:
    labels = np.eye(4, dtype=bool)
    with pytest.raises(TagstackError, match=r"Rungs share a name: \['ours'\]"):
        quick([make_rung("ours", labels * 0.9)] * 2, labels)


def test_bands_that_do_not_ascend_are_refused() -> None:
    values = load_settings().compare.model_dump() | {"frequency_bands": (1, 5, 5)}
    with pytest.raises(ValueError, match="frequency_bands must ascend from 1 or more"):
        type(load_settings().compare).model_validate(values)


def test_curves_hold_points_of_the_full_curve(make_rung: Callable[..., Any]) -> None:
    rng = np.random.default_rng(6)
    labels = rng.random((500, 4)) < np.array([0.5, 0.2, 0.02, 0.0])
    proba = 1 / (1 + np.exp(-np.where(labels, 1, -1) - rng.normal(size=(500, 4))))
    found = quick([make_rung("ours", proba.astype(np.float32))], labels).curves
    assert found.indptr[4] == found.indptr[3]  # no positive, no curve
    for tag in range(3):
        points = slice(found.indptr[tag], found.indptr[tag + 1])
        assert 10 <= points.stop - points.start <= 40 + 10
        assert (np.diff(found.recall[points]) >= 0).all()
        for recall, precision, cut in zip(
            found.recall[points], found.precision[points], found.proba[points], strict=True
        ):
            kept = proba[:, tag].astype(np.float32) >= np.float32(cut)
            assert recall == pytest.approx(labels[kept, tag].sum() / labels[:, tag].sum())
            assert precision == pytest.approx(labels[kept, tag].mean())
        assert found.recall[points][-1] == 1


def test_a_learner_inside_the_reference_is_no_rival(make_proba: Callable[..., Any]) -> None:
    proba, dense = make_proba(0)
    other, _ = make_proba(1)
    labels = sparse.csr_array(dense)
    never = sparse.csr_array(np.zeros(dense.shape, bool))

    def rung(name: str, own: PairProba, decided: Any, *, part: bool = False) -> Rung:
        return Rung(
            spec=RungSpec(name=name, title=name, kind="learner", part_of="stack" * part),
            proba=own,
            decided=decided,
            thresholds=None,
            note="",
        )

    ours = rung("stack", proba, labels)
    learner = rung("learner", other, labels, part=True)
    mean = rung("mean", other, never)
    assert rival_of([mean, learner, ours], ours, labels, beta=1.0) is mean
    assert rival_of([learner, ours], ours, labels, beta=1.0) is ours


def twins(make_rung: Callable[..., Any], labels: Any, rng: np.random.Generator) -> list[Rung]:
    """Return two ways of tagging, each without and with rules that take the last tag away."""
    found = []
    for name, kind in (("other", "average"), ("stack", "stack")):
        noise = rng.random(labels.shape) * (0.5 if kind == "stack" else 0.8)
        made = make_rung(name, np.minimum(0.6 * labels + noise, 1), kind=kind)
        kept = made.decided.toarray()
        kept[:, -1] = False
        found += [
            made,
            replace(made, spec=ruled_spec(made.spec), decided=sparse.csr_array(kept)),
        ]
    return found


def test_leads_are_like_for_like_and_rules_are_a_figure_of_their_own(
    make_rung: Callable[..., Any], rng: np.random.Generator
) -> None:
    labels = rng.random((200, 4)) < 0.4
    found = quick(twins(make_rung, labels, rng), labels, reference="stack + decoder")
    assert found.rival == "other + decoder"
    score = {rung.name: rung.scores["all"]["macro_f"].value for rung in found.rungs}
    for name, other in (("other", "stack"), ("other + decoder", "stack + decoder")):
        lead = found.rung(name).differences["all"]["macro_f"].value
        assert lead == pytest.approx(score[other] - score[name])
    cost = found.lead("stack + decoder", "stack")["macro_f"]
    assert cost.verdict == "worse"
    assert cost.value == pytest.approx(score["stack + decoder"] - score["stack"])
    text = " ".join(sublines(found))
    assert "What the stack gains, without rules on either side, over other: macro-F1 +" in text
    assert f"What the rules gain or cost: macro-F1 {signed(cost.value)}" not in text  # no rules


def test_rungs_of_the_same_probabilities_share_their_ranking(
    make_rung: Callable[..., Any], rng: np.random.Generator
) -> None:
    """Average precision is computed once for both twins, with pairs unknown or not."""
    labels = rng.random((60, 4)) < 0.4
    unknown = sparse.csr_array(rng.random((60, 4)) < 0.1)
    rungs = twins(make_rung, labels, rng)
    alone = [replace(rung, proba=replace(rung.proba)) for rung in rungs]
    for options in ({}, {"unknown": unknown}):
        one, two = (quick(own, labels, reference="stack", **options) for own in (rungs, alone))
        for mine, theirs in zip(one.rungs, two.rungs, strict=True):
            assert mine.scores == theirs.scores
