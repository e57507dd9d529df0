"""Stacks on disk: every calibrator comes back, and so do stacks from before there was a choice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.stack.stacker import Stacker

MakeLabelled = Callable[..., Any]
Make = Callable[..., StackSettings]


def fitted(data: Any, settings: StackSettings) -> Stacker:
    relations = TagRelations.none(data.labels.shape[1])
    stacker = Stacker(settings, seed=1, threads=1)
    return stacker.fit(data.scores, data.labels, data.groups, relations)


def assert_same(one: Stacker, other: Stacker, scores: Any) -> None:
    for rung in one.rungs_:
        first, second = (s.predict_proba(scores, rung) for s in (one, other))
        np.testing.assert_array_equal(first.proba, second.proba)
        np.testing.assert_array_equal(first.base, second.base)


@pytest.mark.parametrize(
    ("kind", "pool", "rung"),
    [
        ("none", "tag", "venn_abers"),
        ("isotonic", "category", "beta"),
        ("venn_abers", "hierarchical", "none"),
        ("temperature", "hierarchical", "isotonic"),
    ],
)
def test_any_calibrator_survives_saving_bit_for_bit(
    make_labelled: MakeLabelled,
    stack_settings: Make,
    tmp_path: Path,
    kind: str,
    pool: str,
    rung: str,
) -> None:
    data, fresh = make_labelled(n_images=120), make_labelled(n_images=20)
    settings = stack_settings(
        learners=(),
        calibrator=kind,
        calibration_pool=pool,
        rung_calibrator=rung,
        calibration_strengths=(10.0, 100.0),
        outer_fold=False,
    )
    stacker = fitted(data, settings)
    stacker.save(tmp_path)
    assert_same(stacker, Stacker.load(tmp_path), fresh.scores)


def test_a_stack_from_before_calibrators_had_names_still_loads(
    make_labelled: MakeLabelled, stack_settings: Make, tmp_path: Path
) -> None:
    data, fresh = make_labelled(n_images=120), make_labelled(n_images=20)
    stacker = fitted(data, stack_settings(learners=(), outer_fold=False))
    stacker.save(tmp_path)
    path = tmp_path / "stack.safetensors"
    arrays = load_file(path)
    old = {name: a for name, a in arrays.items() if not name.startswith(("member:", "rung:"))}
    thetas = [arrays[f"member:{m}:platt.theta"] for m in range(len(data.scores.members))]
    old["intercept"], old["slope"] = (np.stack([t[:, i] for t in thetas]) for i in (0, 1))
    for name in (name for name in arrays if name.startswith("rung:")):
        old[name.removesuffix(":platt.theta")] = arrays[name]
    path.unlink()
    save_file({name: np.ascontiguousarray(array) for name, array in old.items()}, path)
    assert_same(stacker, Stacker.load(tmp_path), fresh.scores)
