"""One contract for all learners, and what is particular to those of other packages."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.configs.stack import StackSettings
from tagstack.meta.learners.estimator import PairEstimator
from tagstack.meta.learners.linear_svm import LinearSvms
from tagstack.meta.learners.meta_trees import MetaTrees
from tagstack.meta.learners.pair_trees import PairTrees
from tagstack.meta.learners.protocol import PairLearner, StagedLearner, StageTeller
from tagstack.meta.learners.registry import level_two, make_learner, with_rounds
from tagstack.meta.stack.fold_fits import FoldFits
from tagstack.meta.stack.foundation import Foundation

Make = Callable[..., StackSettings]
Install = Callable[..., Path]
Lay = Callable[..., Foundation]
Learner = TypeVar("Learner", bound=PairLearner)


@pytest.fixture(scope="module")
def kept() -> dict[str, Foundation]:
    """Return where the one foundation lies that learners of all kinds leave alone."""
    return {}


class LearnerContract(Generic[Learner]):
    """What the stack relies on. A learner's test class says how it is made, and inherits."""

    def make(self, settings: StackSettings, threads: int = 1) -> Learner:
        raise NotImplementedError

    @pytest.fixture
    def settings(self, stack_settings: Make) -> StackSettings:
        return stack_settings()

    @pytest.fixture
    def laid(self, lay: Lay, kept: dict[str, Foundation]) -> Foundation:
        if not kept:
            kept["laid"] = lay(n_images=150)
        return kept["laid"]

    def test_fit_returns_the_learner_and_leaves_its_arguments_alone(
        self, settings: StackSettings, laid: Foundation
    ) -> None:
        table, true = laid.ground.table, laid.fitter.true
        before = (table.values.copy(), table.logit.copy(), true.copy())
        learner = self.make(settings)
        assert learner.fit(table, true) is learner
        learner.predict_logit(table)
        for array, kept in zip((table.values, table.logit, true), before, strict=True):
            np.testing.assert_array_equal(array, kept)

    def test_fitting_again_starts_anew(self, settings: StackSettings, laid: Foundation) -> None:
        table = laid.ground.table
        once = self.make(settings).fit(table, laid.fitter.true).predict_logit(table)
        again = self.make(settings).fit(table, ~laid.fitter.true).fit(table, laid.fitter.true)
        assert again.predict_logit(table).tobytes() == once.tobytes()

    def test_an_image_is_judged_alone(self, settings: StackSettings, laid: Foundation) -> None:
        table = laid.ground.table
        fitted = self.make(settings).fit(table, laid.fitter.true)
        together = fitted.predict_logit(table)
        assert together.shape == (len(table.pairs),)
        assert np.isfinite(together).all()
        images = np.random.default_rng(1).permutation(150)
        permuted = fitted.predict_logit(table.take(images))
        assert permuted.tobytes() == together[table.pairs.rows(images)].tobytes()
        alone = fitted.predict_logit(table.take(np.array([7])))
        assert alone.tobytes() == together[table.pairs.rows(np.array([7]))].tobytes()
        assert fitted.predict_logit(table.take(np.array([], np.intp))).shape == (0,)

    def test_threads_do_not_matter(
        self, settings: StackSettings, laid: Foundation, tmp_path: Path
    ) -> None:
        table, told, written = laid.ground.table, [], []
        for threads in (1, 2, 5):
            fitted = self.make(settings, threads).fit(table, laid.fitter.true)
            told.append(fitted.predict_logit(table).tobytes())
            folder = tmp_path / str(threads)
            folder.mkdir()
            fitted.save(folder)
            files = [path for path in folder.rglob("*") if path.is_file()]
            written.append({path.relative_to(folder): path.read_bytes() for path in files})
        assert told[0] == told[1] == told[2]
        assert written[0] == written[1] == written[2]

    def test_saved_and_restored_bit_for_bit(
        self, settings: StackSettings, laid: Foundation, tmp_path: Path
    ) -> None:
        table = laid.ground.table
        fitted = self.make(settings).fit(table, laid.fitter.true)
        folder = tmp_path / "saved"
        folder.mkdir()
        fitted.save(folder)
        restored = self.make(settings).restore(folder)
        assert restored.predict_logit(table).tobytes() == fitted.predict_logit(table).tobytes()
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files
        for path in files:
            with pytest.raises(
                (pickle.UnpicklingError, ValueError, EOFError, KeyError, IndexError)
            ):
                pickle.loads(path.read_bytes())

    def test_labels_of_weight_0_have_no_say(
        self, settings: StackSettings, laid: Foundation
    ) -> None:
        table, true = laid.ground.table, laid.fitter.true
        hidden = np.random.default_rng(2).random(len(true)) < 0.3
        weight = np.where(hidden, 0.0, 1.0)
        honest, garbled = (
            self.make(settings).fit(table, labels, weight).predict_logit(table)
            for labels in (true, np.where(hidden, ~true, true))
        )
        assert honest.tobytes() == garbled.tobytes()

    def test_a_row_s_label_does_not_reach_its_own_out_of_fold_value(
        self, settings: StackSettings, laid: Foundation
    ) -> None:
        table, true, folds = laid.ground.table, laid.fitter.true, laid.data.folds
        own = folds[table.pairs.image] == 1
        first, second = (
            FoldFits.of(
                lambda: self.make(settings), table, labels, folds, laid.fitter.weight
            ).logit()
            for labels in (true, np.where(own, ~true, true))
        )
        assert first[own].tobytes() == second[own].tobytes()
        assert (first[~own] != second[~own]).any()

    def test_one_class_alone_gives_finite_logits(
        self, settings: StackSettings, laid: Foundation
    ) -> None:
        table = laid.ground.table
        for labels in (
            np.zeros(len(laid.fitter.true), bool),
            np.ones(len(laid.fitter.true), bool),
        ):
            assert np.isfinite(self.make(settings).fit(table, labels).predict_logit(table)).all()

    def test_it_learns(self, settings: StackSettings, laid: Foundation) -> None:
        table, true = laid.ground.table, laid.fitter.true
        logit = FoldFits.of(
            lambda: self.make(settings),
            table,
            true,
            laid.data.folds,
            laid.fitter.weight,
        ).logit()
        assert logit[true].mean() > logit[~true].mean() + 1


class EstimatorContract(LearnerContract[PairEstimator]):
    """What the built-in learners promise besides: scikit-learn's conventions."""

    def test_it_clones_like_an_estimator(self, settings: StackSettings, laid: Foundation) -> None:
        learner = self.make(settings).fit(laid.ground.table, laid.fitter.true)
        copy = clone(learner)
        assert copy.get_params(deep=False) == learner.get_params(deep=False)
        with pytest.raises(TagstackError, match=f"This {type(learner).__name__} is not fitted"):
            copy.predict_logit(laid.ground.table)
        assert repr(copy) == repr(learner)

    def test_parameters_are_set_one_by_one(self, settings: StackSettings) -> None:
        learner = self.make(settings)
        before = learner.get_params(deep=False)["settings"]
        field = next(name for name in learner.get_params() if name.startswith("settings__"))
        value = learner.get_params()[field]
        assert learner.set_params(seed=5, **{field: value + 1}) is learner
        assert learner.get_params()["seed"] == 5
        assert learner.get_params()[field] == value + 1
        assert getattr(before, field.removeprefix("settings__")) == value  # frozen, not changed
        with pytest.raises(TagstackError, match=r"has no parameter 'depht'; it has \['settings'"):
            learner.set_params(depht=3)

    def test_probabilities_are_those_of_the_logits(
        self, settings: StackSettings, laid: Foundation
    ) -> None:
        table = laid.ground.table
        fitted = self.make(settings).fit(table, laid.fitter.true)
        proba = fitted.predict_proba(table)
        np.testing.assert_allclose(proba.sum(axis=1), 1)
        np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-fitted.predict_logit(table))))
        assert fitted.classes_.tolist() == [False, True]


class TestLinearSvms(EstimatorContract):
    def make(self, settings: StackSettings, threads: int = 1) -> LinearSvms:
        return LinearSvms(settings.svm, seed=0, threads=threads)


class StagedContract(EstimatorContract):
    """What learners made of rounds promise besides."""

    name: str

    def test_stopped_early_it_is_what_fewer_rounds_would_have_given(
        self, settings: StackSettings, laid: Foundation, tmp_path: Path
    ) -> None:
        table, true = laid.ground.table, laid.fitter.true
        fitted = self.make(with_rounds(settings, self.name, 12)).fit(table, true)
        whole = fitted.predict_logit(table)
        fewer = self.make(with_rounds(settings, self.name, 5)).fit(table, true)
        stopped = cast("StagedLearner", fitted).stopped_at(5)
        assert stopped.predict_logit(table).tobytes() == fewer.predict_logit(table).tobytes()
        assert fitted.predict_logit(table).tobytes() == whole.tobytes()
        assert stopped.predict_logit(table).tobytes() != whole.tobytes()
        stopped.save(tmp_path)
        restored = self.make(settings).restore(tmp_path)
        assert restored.predict_logit(table).tobytes() == fewer.predict_logit(table).tobytes()

    def test_what_it_says_after_each_stage_is_what_it_would_say_stopped_there(
        self, settings: StackSettings, laid: Foundation
    ) -> None:
        table, true = laid.ground.table, laid.fitter.true
        fitted = self.make(with_rounds(settings, self.name, 12)).fit(table, true)
        staged = cast("StagedLearner", fitted)
        told = list(cast("StageTeller", fitted).stage_logits(table, (3, 7, 12)))
        for rounds, logit in zip((3, 7, 12), told, strict=True):
            stopped = staged.stopped_at(rounds).predict_logit(table)
            np.testing.assert_allclose(logit, stopped, atol=1e-5)
        none = table.take(np.zeros(0, np.int64))
        said = cast("StageTeller", fitted).stage_logits(none, (3, 12))
        assert [len(logit) for logit in said] == [0, 0]


class TestPairTrees(StagedContract):
    name = "lightgbm"

    def make(self, settings: StackSettings, threads: int = 1) -> PairTrees:
        return PairTrees(settings.lightgbm, seed=0, threads=threads)


class TestMetaTrees(StagedContract):
    name = "xgboost"

    def make(self, settings: StackSettings, threads: int = 1) -> MetaTrees:
        return MetaTrees(settings.xgboost, seed=0, threads=threads)


class TestForeignLearner(LearnerContract[PairLearner]):
    @pytest.fixture(autouse=True)
    def _installed(self, install_learner: Install) -> None:
        install_learner()

    def make(self, settings: StackSettings, threads: int = 1) -> PairLearner:
        return make_learner("line", settings, seed=0, threads=threads)


def test_learners_below_the_meta_model_are_in_one_order() -> None:
    assert level_two(("xgboost", "zeta", "lightgbm", "alpha", "svm")) == (
        "svm", "lightgbm", "alpha", "zeta",
    )  # fmt: skip


def test_an_unknown_learner_is_named_with_what_there_is(
    stack_settings: Make, install_learner: Install
) -> None:
    install_learner()
    with pytest.raises(TagstackError, match=r"Unknown learner 'forest'.*offer \['line'\] under"):
        make_learner("forest", stack_settings(), seed=0, threads=1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_to_be_found", "of tagstack-bad 1.2 cannot be loaded: No module named"),
        ("x = 1", "of tagstack-bad 1.2 cannot be loaded: module .* has no attribute"),
        ("class Line:\n  def __init__(self, *, seed, threads): pass", "1.2 has no method 'fit'"),
    ],
)
def test_a_broken_package_is_named(
    stack_settings: Make, install_learner: Install, source: str, message: str
) -> None:
    install_learner("bad", source)
    with pytest.raises(TagstackError, match=message):
        make_learner("bad", stack_settings(), seed=0, threads=1)


_METHODS = """
import numpy as np
class Line:
    def __init__(self, *, seed, threads): pass
    def fit(self, table, true, weight=None): {fit}
    def predict_logit(self, table): return {logit}
    def save(self, directory): (directory / "model").write_bytes({saved})
    def restore(self, directory): return self
"""


def broken(fit: str = "return self", logit: str = "table.logit", saved: str = "b'fine'") -> str:
    return _METHODS.format(fit=fit, logit=logit, saved=saved)


@pytest.mark.parametrize("logit", ["table.logit[:-1]", "table.logit * np.nan", "np.zeros((3, 2))"])
def test_logits_of_a_package_are_checked(
    stack_settings: Make, install_learner: Install, lay: Lay, logit: str
) -> None:
    install_learner("bad", broken(logit=logit))
    learner = make_learner("bad", stack_settings(), seed=0, threads=1)
    with pytest.raises(TagstackError, match=r"'bad' of tagstack-bad 1\.2 returned logits of shape"):
        learner.predict_logit(lay(n_images=30).ground.table)


@pytest.mark.parametrize(
    "logit", ["None", "table.logit.astype(complex)", "table.logit.astype(str)",
              "table.logit.astype(object)", "table.logit > 0"],
)  # fmt: skip
def test_logits_of_a_package_are_real_numbers(
    stack_settings: Make, install_learner: Install, lay: Lay, logit: str
) -> None:
    install_learner("bad", broken(logit=logit))
    learner = make_learner("bad", stack_settings(), seed=0, threads=1)
    with pytest.raises(TagstackError, match=r"'bad' of tagstack-bad 1\.2 returned logits of type"):
        learner.predict_logit(lay(n_images=30).ground.table)


def test_a_pickle_in_a_bundle_is_refused(
    stack_settings: Make, install_learner: Install, tmp_path: Path
) -> None:
    install_learner("bad", broken(saved="__import__('pickle').dumps({})"))
    learner = make_learner("bad", stack_settings(), seed=0, threads=1)
    with pytest.raises(TagstackError, match=r"of tagstack-bad 1\.2 saved model as a pickle"):
        learner.save(tmp_path)


def test_what_a_package_raises_says_whose_it_is(
    stack_settings: Make, install_learner: Install, lay: Lay
) -> None:
    install_learner("bad", broken(fit="raise RuntimeError('no memory')"))
    laid = lay(n_images=30)
    learner = make_learner("bad", stack_settings(), seed=0, threads=1)
    with pytest.raises(RuntimeError, match="no memory") as caught:
        learner.fit(laid.ground.table, laid.fitter.true)
    assert caught.value.__notes__ == ["Raised by the learner 'bad' of tagstack-bad 1.2."]


@pytest.mark.parametrize("name", ["blend", "mean", "My-Learner", "a/b", ""])
def test_names_that_cannot_be_rungs_are_refused(name: str) -> None:
    with pytest.raises(TagstackError, match=r"stack\.learners.*that are no other rung's, got"):
        load_settings(changes={"stack": {"learners": ["svm", name]}})


def test_a_learner_twice_is_refused() -> None:
    with pytest.raises(TagstackError, match="expected each learner once"):
        load_settings(changes={"stack": {"learners": ["svm", "svm"]}})


@pytest.mark.parametrize("name", ["svm", "lightgbm", "xgboost"])
def test_scikit_learn_reads_parameters_and_tags(stack_settings: Make, name: str) -> None:
    from sklearn.base import clone
    from sklearn.utils import get_tags

    learner: Any = make_learner(name, stack_settings(), seed=3, threads=1)
    assert clone(learner).get_params() == learner.get_params()
    tags = get_tags(learner)
    assert tags.estimator_type == "classifier"
    assert tags.target_tags.required
    assert not tags.input_tags.two_d_array


@pytest.mark.parametrize(
    ("name", "parameter", "values"),
    [
        ("svm", "settings__cost", [0.01, 0.3]),
        ("lightgbm", "settings__rounds", [3, 30]),
        ("xgboost", "settings__rounds", [3, 30]),
    ],
)
def test_scikit_learn_searches_over_whole_images(
    stack_settings: Make, lay: Lay, name: str, parameter: str, values: list[float]
) -> None:
    laid = lay(n_images=90)
    table, true = laid.ground.table, laid.fitter.true
    learner: Any = make_learner(name, stack_settings(), seed=3, threads=1)
    search = GridSearchCV(
        learner, {parameter: values}, cv=GroupKFold(3), scoring="average_precision"
    ).fit(table, true, groups=table.pairs.image)
    expected = []
    for value in values:
        scores = []
        for fit, test in GroupKFold(3).split(true, groups=table.pairs.image):
            images = [np.unique(table.pairs.image[rows]) for rows in (fit, test)]
            own = clone(learner).set_params(**{parameter: value})
            own.fit(table.take(images[0]), true[fit])
            logit = own.predict_logit(table.take(images[1]))
            scores.append(average_precision_score(true[test], logit))
        expected.append(np.mean(scores))
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)
    assert search.best_params_ == {parameter: values[int(np.argmax(expected))]}


def test_a_search_never_parts_an_image(stack_settings: Make, lay: Lay) -> None:
    laid = lay(n_images=30)
    learner: Any = make_learner("lightgbm", stack_settings(), seed=3, threads=1)
    ap = "average_precision"
    search = GridSearchCV(learner, {"settings__rounds": [3]}, cv=KFold(7), scoring=ap)
    with pytest.raises(TagstackError, match=r"split by whole images.*groups=table\.pairs\.image"):
        search.fit(laid.ground.table, laid.fitter.true)
