"""Both engines find the same tags; which one decides is a matter of speed alone."""

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions import engines
from tagstack.ensemble.contradictions.decoder import Decoded, Decoder
from tagstack.ensemble.contradictions.explanations import explain
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")

SETTINGS = load_settings().decoder


def decoder(rules: Rules, n_tags: int, **changes: object) -> Decoder:
    vocabulary = Vocabulary(tuple(f"t{i}" for i in range(n_tags)), ("",) * n_tags)
    return Decoder(rules.bind(vocabulary), SETTINGS.model_copy(update=changes))


def solved(engine: str, rules: Rules, proba: PairProba, threshold: Any, **changes: Any) -> Decoded:
    return decoder(rules, len(threshold), engine=engine, **changes).solve(proba, threshold)


def assert_same(one: Decoded, other: Decoded) -> None:
    assert one.tags.shape == other.tags.shape
    assert one.tags.indptr.tolist() == other.tags.indptr.tolist()
    assert one.tags.indices.tolist() == other.tags.indices.tolist()
    assert one.inexact.tolist() == other.inexact.tolist()


@needs_numba
@pytest.mark.parametrize("changes", [{}, {"objective": "utility"}, {"search_tags": 3}])
def test_same_tags(drawing: Any, changes: dict[str, Any]) -> None:
    for seed in range(15 if "search_tags" in changes else 60):
        rules, dense, threshold = drawing.drawn_images(seed, 20, int(4 + seed % 10))
        proba = drawing.pair_proba(dense)
        found = [solved(name, rules, proba, threshold, **changes) for name in ("python", "numba")]
        assert_same(*found)


@needs_numba
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3, 5, 9]))
@hypothesis_settings(deadline=None, max_examples=60)
def test_same_tags_where_the_budget_runs_out(drawing: Any, seed: int, budget: int) -> None:
    rules, dense, threshold = drawing.drawn_images(seed, 10, 12)
    proba = drawing.pair_proba(np.round(dense, 1))
    found = [
        solved(name, rules, proba, threshold, search_budget=budget) for name in ("python", "numba")
    ]
    assert_same(*found)


@needs_numba
def test_same_tags_among_many_equal_probabilities(drawing: Any) -> None:
    """Ties are where two searches most easily part ways."""
    for seed in range(40):
        rules, dense, _ = drawing.drawn_images(seed, 20, 11)
        flat = np.full(11, 0.4, np.float32)
        proba = drawing.pair_proba(np.where(dense > 0.5, 0.6, 0.3).astype(np.float32))
        assert_same(*(solved(name, rules, proba, flat) for name in ("python", "numba")))


@needs_numba
def test_same_tags_with_unlisted_pairs_above_their_thresholds(drawing: Any) -> None:
    rng = np.random.default_rng(4)
    for seed in range(40):
        rules, dense, threshold = drawing.drawn_images(seed, 20, 9)
        base = rng.choice([0.1, 0.6, np.nan], 9).astype(np.float32)
        dense = np.where(rng.random(dense.shape) < 0.4, base, dense).astype(np.float32)
        proba = drawing.pair_proba(dense, base)
        assert_same(*(solved(name, rules, proba, threshold) for name in ("python", "numba")))


def one_image(probas: list[float], n_images: int = 1) -> PairProba:
    n_tags = len(probas)
    pairs = Pairs(
        indptr=np.arange(0, n_images * n_tags + 1, n_tags, dtype=np.int64),
        tag=np.tile(np.arange(n_tags, dtype=np.int32), n_images),
        n_tags=n_tags,
    )
    proba = np.tile(np.array(probas, np.float32), n_images)
    return PairProba(pairs=pairs, proba=proba, base=np.zeros(n_tags, np.float32))


@needs_numba
@pytest.mark.parametrize("n_tags", [61, 62, 63, 64, 65, 130])
@pytest.mark.parametrize("implied", [False, True])
def test_components_around_the_width_of_a_mask(n_tags: int, implied: bool) -> None:
    """One component of all tags: beyond a mask the image, not its neighbours, goes to Python."""
    pairs = [
        Exclusive(id=f"x{i}", tags=(f"t{i}", f"t{i + 1}"), source="") for i in range(n_tags - 1)
    ]
    chain = Implication(id="i", tags=("t0",), implies=("t2",), source="")
    rules = Rules(exclusives=tuple(pairs), implications=(chain,) if implied else ())
    rng = np.random.default_rng(n_tags)
    large = rng.uniform(0.5, 0.99, n_tags).tolist()
    small = [0.9, 0.8, 0.7] + [0.1] * (n_tags - 3)
    probas = np.array([small, large, small], np.float32)
    images = one_image(large, 3)
    proba = PairProba(pairs=images.pairs, proba=probas.ravel(), base=images.base)
    threshold = np.full(n_tags, 0.45, np.float32)
    python, numba = (
        solved(name, rules, proba, threshold, search_budget=2000) for name in ("python", "numba")
    )
    assert_same(python, numba)
    assert python.inexact.tolist() == [False, n_tags <= 64, False]  # larger ones go to the solver
    assert python.tags.toarray()[1].sum() > n_tags / 4


@needs_numba
def test_many_images_that_do_not_fit_the_room_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from tagstack.ensemble.contradictions import kernel_arrays

    monkeypatch.setattr(kernel_arrays, "_TAGS", 7)
    rules = Rules(exclusives=(Exclusive(id="x", tags=("t0", "t1"), source=""),))
    proba = one_image([0.9, 0.8, 0.7, 0.2], 500)
    threshold = np.full(4, 0.5, np.float32)
    kept = solved("numba", rules, proba, threshold).tags.toarray()
    assert kept.tolist() == [[True, False, True, False]] * 500


@needs_numba
def test_auto_compiles_once_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_WORTH_COMPILING", 100)
    choice = decoder(Rules.none(), 3, engine="auto").engines
    assert choice.engine(60) is choice.python
    compiled = choice.engine(60)
    assert compiled is not choice.python
    assert choice.engine(1) is compiled
    assert decoder(Rules.none(), 3, engine="python").engines.engine(10**9).__class__ is (
        engines.PythonEngine
    )


def test_without_numba_auto_is_python_and_numba_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagstack.base_models.compilation.find_spec", lambda _: None)
    choice = decoder(Rules.none(), 3, engine="auto").engines
    assert choice.engine(10**9) is choice.python
    with pytest.raises(TagstackError, match=r"numba is not installed\. Install tagstack\[fast\]"):
        decoder(Rules.none(), 3, engine="numba")


def test_the_decoder_does_not_load_numba_before_it_pays() -> None:
    code = (
        "import sys, tagstack.ensemble.contradictions.decoder, "
        "tagstack.ensemble.contradictions.explanations; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_numba
def test_explanations_do_not_depend_on_the_engine(drawing: Any) -> None:
    rules, dense, threshold = drawing.drawn_images(11, 12, 9)
    n_changes = 0
    for row in dense:
        changes = [
            explain(decoder(rules, 9, engine=name), drawing.pair_proba(row[None]), threshold)
            for name in ("python", "numba")
        ]
        assert changes[0] == changes[1]
        n_changes += len(changes[0])
    assert n_changes > 5
