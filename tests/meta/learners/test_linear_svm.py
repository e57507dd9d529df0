from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.svm import LinearSVC

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.configs.stack import SvmSettings
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence, PairTruth
from tagstack.meta.learners.linear_svm import LinearSvms
from tagstack.meta.learners.svm_design import svm_design
from tagstack.meta.stack.groundwork import Strengths
from tagstack.meta.stack.groundwork_fits import fit_groundworks

Labelled = tuple[PairTable, np.ndarray]


@pytest.fixture
def settings() -> SvmSettings:
    return load_settings().stack.svm.model_copy(update={"context": 3, "cost": 0.1})


@pytest.fixture
def labelled(make_labelled: Callable[..., Any]) -> Labelled:
    data = make_labelled(n_images=250, noise=(2.0, 2.5))
    stack = load_settings().stack
    strengths = Strengths(calibration=100.0, logistic=300.0)
    evidence, alike = Evidence.of(data.labels), np.zeros(data.scores.n_images, np.int64)
    (work,) = fit_groundworks(data.scores, evidence, alike, [None], strengths, stack)
    ground = work.apply(data.scores, TagRelations.none(12), stack)
    return ground.table, PairTruth.of(data.scores.pairs, data.labels).listed[ground.rows]


def test_every_tag_s_machine_is_scikit_learn_s(labelled: Labelled, settings: SvmSettings) -> None:
    table, true = labelled
    svm = LinearSvms(settings, seed=0, threads=1).fit(table, true)
    design = (svm_design(table, svm.basis_) - svm.centre_) / svm.scale_
    assert svm.fitted_.sum() >= 5
    for tag in np.flatnonzero(svm.fitted_):
        of_tag = table.pairs.tag == tag
        with_constant = np.column_stack([design[of_tag], np.ones(of_tag.sum())])
        own = LinearSVC(C=0.1, dual=False, fit_intercept=False, tol=1e-8, max_iter=10_000)
        own.fit(with_constant, true[of_tag])
        np.testing.assert_allclose(svm.coefficients_[tag], own.coef_[0], atol=1e-3)


def test_a_tag_with_too_few_positives_keeps_the_shrunken_logistic(
    labelled: Labelled, settings: SvmSettings
) -> None:
    table, true = labelled
    rare = table.pairs.tag == 4
    few = true & (~rare | (np.cumsum(true & rare) <= 19))
    svm = LinearSvms(settings, seed=0, threads=1).fit(table, few)
    assert not svm.fitted_[4]
    np.testing.assert_array_equal(svm.predict_logit(table)[rare], table.logit[rare])


def test_positives_of_one_group_of_images_count_once(
    labelled: Labelled, settings: SvmSettings
) -> None:
    table, true = labelled
    of_tag = true & (table.pairs.tag == 4)
    carriers = np.unique(table.pairs.image[of_tag])
    assert len(carriers) >= 20
    groups = np.arange(table.pairs.n_images)
    alone = LinearSvms(settings, seed=0, threads=1).fit(replace(table, groups=groups), true)
    assert alone.fitted_[4]
    groups[carriers[19:]] = groups[carriers[0]]
    alike = LinearSvms(settings, seed=0, threads=1).fit(replace(table, groups=groups), true)
    assert not alike.fitted_[4]
    groups[carriers[19]] = carriers[19]
    assert (
        LinearSvms(settings, seed=0, threads=1).fit(replace(table, groups=groups), true).fitted_[4]
    )


def test_pairs_that_do_not_count_are_not_fitted_on(
    labelled: Labelled, settings: SvmSettings
) -> None:
    table, true = labelled
    weight = (np.arange(len(true)) % 3 > 0).astype(float)
    garbled = np.where(weight > 0, true, ~true)
    first = LinearSvms(settings, seed=0, threads=1).fit(table, true, weight)
    second = LinearSvms(settings, seed=0, threads=1).fit(table, garbled, weight)
    np.testing.assert_array_equal(first.coefficients_, second.coefficients_)


@pytest.mark.parametrize("backend", ["", "threading", "loky"])
def test_every_backend_and_number_of_workers_gives_the_same_bits(
    labelled: Labelled, settings: SvmSettings, backend: str
) -> None:
    table, true = labelled
    alone = LinearSvms(settings, seed=0, threads=1).fit(table, true)
    shared = LinearSvms(settings, seed=0, threads=2, backend=backend).fit(table, true)
    assert shared.coefficients_.tobytes() == alone.coefficients_.tobytes()


def test_dask_workers_give_the_same_bits(labelled: Labelled, settings: SvmSettings) -> None:
    distributed = pytest.importorskip("distributed")
    table, true = labelled
    alone = LinearSvms(settings, seed=0, threads=1).fit(table, true)
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    with cluster, distributed.Client(cluster):
        named = LinearSvms(settings, seed=0, threads=2, backend="dask").fit(table, true)
        with parallel_config(backend="dask"):
            active = LinearSvms(settings, seed=0, threads=2).fit(table, true)
    for shared in (named, active):
        assert shared.coefficients_.tobytes() == alone.coefficients_.tobytes()


def test_an_unknown_backend_is_refused_with_the_way_out(
    labelled: Labelled, settings: SvmSettings
) -> None:
    with pytest.raises(TagstackError, match=r"joblib_backend = 'abacus'.*joblib's own"):
        LinearSvms(settings, seed=0, threads=1, backend="abacus").fit(*labelled)


def test_many_pairs_are_thinned_without_losing_the_tag(
    labelled: Labelled, settings: SvmSettings
) -> None:
    table, true = labelled
    fewer = settings.model_copy(update={"max_rows": 1000})
    whole = LinearSvms(settings, seed=0, threads=1).fit(table, true)
    thinned = LinearSvms(fewer, seed=0, threads=1).fit(table, true)
    np.testing.assert_array_equal(thinned.fitted_, whole.fitted_)
    of_fitted = whole.fitted_[table.pairs.tag]
    first, second = (svm.predict_logit(table)[of_fitted] for svm in (whole, thinned))
    assert float(np.corrcoef(first, second)[0, 1]) > 0.95


def test_a_picture_s_margins_have_the_same_bits_alone(
    labelled: Labelled, settings: SvmSettings
) -> None:
    fitted = LinearSvms(settings, seed=0, threads=1).fit(*labelled)
    rng = np.random.default_rng(0)
    tag = rng.integers(0, len(fitted.coefficients_), 500).astype(np.int32)
    raw = rng.normal(size=(500, len(fitted.centre_))).astype(np.float32)
    together = fitted._margins(raw, tag)
    for n in (1, 2, len(fitted.coefficients_) - 1):
        np.testing.assert_array_equal(fitted._margins(raw[:n], tag[:n]), together[:n])
