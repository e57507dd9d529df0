"""MCut and RCut against a loop over images, and what the rules make of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.ensemble.thresholds.image_cuts import image_cuts, mcut, rcut

BASE = np.float32(0.01)


@pytest.mark.parametrize("levels", [0, 5])
def test_mcut_is_the_middle_of_the_largest_gap(draw: Callable[..., Any], levels: int) -> None:
    drawn = draw(1, n_images=80, n_tags=9, levels=levels)
    cuts = mcut(drawn.proba)
    for row, cut in zip(drawn.dense, cuts, strict=True):
        listed = sorted((float(p) for p in row if p != BASE), reverse=True)
        if not listed:
            assert np.isinf(cut)
            continue
        following = [*listed[1:], 0.0]
        gaps = [a - b for a, b in zip(listed, following, strict=True)]
        at = gaps.index(max(gaps))
        assert cut == pytest.approx((listed[at] + following[at]) / 2)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_rcut_keeps_the_first_k_and_their_ties(draw: Callable[..., Any], k: int) -> None:
    drawn = draw(2, n_images=80, n_tags=9, levels=5)
    decided = Cutting(value=np.full(9, 0.02, np.float32), image_cut=f"rcut:{k}").decided(
        drawn.proba
    )
    cuts = rcut(drawn.proba, k)
    for i, row in enumerate(drawn.dense):
        listed = sorted((float(p) for p in row if p != BASE), reverse=True)
        kept = decided.toarray()[i].sum()
        if len(listed) <= k:
            assert kept == len(listed)
        else:
            assert kept == sum(p >= listed[k - 1] for p in listed)
            assert cuts[i] == np.float32(listed[k - 1])


def test_unknown_cuts_are_refused(draw: Callable[..., Any]) -> None:
    for name in ("kcut", "rcut", "rcut:0", "rcut:x", "mcut:2"):
        with pytest.raises(TagstackError, match=r"Unknown image cut .*expected 'mcut' or 'rcut:N'"):
            image_cuts(name, draw(1).proba)


@pytest.mark.parametrize("cut", ["mcut", "rcut:3"])
def test_decoding_all_images_is_decoding_each_with_its_own_cut(
    cut: str, draw: Callable[..., Any]
) -> None:
    drawn = draw(3, n_images=60, n_tags=8)
    rules = Rules(
        implications=(Implication(id="i", tags=("t5",), implies=("t0",), source="test"),),
        exclusives=(Exclusive(id="x", tags=("t1", "t2", "t3", "t4"), source="test"),),
    )
    decoder = Decoder(rules.bind(drawn.vocabulary), load_settings().decoder)
    cutting = Cutting(value=np.full(8, 0.05, np.float32), image_cut=cut)
    proba = drawn.proba
    together = cutting.decoded(proba, decoder).toarray()
    changed = 0
    for i in range(60):
        one = proba.take(np.array([i]))
        alone = decoder.decode(one, cutting.of_image(one)).toarray()[0]
        assert (together[i] == alone).all()
        removed = {change.tag for change in cutting.explained(one, decoder)}
        proposed = cutting.decided(one).toarray()[0]
        assert {f"t{j}" for j in np.flatnonzero(proposed != alone)} == removed
        changed += len(removed)
    assert changed > 5


def test_both_the_image_cut_and_the_tags_own_limit_count(draw: Callable[..., Any]) -> None:
    drawn = draw(4, n_images=60, n_tags=6)
    value = np.array([0.5, 0.02, 0.02, np.inf, 0.02, 0.9], np.float32)
    cutting = Cutting(value=value, image_cut="mcut")
    decided = cutting.decided(drawn.proba).toarray()
    cuts = mcut(drawn.proba)
    assert (decided == (drawn.dense >= np.maximum(value, cuts[:, None]))).all()
    for i, least in enumerate(cutting.images(drawn.proba)):
        assert (least == np.maximum(value, cuts[i])).all()


@pytest.mark.parametrize("strategy", ["mcut", "rcut"])
def test_a_fitted_image_cut_says_so(
    strategy: str, draw: Callable[..., Any], settings_with: Callable[..., Any]
) -> None:
    drawn = draw(5, n_images=100, n_tags=6)
    chosen = settings_with(strategy=strategy, max_tags=2, category_floors={"b": 0.5})
    folds = np.arange(100) % 5
    found = fit_thresholds(drawn.proba, drawn.matrix, drawn.vocabulary, folds, chosen)
    assert found.image_cut == {"mcut": "mcut", "rcut": "rcut:2"}[strategy]
    assert set(found.state) == {"fixed"}
    assert found.value[1] == 0.5
    assert found.cutting.decided(drawn.proba).sum() > 0
