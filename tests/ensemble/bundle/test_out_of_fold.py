"""Out-of-fold probabilities: found again by content, kept bit for bit, joined with others."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.bundle.out_of_fold import OutOfFold, joined

Maker = Callable[..., tuple[PairProba, Any]]


def sha(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def test_images_are_found_by_content_whatever_their_order(make_proba: Maker) -> None:
    proba, _ = make_proba(1, n_images=5)
    kept = OutOfFold.of([sha(name) for name in "abcda"], "x", {"x": proba})
    rows = kept.rows([sha(name) for name in "dxba"])
    assert rows.tolist()[:3] == [3, -1, 1]
    assert rows[3] in (0, 4)
    assert kept.rows([]).tolist() == []


def test_saved_is_loaded(make_proba: Maker, tmp_path: Path) -> None:
    proba, _ = make_proba(2, n_images=7)
    other = replace(proba, proba=proba.proba[::-1].copy(), base=proba.base / np.float32(2))
    kept = OutOfFold.of([sha(str(i)) for i in range(7)], "x", {"single:y": other, "x": proba})
    kept.save(tmp_path / "o.safetensors")
    back = OutOfFold.load(tmp_path / "o.safetensors")
    assert (back.contents == kept.contents).all()
    assert (back.proba.dense() == proba.dense()).all()
    assert set(back.rungs("x")) == {"x", "single:y"}
    assert (back.rungs("x")["single:y"].dense() == other.dense()).all()
    assert back.proba.pairs.tag.dtype == np.int32


def test_joined_is_one_after_the_other(make_proba: Maker) -> None:
    (one, _), (other, _) = make_proba(3, n_images=4), make_proba(4, n_images=6)
    both = joined(one, other)
    assert both.pairs.n_images == 10
    for part, images in ((one, np.arange(4)), (other, np.arange(4, 10))):
        taken = both.take(images)
        assert (taken.proba == part.proba).all()
        assert (taken.pairs.tag == part.pairs.tag).all()
    assert (both.base == np.maximum(one.base, other.base)).all()
