import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.learners.workers import handed_to
from tagstack.meta.metrics.ranking import average_precision, micro_average_precision
from tagstack.meta.stack.stacker import Stacker

MakeLabelled = Callable[..., Any]

Make = Callable[..., StackSettings]


def fitted(data: Any, settings: StackSettings, threads: int = 1, **keywords: Any) -> Stacker:
    relations = keywords.pop("relations", TagRelations.none(len(data.scores.vocabulary)))
    stacker = Stacker(settings, seed=0, threads=threads)
    return stacker.fit(data.scores, data.labels, data.groups, relations, **keywords)


def same(first: PairProba, second: PairProba) -> bool:
    return first.proba.tobytes() == second.proba.tobytes() and (
        first.base.tobytes() == second.base.tobytes()
    )


def macro(proba: PairProba, labels: sparse.csr_array) -> float:
    return float(np.nanmean(average_precision(proba, labels)))


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """Return where a fit lies that several tests look at."""
    return {}


@pytest.fixture
def whole(
    kept: dict[str, Any],
    make_labelled: MakeLabelled,
    stack_settings: Make,
    relations: TagRelations,
) -> tuple[Any, Any, Stacker]:
    """Return images, other images, and a stack of every learner fitted on the first."""
    if not kept:
        data, fresh = make_labelled(n_images=150), make_labelled(n_images=30)
        kept["whole"] = data, fresh, fitted(data, stack_settings(), relations=relations)
    found: tuple[Any, Any, Stacker] = kept["whole"]
    return found


@pytest.fixture
def relations() -> TagRelations:
    parents = sparse.lil_array((12, 12), dtype=bool)
    parents[4, 0] = parents[5, 0] = True
    return TagRelations(parents.tocsr(), ((1, 2, 3), (6, 7)))


def test_every_rung_is_there_out_of_fold_and_on_new_images(
    whole: tuple[Any, Any, Stacker],
) -> None:
    data, fresh, stacker = whole
    assert stacker.rungs_ == (
        "single:member_0", "single:member_1", "single:member_2", "mean", "calibrated_mean",
        "caruana", "shrunken_logistic", "svm", "lightgbm", "xgboost", "blend",
    )  # fmt: skip
    assert stacker.chosen_ in stacker.rungs_
    predicted = stacker.predict_rungs(fresh.scores, stacker.rungs_)
    for rung in stacker.rungs_:
        held = stacker.out_of_fold(rung)
        assert len(held.proba) == len(data.scores.pairs)
        for proba in (held, predicted[rung]):
            assert ((proba.proba >= 0) & (proba.proba <= 1)).all()
            assert ((proba.base >= 0) & (proba.base <= 1)).all()
    assert same(stacker.predict_proba(fresh.scores), predicted[stacker.chosen_])
    assert [row.rung for row in stacker.ladder_] == list(stacker.rungs_)
    assert stacker.candidate_recall_ > 0.95


def test_stack_beats_its_best_member_on_new_images(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    noise = (3.0, 3.5, 4.0)
    data, fresh = make_labelled(500, noise=noise), make_labelled(500, noise=noise)
    stacker = fitted(data, stack_settings())
    rungs = stacker.predict_rungs(fresh.scores, stacker.rungs_)
    singles = [rungs[r] for r in stacker.rungs_ if r.startswith("single:")]
    chosen = rungs[stacker.chosen_]

    assert macro(chosen, fresh.labels) > max(macro(s, fresh.labels) for s in singles) + 0.05
    micro = [micro_average_precision(s, fresh.labels) for s in singles]
    assert micro_average_precision(chosen, fresh.labels) > max(micro) + 0.05


def test_labels_without_relation_to_the_scores_give_chance(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    """A leak of a row's own label into its out-of-fold value would score above chance."""
    data = make_labelled(n_images=600)
    shuffled = data.labels[np.random.default_rng(5).permutation(600)]
    stacker = Stacker(stack_settings(), seed=0, threads=1).fit(
        data.scores, shuffled, np.arange(600), TagRelations.none(12)
    )
    share = np.asarray(shuffled.mean(axis=0)).ravel()
    for rung in ("caruana", "shrunken_logistic", "svm", "lightgbm", "xgboost", "blend"):
        lift = average_precision(stacker.out_of_fold(rung), shuffled) - share
        assert abs(float(np.mean(lift))) < 0.035, rung


def test_out_of_fold_values_of_the_logistic_do_not_know_the_row_s_own_labels(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data = make_labelled(n_images=120)
    settings = stack_settings(learners=())
    first = fitted(data, settings)
    image = 17
    in_fold = np.flatnonzero(first.folds_ == first.folds_[image])
    changed = data.labels.toarray()
    changed[in_fold] = ~changed[in_fold]

    from tagstack.meta.labels.labelled import Labelled
    from tagstack.meta.labels.truth import Evidence
    from tagstack.meta.stack.groundwork import Strengths
    from tagstack.meta.stack.out_of_fold import cross_fitted_ground

    grounds = [
        cross_fitted_ground(
            Labelled(
                scores=data.scores, evidence=Evidence.of(labels), folds=first.folds_,
                groups=data.groups, relations=TagRelations.none(12),
            ),
            Strengths(calibration=100.0, logistic=300.0), settings,
        )[1]
        for labels in (data.labels, sparse.csr_array(changed))
    ]  # fmt: skip
    rows = data.scores.pairs.rows(in_fold)
    others = np.setdiff1d(np.arange(len(data.scores.pairs)), rows)
    np.testing.assert_array_equal(grounds[0].listed[rows], grounds[1].listed[rows])
    assert (grounds[0].listed[others] != grounds[1].listed[others]).any()


def test_a_single_image_is_predicted_like_one_of_many(whole: tuple[Any, Any, Stacker]) -> None:
    _, fresh, stacker = whole
    together = stacker.predict_rungs(fresh.scores, stacker.rungs_)
    shuffled = np.random.default_rng(2).permutation(30)
    for rung in stacker.rungs_:
        alone = stacker.predict_proba(fresh.scores.take(np.array([11])), rung)
        assert same(alone, together[rung].take(np.array([11]))), rung
        permuted = stacker.predict_proba(fresh.scores.take(shuffled), rung)
        assert same(permuted, together[rung].take(shuffled)), rung


def test_same_bits_after_saving_and_loading(
    whole: tuple[Any, Any, Stacker], tmp_path: Path
) -> None:
    _, fresh, stacker = whole
    stacker.save(tmp_path)
    loaded = Stacker.load(tmp_path)

    assert (loaded.chosen_, loaded.rungs_) == (stacker.chosen_, stacker.rungs_)
    assert loaded.ladder_ == stacker.ladder_
    for rung, proba in stacker.predict_rungs(fresh.scores, stacker.rungs_).items():
        assert same(loaded.predict_proba(fresh.scores, rung), proba), rung
    with pytest.raises(TagstackError, match="loaded stack holds no out-of-fold"):
        loaded.out_of_fold("mean")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "stack.json").write_text("{", encoding="utf-8"),
            r"stack\.json: not valid JSON: .*line 1 column 2.*Restore or correct the file",
        ),
        (
            lambda folder: (folder / "stack.safetensors").write_bytes(b"\x00" * 40),
            "bundle is incomplete or damaged",
        ),
        (
            lambda folder: (folder / "svm.safetensors").unlink(),
            "bundle is incomplete or damaged",
        ),
    ],
)
def test_a_damaged_stack_is_refused(
    whole: tuple[Any, Any, Stacker],
    tmp_path: Path,
    damage: Callable[[Path], object],
    message: str,
) -> None:
    whole[2].save(tmp_path)
    damage(tmp_path)
    with pytest.raises(TagstackError, match=message):
        Stacker.load(tmp_path)


def test_a_stack_of_another_version_is_refused(
    whole: tuple[Any, Any, Stacker], tmp_path: Path
) -> None:
    whole[2].save(tmp_path)
    record = json.loads((tmp_path / "stack.json").read_text(encoding="utf-8"))
    (tmp_path / "stack.json").write_text(json.dumps(record | {"version": 99}), encoding="utf-8")
    with pytest.raises(TagstackError, match="has version 99"):
        Stacker.load(tmp_path)


def test_result_does_not_depend_on_threads(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data, fresh = make_labelled(n_images=120), make_labelled(n_images=40)
    one = fitted(data, stack_settings(trials=2))
    two = fitted(data, stack_settings(trials=2), threads=2)

    assert one.ladder_ == two.ladder_
    for rung, proba in one.predict_rungs(fresh.scores, one.rungs_).items():
        assert same(two.predict_proba(fresh.scores, rung), proba), rung


class Copying:
    """Workers that get and give copies, as other processes do."""

    threads = 1

    def __init__(self) -> None:
        self.done: list[str] = []

    def map(
        self, work: Callable[..., Any], shared: Sequence[Any], tasks: Iterable[Any]
    ) -> Iterator[Any]:
        for task in tasks:
            self.done.append(work.__name__)
            theirs, ours = (
                pickle.loads(pickle.dumps((work, task))),
                pickle.loads(pickle.dumps(shared)),
            )
            yield pickle.loads(pickle.dumps(theirs[0](*ours, theirs[1])))


def test_workers_elsewhere_give_the_same_files(
    make_labelled: MakeLabelled, stack_settings: Make, tmp_path: Path
) -> None:
    data, settings = make_labelled(n_images=90), stack_settings(trials=2)
    workers = Copying()
    with handed_to(workers):
        apart = fitted(data, settings, threads=2)
    here = fitted(data, settings, threads=2)

    assert {*workers.done} == {"_on_one_thread", "_split_score", "_without_fold", "_fitted_on_all"}
    written = []
    for name, stacker in (("apart", apart), ("here", here)):
        stacker.save(tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        written.append(
            {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}
        )
    assert written[0] == written[1]


def test_fit_leaves_its_inputs_alone(make_labelled: MakeLabelled, stack_settings: Make) -> None:
    data = make_labelled(n_images=60)
    before = (data.scores.logit.copy(), data.labels.toarray(), data.groups.copy())
    fitted(data, stack_settings(learners=("lightgbm",)))
    np.testing.assert_array_equal(data.scores.logit, before[0])
    np.testing.assert_array_equal(data.labels.toarray(), before[1])
    np.testing.assert_array_equal(data.groups, before[2])


def without(scores: Level1Scores, member: int, tags: list[int]) -> Level1Scores:
    """Return the scores of members of which one lacks some tags."""
    knows, logit = scores.knows.copy(), scores.logit.copy()
    knows[member, tags] = False
    logit[member, np.isin(scores.pairs.tag, tags)] = np.nan
    return Level1Scores(
        images=scores.images, vocabulary=scores.vocabulary, members=scores.members, knows=knows,
        floor=scores.floor, pairs=scores.pairs, logit=logit,
    )  # fmt: skip


def test_a_member_that_lacks_a_tag_abstains(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data = make_labelled(n_images=200)
    lacking = without(data.scores, 0, [2, 5])
    stacker = Stacker(stack_settings(), seed=0, threads=1).fit(
        lacking, data.labels, data.groups, TagRelations.none(12)
    )
    rungs = stacker.predict_rungs(lacking, stacker.rungs_)
    unknown = np.isin(lacking.pairs.tag, [2, 5])
    single = rungs["single:member_0"]
    assert np.isnan(single.proba[unknown]).all()
    assert not np.isnan(single.proba[~unknown]).any()
    np.testing.assert_array_equal(np.isnan(single.base), np.isin(np.arange(12), [2, 5]))
    for rung in stacker.rungs_[1:]:
        assert not np.isnan(rungs[rung].proba).any(), rung
        assert not np.isnan(rungs[rung].base).any(), rung
    ap = average_precision(rungs[stacker.chosen_], data.labels)
    assert (ap[[2, 5]] > 0.4).all()  # the other members still speak for these tags


@pytest.mark.parametrize("noise", [(1.0,), (1.0, 1.0), (1.0, 30.0)])
def test_one_member_copies_and_noise_do_no_harm(
    make_labelled: MakeLabelled, stack_settings: Make, noise: tuple[float, ...]
) -> None:
    data, fresh = make_labelled(n_images=300, noise=noise), make_labelled(300, noise=noise)
    if noise == (1.0, 1.0):
        for part in (data, fresh):
            part.scores.logit[1] = part.scores.logit[0]
    stacker = fitted(data, stack_settings())
    rungs = stacker.predict_rungs(fresh.scores, [stacker.chosen_, "single:member_0"])
    best = macro(rungs["single:member_0"], fresh.labels)
    assert macro(rungs[stacker.chosen_], fresh.labels) > best - 0.03


def test_tags_without_positives_stay_low_and_break_nothing(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data = make_labelled(n_images=150)
    labels = data.labels.toarray()
    labels[:, [0, 7]] = False
    labels[:, 3] = False
    labels[4, 3] = True
    stacker = Stacker(stack_settings(), seed=0, threads=1).fit(
        data.scores, sparse.csr_array(labels), data.groups, TagRelations.none(12)
    )
    proba = stacker.predict_proba(data.scores)
    assert not np.isnan(proba.proba).any()
    tag = data.scores.pairs.tag
    assert proba.proba[tag == 0].mean() < proba.proba[tag == 1].mean()


def test_no_label_at_all_answers_the_calibrated_mean(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data = make_labelled(n_images=60)
    none = sparse.csr_array(data.labels.shape, dtype=bool)
    stacker = Stacker(stack_settings(trials=2), seed=0, threads=1).fit(
        data.scores, none, data.groups, TagRelations.none(12)
    )
    assert stacker.chosen_ == "calibrated_mean"
    assert not np.isnan(stacker.predict_proba(data.scores).proba).any()


def test_one_tag(make_labelled: MakeLabelled, stack_settings: Make) -> None:
    data = make_labelled(n_images=90, n_tags=1)
    stacker = fitted(data, stack_settings())
    assert macro(stacker.predict_proba(data.scores), data.labels) > 0.7


def test_one_image_is_refused_with_the_number_needed(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data = make_labelled(n_images=1)
    with pytest.raises(TagstackError, match=r"at least 6 labelled images for 3 folds, got 1"):
        fitted(data, stack_settings())


def test_one_group_is_refused(make_labelled: MakeLabelled, stack_settings: Make) -> None:
    data = make_labelled(n_images=30)
    with pytest.raises(TagstackError, match="need at least 3 groups of labelled images, got 1"):
        Stacker(stack_settings(), seed=0, threads=1).fit(
            data.scores, data.labels, np.zeros(30, np.int64), TagRelations.none(12)
        )


def test_foreign_scores_rungs_and_relations_are_refused(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data = make_labelled(n_images=60)
    stacker = fitted(data, stack_settings(learners=()))
    with pytest.raises(TagstackError, match=r"fitted on .*'member_2'"):
        stacker.predict_proba(make_labelled(20, noise=(1.0,)).scores)
    with pytest.raises(TagstackError, match="not the 12 tags of the stack"):
        stacker.predict_proba(make_labelled(20, n_tags=5).scores)
    with pytest.raises(TagstackError, match="Unknown rung 'median'"):
        stacker.predict_proba(data.scores, "median")
    with pytest.raises(TagstackError, match="relations are over 3 tags, the scores over 12"):
        fitted(data, stack_settings(), relations=TagRelations.none(3))
    with pytest.raises(TagstackError, match=r"Expected labels of shape \(60, 12\)"):
        Stacker(stack_settings(), seed=0, threads=1).fit(
            data.scores, data.labels[:50], data.groups, TagRelations.none(12)
        )


def test_columns_on_disk_and_few_pairs_at_a_time_give_the_same_stack(
    make_labelled: MakeLabelled,
    stack_settings: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tagstack.base_models import spill
    from tagstack.base_models.pairs import Pairs

    data, settings = make_labelled(n_images=90), stack_settings(learners=("lightgbm",))
    plain = fitted(data, settings)
    monkeypatch.setattr(spill.Spill.__init__, "__defaults__", (None, 1))
    on_disk = fitted(data, settings, scratch_dir=tmp_path)
    assert not list(tmp_path.iterdir())
    for rung in plain.rungs_:
        assert not on_disk.out_of_fold(rung).proba.flags.owndata, rung
        assert same(plain.out_of_fold(rung), on_disk.out_of_fold(rung)), rung
    monkeypatch.setattr(Pairs.blocks, "__defaults__", (50,))
    few = fitted(data, settings, scratch_dir=tmp_path)
    for rung in plain.rungs_:
        first, second = plain.out_of_fold(rung), few.out_of_fold(rung)
        np.testing.assert_allclose(first.proba, second.proba, atol=1e-5, err_msg=rung)
    assert [row.rung for row in plain.ladder_] == [row.rung for row in few.ladder_]
    for row, other in zip(plain.ladder_, few.ladder_, strict=True):
        assert row.macro_ap == pytest.approx(other.macro_ap, abs=1e-4)
