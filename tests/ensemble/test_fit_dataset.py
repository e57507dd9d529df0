"""A whole fit in memory: what reaches the thresholds, and a package's learner on the ladder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from tagstack.base_models.pictures.picture_hash import PictureHashes
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.configs.settings import Settings, changed_settings, load_settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.comparison.ladder import DECODED, climb
from tagstack.ensemble.comparison.rungs import rival_of
from tagstack.ensemble.console.ladder import balance_line
from tagstack.ensemble.fitting.dataset_fit import fit_dataset
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.tasks.fit import _digest
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.meta.stack.stacker import Stacker

QUICK = {
    "folds": 2, "outer_fold": False, "learners": ["line"], "calibration_strengths": [100.0],
    "logistic_strengths": [300.0], "selection_rounds": 3, "member_worth": "none",
    "tuning": {"trials": 0},
}  # fmt: skip


# Thresholds of the labels alone: no start draws them, and none is fallen back on.
ALONE = {"anchor_positives": 0, "floor_images": 0}


def settings(start: object = None, **thresholds: object) -> Settings:
    changes = {"stack": QUICK, "thresholds": thresholds, "start": start or {}}
    return load_settings(changes=changes)


def dataset_of(made: Any, unknown: Any = None) -> Dataset:
    n, tags = made.scores.n_images, made.scores.vocabulary
    hidden = np.zeros((n, len(tags)), bool) if unknown is None else unknown
    members = tuple(
        MemberInfo(
            name=name, fingerprint=name, source=name, aliases={}, floor=1e-4,
            runtime="", training=None, vocabulary=tags,
            published_thresholds=np.full(len(tags), 0.4, np.float32),
            published_counts=np.full(len(tags), np.nan, np.float32),
        )
        for name in made.scores.members
    )  # fmt: skip
    return Dataset(
        scores=made.scores,
        labels=sparse.csr_array(made.labels.toarray() & ~hidden),
        unknown=sparse.csr_array(hidden),
        groups=made.groups,
        hashes=PictureHashes(
            known=np.zeros(n, bool),
            bits=np.zeros(n, np.uint64),
            thumbnails=np.zeros((n, 192), np.uint8),
        ),
        contents=tuple(f"{i:064x}" for i in range(n)),
        titles=("",) * n,
        columns={},
        members=members,
        notices=(),
    )


def fitted(dataset: Dataset, directory: Path, **thresholds: object) -> Bundle:
    return fit_dataset(dataset, Rules(), settings(**thresholds), directory, Silent())


def test_a_learner_of_a_package_is_a_rung_like_the_built_in_ones(
    make_labelled: Callable[..., Any], install_learner: Callable[..., Path], tmp_path: Path
) -> None:
    install_learner()
    bundle = fitted(dataset_of(make_labelled(80)), tmp_path)
    test = dataset_of(make_labelled(40))
    rungs = {rung.name: rung for rung in climb(bundle, test)}
    assert rungs["line"].title == "line of tagstack-line 1.2"
    for name in ("shrunken_logistic", "line", "blend"):
        assert rungs[name].spec.part_of == "stack", name
    assert not any(rungs[name].spec.part_of for name in ("single:member_0", "mean", "caruana"))
    assert rungs["member_0 @ published"].spec.raw_of == "single:member_0"
    ours = rungs[DECODED]
    better = [rung for rung in rungs.values() if rung.spec.part_of]
    assert rival_of([*better, ours], ours, test.labels, 1.0) is ours
    assert not rival_of(list(rungs.values()), ours, test.labels, 1.0).spec.part_of


def test_thresholds_are_those_of_the_known_pairs_alone(
    make_labelled: Callable[..., Any], install_learner: Callable[..., Path], tmp_path: Path,
) -> None:  # fmt: skip
    """A pair that nobody labelled is no negative: where it ranks moves no threshold."""
    install_learner()
    made = make_labelled(120)
    # Of half the tags, every true pair that the taggers are sure of and some others are unknown.
    sure = np.zeros(made.labels.shape, bool)
    sure[made.scores.pairs.image, made.scores.pairs.tag] = made.scores.logit.mean(axis=0) > 0.5
    unknown = sure & (np.random.default_rng(1).random(sure.shape) < 0.6)
    unknown[:, 6:] = False
    dataset = dataset_of(made, unknown)
    bundle = fitted(dataset, tmp_path, start=ALONE, strategy="scut")
    stacker = bundle.stacker
    assert isinstance(stacker, Stacker)
    chosen = stacker.out_of_fold(stacker.chosen_)

    def found(proba: Any) -> Any:
        return fit_thresholds(
            proba, dataset.labels, bundle.vocabulary, stacker.folds_, bundle.settings.thresholds,
            groups=dataset.groups,
        ).value  # fmt: skip

    pairs = chosen.pairs
    hidden = unknown[pairs.image, pairs.tag]
    gone = type(chosen)(
        pairs=pairs, proba=np.where(hidden, np.nan, chosen.proba).astype(np.float32),
        base=chosen.base,
    )  # fmt: skip
    np.testing.assert_array_equal(bundle.rung_thresholds[stacker.chosen_], found(gone))
    assert not np.array_equal(bundle.rung_thresholds[stacker.chosen_], found(chosen))


def test_balance_weighs_images_in_learners_and_thresholds_and_is_recorded(
    make_labelled: Callable[..., Any], install_learner: Callable[..., Path], tmp_path: Path
) -> None:
    install_learner()
    made = make_labelled(120)
    style = tuple("rare" if i % 6 < 2 else "common" for i in range(made.scores.n_images))
    dataset = replace(dataset_of(made), columns={"style": style})
    plain = settings(start=ALONE, strategy="joint_f")
    chosen = changed_settings(plain, {"stack": {"balance": "style"}})

    def bundle(own: Settings, name: str) -> Bundle:
        return fit_dataset(dataset, Rules(), own, tmp_path / name, Silent())

    without, weighed = bundle(plain, "a"), bundle(chosen, "b")
    assert without.evidence["balance"] is None
    kept = weighed.evidence["balance"]
    assert (kept["column"], set(kept["values"])) == ("style", {"rare", "common"})
    assert kept["values"]["rare"]["share"] == kept["values"]["common"]["share"] == 0.5
    assert "2 values of style count alike" in balance_line(kept)
    assert isinstance(without.stacker, Stacker)
    assert isinstance(weighed.stacker, Stacker)
    rung = "shrunken_logistic"
    one, two = without.stacker.out_of_fold(rung), weighed.stacker.out_of_fold(rung)
    assert np.abs(one.proba - two.proba).max() > 0.005

    proba, folds = weighed.stacker.out_of_fold(rung), weighed.stacker.folds_

    def cuts(weight: Any) -> Any:
        return fit_thresholds(
            proba, dataset.labels, weighed.vocabulary, folds, chosen.thresholds,
            groups=dataset.groups, image_weight=weight,
        ).value  # fmt: skip

    balance = dataset.balance(chosen.stack)
    assert balance is not None
    np.testing.assert_array_equal(weighed.rung_thresholds[rung], cuts(balance.weight))
    assert not np.array_equal(weighed.rung_thresholds[rung], cuts(None))
    digests = [_digest(dataset, Rules(), own) for own in (plain, chosen)]
    assert digests[0] != digests[1]
