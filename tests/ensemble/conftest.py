"""Fixtures of this room: sparse probabilities with ties and unlisted positives, a small ladder."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.ensemble.comparison.comparing import Comparison, Rung, compare
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.meta.stack.rung_spec import RungSpec


def dense_rung(name: str, proba: Any, threshold: float = 0.5, **more: Any) -> Rung:
    """Return a rung from dense probabilities, every pair listed; a NaN column abstains."""
    n_images, n_tags = proba.shape
    pairs = Pairs(
        indptr=np.arange(0, n_images * n_tags + 1, n_tags, dtype=np.int64),
        tag=np.tile(np.arange(n_tags, dtype=np.int32), n_images),
        n_tags=n_tags,
    )
    base = np.where(np.isnan(proba[0]), np.nan, 1e-4).astype(np.float32)
    title, kind = more.pop("title", name), more.pop("kind", "average")
    return Rung(
        spec=RungSpec(
            name=name,
            title=title,
            kind=kind,
            raw_of=more.pop("raw_of", ""),
            member=more.pop("member", ""),
        ),
        proba=PairProba(pairs=pairs, proba=proba.ravel().astype(np.float32), base=base),
        decided=sparse.csr_array(np.nan_to_num(proba) >= threshold),
        thresholds=np.full(n_tags, threshold, np.float32),
        note=more.pop("note", "a test"),
        **more,
    )


def small_rules(tags: tuple[str, ...], group: str = "count") -> Rules:
    """Return rules: of the first three tags one at most; the fourth implies the fifth."""
    implied = Implication(id="four", source="test", tags=(tags[3],), implies=(tags[4],))
    excluded = Exclusive(id=group, source="test", tags=tags[:3])
    return Rules(implications=(implied,), exclusives=(excluded,))


@pytest.fixture
def make_rules() -> Callable[..., Rules]:
    """Return the maker of small rules."""
    return small_rules


@pytest.fixture
def make_rung() -> Callable[..., Rung]:
    """Return the maker of rungs from dense probabilities."""
    return dense_rung


@pytest.fixture(scope="session")
def make_comparison() -> Callable[..., Comparison]:
    """Return a maker of a small comparison: two noisy taggers, their mean, the mean decoded.

    The usual one is made once, since nobody changes it; with ``seed=0`` it is made anew.
    """

    def make(
        tags: tuple[str, ...] = tuple(f"tag_{j:03d}" for j in range(12)),
        images: tuple[str, ...] = tuple(f"{i:03d}.png" for i in range(120)),
        group: str = "count",
        **changes: Any,
    ) -> Comparison:
        rng = np.random.default_rng(0)
        vocabulary = Vocabulary(
            tags, tuple("general" if j % 3 else "character" for j in range(len(tags)))
        )
        shape = (len(images), len(tags))
        labels = rng.random(shape) < np.linspace(0.5, 0.05, len(tags))
        labels[0, -1] = True
        logit = np.where(labels, 1.5, -1.5) + rng.normal(size=(2, *shape)) * 1.5
        proba = 1 / (1 + np.exp(-logit))
        proba[1][:, 0] = np.nan
        mean = np.nanmean(proba, axis=0)
        kept = np.where(mean == np.maximum(mean[:, :3].max(1, keepdims=True), 0), 1, 0)
        decoded = mean >= 0.5
        decoded[:, :3] &= kept[:, :3].astype(bool)
        last = dense_rung("stack + decoder", mean, title="Stack + decoder", kind="stack")
        ladder = [
            dense_rung(
                "first @ published",
                proba[0],
                0.3,
                kind="member",
                raw_of="single:first",
                member="first",
            ),
            dense_rung("single:first", proba[0], kind="member", member="first"),
            dense_rung("single:second", proba[1], kind="member", member="second"),
            dense_rung("stack", mean, title="Stack", kind="stack"),
            replace(last, decided=sparse.csr_array(decoded), before_rules=last.decided),
        ]
        settings = load_settings().compare.model_copy(update={"resamples": 200})
        options: dict[str, Any] = {
            "reference": "stack + decoder",
            "settings": settings,
            "seed": 0,
            "images": images,
            "slices": {"rating": ["g" if i % 3 else "s" for i in range(len(images))]},
            "rules": small_rules(tags, group).bind(vocabulary),
            **changes,
        }
        groups = np.arange(len(images)) // 2
        return compare(ladder, sparse.csr_array(labels), vocabulary, groups, **options)

    usual = cache(make)
    return lambda **changes: make(**changes) if changes else usual()

    return make
