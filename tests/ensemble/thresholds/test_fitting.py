import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, logit
from sklearn.metrics import f1_score, fbeta_score

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds.curves import GRID, Sorted
from tagstack.ensemble.thresholds.cuts import CutSample, thresholds_from_logits
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.ensemble.thresholds.overrides import read_overrides
from tagstack.ensemble.thresholds.strategies.per_tag import Scut
from tagstack.ensemble.thresholds.survival import survival
from tagstack.ensemble.thresholds.table import Thresholds

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
BASE = 0.01


def settings(**changes: Any) -> ThresholdSettings:
    return ThresholdSettings(**(load_settings().thresholds.model_dump() | changes))


def pair_proba(dense: Floats, base: float = BASE) -> PairProba:
    """Return dense probabilities as pairs, those at the base unlisted."""
    listed = dense != np.float32(base)
    indptr = np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64)
    pairs = Pairs(indptr=indptr, tag=np.nonzero(listed)[1].astype(np.int32), n_tags=dense.shape[1])
    return PairProba(
        pairs=pairs, proba=dense[listed], base=np.full(dense.shape[1], base, np.float32)
    )


def vocabulary(n_tags: int) -> Vocabulary:
    names = tuple("ab"[i % 2] for i in range(n_tags))
    return Vocabulary(tuple(f"t{i}" for i in range(n_tags)), names)


def draw(
    rng: np.random.Generator, n_images: int = 400, n_tags: int = 6, levels: int = 0
) -> tuple[Floats, Bools]:
    """Return calibrated probabilities and labels drawn from them; ``levels`` makes ties."""
    rarity = np.linspace(-0.5, -3.5, n_tags)
    proba = expit(rarity + 2.0 * rng.normal(size=(n_images, n_tags)))
    if levels:
        proba = np.ceil(proba * levels) / (levels + 1)
    proba = np.where(proba < 2 * BASE, BASE, proba).astype(np.float32)
    return proba, rng.random(proba.shape) < proba


def fit(dense: Floats, labels: Bools, decoder: Decoder | None = None, **changes: Any) -> Thresholds:
    return fit_thresholds(
        pair_proba(dense),
        sparse.csr_array(labels),
        vocabulary(dense.shape[1]),
        np.arange(len(dense)) % 5,
        settings(**changes),
        decoder,
    )


def best_f(dense: Floats, labels: Bools, tag: int, beta: float = 1.0) -> float:
    """Return the best F-beta of any threshold above the base, one by one by its definition."""
    value, true, weight = dense[:, tag], labels[:, tag], beta**2
    cuts = np.unique(value)
    return max(
        float(
            (1 + weight) * (value[true] >= cut).sum() / (weight * true.sum() + (value >= cut).sum())
        )
        for cut in cuts[cuts > np.float32(BASE)]
    )


@pytest.mark.parametrize("levels", [0, 7])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_unshrunk_scut_finds_the_best_cut_of_each_tag(
    rng: np.random.Generator, levels: int, beta: float
) -> None:
    dense, labels = draw(rng, n_images=120, n_tags=4, levels=levels)
    curves = Sorted.from_pairs(pair_proba(dense), sparse.csr_array(labels)).select(
        np.ones(120, bool)
    )
    category = np.array([0, 1, 0, 1], np.intp)
    sample = CutSample(curves=curves, parts=(curves,), held=(), n_images=120, category=category)
    chosen = settings(shrinkage=[0], max_rate=100, beta=beta, min_positives=1)
    proposal = Scut().propose(sample, chosen)
    (found,) = thresholds_from_logits(proposal.logits, curves.floor)
    for tag in range(4):
        mine = fbeta_score(labels[:, tag], dense[:, tag] >= found[tag], beta=beta)
        assert mine == pytest.approx(best_f(dense, labels, tag, beta))


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_one_threshold_is_the_best_of_the_grid(rng: np.random.Generator, average: str) -> None:
    dense, labels = draw(rng)
    found = fit(dense, labels, strategy="one_threshold", average=average).value
    assert (found == found[0]).all()
    scores = [f1_score(labels, dense >= np.float32(cut), average=average) for cut in GRID]
    assert f1_score(labels, dense >= found[0], average=average) == pytest.approx(max(scores))


def test_a_category_gets_the_threshold_it_would_get_alone(rng: np.random.Generator) -> None:
    dense, labels = draw(rng)
    found = fit(dense, labels, strategy="category").value
    for first in (0, 1):
        alone = fit(dense[:, first::2], labels[:, first::2], strategy="one_threshold").value
        assert (found[first::2] == alone[0]).all()


def test_plugin_is_half_the_expected_f(rng: np.random.Generator) -> None:
    dense, labels = draw(rng)
    found = fit(dense, labels, strategy="plugin_f", max_rate=100).value
    for tag in range(dense.shape[1]):
        proba = np.sort(dense[:, tag].astype(float))[::-1]
        expected = 2 * np.cumsum(proba) / (np.arange(1, len(proba) + 1) + proba.sum())
        assert found[tag] == pytest.approx(expected.max() / 2, abs=2e-3)


def test_fixed_is_fixed(rng: np.random.Generator) -> None:
    found = fit(*draw(rng), strategy="fixed", value=0.42)
    assert found.value == pytest.approx(0.42)
    assert set(found.state) == {"fixed"}


def test_estimates_are_of_images_that_a_threshold_has_not_seen(rng: np.random.Generator) -> None:
    dense, labels = draw(rng)
    found = fit(dense, labels, strategy="category")
    decided = np.zeros_like(labels)
    fold = np.arange(len(dense)) % 5
    for name in range(5):
        rest, here = fold != name, fold == name
        value = fit(dense[rest], labels[rest], strategy="category").value
        decided[here] = dense[here] >= value
    assert found.estimate == pytest.approx(f1_score(labels, decided, average=None))


@pytest.mark.parametrize("strategy", ["one_threshold", "category", "scut", "plugin_f"])
def test_labels_without_meaning_promise_nothing(strategy: str, rng: np.random.Generator) -> None:
    dense, labels = draw(rng, n_images=600)
    shuffled = np.stack([rng.permutation(column) for column in labels.T], axis=1)
    found = fit(dense, shuffled, strategy=strategy)
    rate = shuffled.mean(0)
    # Tagging at random with any rate q gives F1 = 2 q r / (q + r), at most 2 r / (1 + r).
    assert (found.estimate <= 2 * rate / (1 + rate) + 0.06).all()


@pytest.mark.parametrize("strategy", ["scut", "plugin_f"])
def test_no_tag_is_predicted_much_more_often_than_it_is_true(
    strategy: str, rng: np.random.Generator
) -> None:
    dense, labels = draw(rng)
    labels[:, 3] = rng.random(len(labels)) < 0.05  # the scores know nothing of it
    for max_rate in (1.0, 1.5, 3.0):
        value = fit(dense, labels, strategy=strategy, max_rate=max_rate).value
        predicted = (dense >= value).sum(0)
        assert (predicted <= np.floor(max_rate * labels.sum(0)) + 1).all()
    free = fit(dense, labels, strategy="scut", shrinkage=[0], max_rate=1e6).value
    assert (dense >= free).sum(0)[3] > 3 * labels[:, 3].sum()  # so the cap had something to do


def test_no_tag_is_predicted_for_every_image() -> None:
    dense = np.full((50, 2), BASE, np.float32)
    dense[:5] = 0.02
    labels = np.ones((50, 2), bool)
    for strategy in ("one_threshold", "category", "scut", "plugin_f"):
        value = fit(dense, labels, strategy=strategy, max_rate=100).value
        assert (value > np.float32(BASE)).all()


def test_few_positives_are_pooled(rng: np.random.Generator) -> None:
    dense, labels = draw(rng)
    labels[:, 2] = False
    labels[:4, 4] = labels[4:, 4] = False
    labels[:4, 4] = True
    found = fit(dense, labels, strategy="scut", max_rate=100, shrinkage=[2])
    pooled = fit(dense, labels, strategy="category")
    assert found.positives.tolist() == labels.sum(0).tolist()
    assert found.state == ("tuned", "tuned", "pooled", "tuned", "pooled", "tuned")
    assert set(pooled.state) == {"pooled"}
    assert found.value[4] == pooled.value[4]
    assert (dense[:, 2] >= found.value[2]).sum() <= 1  # never true, so hardly ever predicted
    assert (found.value[[0, 1]] != pooled.value[[0, 1]]).all()
    assert math.isnan(found.estimate[2])


def test_no_positives_at_all_fall_back_on_the_fixed_value(rng: np.random.Generator) -> None:
    dense, labels = draw(rng)
    for strategy in ("one_threshold", "category"):
        found = fit(dense, labels & False, strategy=strategy, value=0.3)
        assert found.value == pytest.approx(0.3)
        assert np.isnan(found.estimate).all()


def test_unscored_tags_get_a_threshold_too(rng: np.random.Generator) -> None:
    dense, labels = draw(rng)
    proba = pair_proba(dense)
    blind = proba.pairs.tag == 1
    hidden = PairProba(
        pairs=proba.pairs,
        proba=np.where(blind, np.float32(np.nan), proba.proba),
        base=np.where(np.arange(6) == 1, np.float32(np.nan), proba.base),
    )
    found = fit_thresholds(
        hidden, sparse.csr_array(labels), vocabulary(6), np.arange(400) % 5, settings()
    )
    assert np.isfinite(found.value).all()
    assert found.estimate[1] == 0


@pytest.mark.parametrize("strategy", ["category", "scut", "plugin_f"])
def test_order_of_images_is_moot(strategy: str, rng: np.random.Generator) -> None:
    dense, labels = draw(rng)
    fold = np.arange(400) % 5
    order = rng.permutation(400)
    one, other = (
        fit_thresholds(
            pair_proba(dense[which]),
            sparse.csr_array(labels[which]),
            vocabulary(6),
            fold[which],
            settings(strategy=strategy),
        )
        for which in (np.arange(400), order)
    )
    assert one.value == pytest.approx(other.value, rel=1e-6)
    assert one.estimate == pytest.approx(other.estimate)


def test_the_hash_follows_the_calibration_images(rng: np.random.Generator) -> None:
    dense, labels = draw(rng)
    one, again = fit(dense, labels), fit(dense, labels)
    assert one.calibration_hash == again.calibration_hash
    assert len(one.calibration_hash) == 64
    labels[0, 0] ^= True
    assert fit(dense, labels).calibration_hash != one.calibration_hash


def test_input_is_left_alone(rng: np.random.Generator) -> None:
    dense, labels = draw(rng)
    proba, truth, folds = pair_proba(dense), sparse.csr_array(labels), np.arange(400) % 5
    copies = proba.proba.copy(), truth.copy(), folds.copy()
    fit_thresholds(proba, truth, vocabulary(6), folds, settings())
    assert (proba.proba == copies[0]).all()
    assert (truth != copies[1]).nnz == 0
    assert (folds == copies[2]).all()


def test_shapes_must_agree(rng: np.random.Generator) -> None:
    dense, labels = draw(rng)
    proba, truth = pair_proba(dense), sparse.csr_array(labels)
    with pytest.raises(TagstackError, match=r"400 images and 6 tags, but labels have shape \(9, 6"):
        fit_thresholds(proba, truth[:9], vocabulary(6), np.arange(400) % 5, settings())
    with pytest.raises(TagstackError, match="the vocabulary 5 tags"):
        fit_thresholds(proba, truth, vocabulary(5), np.arange(400) % 5, settings())
    with pytest.raises(TagstackError, match="all images are in one fold"):
        fit_thresholds(proba, truth, vocabulary(6), np.zeros(400, int), settings())


@given(st.integers(0, 10**6), st.integers(0, 9))
@hypothesis_settings(deadline=None, max_examples=40)
def test_curves_count_what_a_dense_reading_counts(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    dense, labels = draw(rng, n_images=30, n_tags=4, levels=levels)
    images = rng.random(30) < 0.7
    curves = Sorted.from_pairs(pair_proba(dense), sparse.csr_array(labels)).select(images)
    value = rng.uniform(0.02, 0.9, 4).astype(np.float32)
    passed = (dense >= value) & images[:, None]
    counts = curves.counts(value)
    assert counts.predicted.tolist() == passed.sum(0).tolist()
    assert counts.hits.tolist() == (passed & labels).sum(0).tolist()
    assert counts.positives.tolist() == labels[images].sum(0).tolist()
    grid = curves.grid_counts()
    for cell in (40, 90, 191):  # all above the base
        passed = (dense >= GRID[cell]) & images[:, None]
        assert grid.predicted[:, cell].tolist() == passed.sum(0).tolist()
        assert grid.hits[:, cell].tolist() == (passed & labels).sum(0).tolist()


@pytest.fixture
def grouped(rng: np.random.Generator) -> tuple[Floats, Bools, Decoder]:
    """Return one true tag of six an image, scored by a softmax whose members overlap, and rules."""
    chance = np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.04])
    truth = rng.choice(6, size=900, p=chance)
    labels = np.eye(7, dtype=bool)[truth]
    labels[:, 6] = truth >= 3  # t6 is implied by the rarer half
    signal = 1.2 * labels[:, :6] + rng.normal(size=(900, 6)) * 0.7 + np.log(chance)
    proba = np.exp(signal) / np.exp(signal).sum(1, keepdims=True)
    dense = np.column_stack([proba, np.clip(proba[:, 3:].sum(1), 0.02, 0.99)])
    rules = Rules(
        implications=tuple(
            Implication(id=f"i{i}", tags=(f"t{i}",), implies=("t6",), source="test")
            for i in (3, 4, 5)
        ),
        exclusives=(Exclusive(id="x", tags=tuple(f"t{i}" for i in range(6)), source="test"),),
    )
    decoder = Decoder(rules.bind(vocabulary(7)), load_settings().decoder)
    return np.maximum(dense, 0.02).astype(np.float32), labels, decoder


@pytest.mark.parametrize("strategy", ["category", "scut", "plugin_f"])
def test_the_estimate_is_of_decoded_tags(
    strategy: str, grouped: tuple[Floats, Bools, Decoder]
) -> None:
    dense, labels, decoder = grouped
    found = fit(dense, labels, decoder, strategy=strategy, decoder_rounds=0, shrinkage=[2])
    decided = np.zeros_like(labels)
    fold = np.arange(len(dense)) % 5
    for name in range(5):
        rest, here = fold != name, fold == name
        value = fit_thresholds(
            pair_proba(dense[rest]),
            sparse.csr_array(labels[rest]),
            vocabulary(7),
            fold[rest],
            settings(strategy=strategy, shrinkage=[2]),
        ).value
        decided[here] = decoder.decode(pair_proba(dense[here]), value).toarray()
    assert found.estimate == pytest.approx(f1_score(labels, decided, average=None))


def test_more_rounds_never_lower_the_cross_validated_objective(
    grouped: tuple[Floats, Bools, Decoder],
) -> None:
    scores = [
        float(np.nanmean(fit(*grouped, strategy="scut", decoder_rounds=n).estimate))
        for n in (0, 1, 2, 4)
    ]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0]  # on this set the first fit is not the best


@pytest.mark.parametrize("weighed", [False, True])
def test_standing_says_from_which_threshold_on_the_decoder_drops_a_tag(
    weighed: bool, grouped: tuple[Floats, Bools, Decoder]
) -> None:
    worth = np.array([0.5, 2, 4, 8, 9, 20, 3], np.float32) if weighed else None
    dense, _, decoder = grouped
    dense = dense[:60]
    dense[:, 6] = 0.9  # the parent is no obstacle, so the group alone decides
    proba = pair_proba(dense)
    value = np.array([0.3, 0.25, 0.2, 0.15, 0.1, 0.1, 0.5], np.float32)
    decided = decoder.decode(proba, value, worth)
    left = survival(proba, value[proba.pairs.tag], decided, decoder.rules, worth)
    standing = np.zeros_like(dense)
    standing[proba.pairs.image, proba.pairs.tag] = left.standing
    n_changed = 0
    for tag in range(6):
        for cut in (0.03, 0.08, 0.2, 0.5):
            moved = value.copy()
            moved[tag] = cut
            kept = decoder.decode(proba, moved, worth).toarray()[:, tag]
            clear = abs(logit(standing[:, tag]) - logit(cut)) > 1e-3
            assert (kept == (standing[:, tag] >= cut))[clear].all()
            n_changed += int((kept != (dense[:, tag] >= cut)).sum())
    assert n_changed > 20  # the group did bite


def test_implied_pairs_are_out_of_a_thresholds_hands(
    grouped: tuple[Floats, Bools, Decoder],
) -> None:
    _, _, decoder = grouped
    proba = pair_proba(np.array([[0.02, 0.02, 0.02, 0.9, 0.02, 0.02, 0.3]], np.float32))
    value = np.full(7, 0.5, np.float32)
    decided = decoder.decode(proba, value)
    left = survival(proba, value[proba.pairs.tag], decided, decoder.rules)
    assert proba.pairs.tag[left.implied].tolist() == [6]


def example(**changes: Any) -> Thresholds:
    values: dict[str, Any] = {
        "vocabulary": Vocabulary(("a,b", ';"d', "c"), ("general", "rating", "general")),
        "value": np.array([0.1, 1 / 3, np.inf], np.float32),
        "state": ("tuned", "pooled", "fixed"),
        "positives": np.array([50, 3, 0]),
        "estimate": np.array([2 / 3, 0.0, np.nan]),
        "low": np.array([0.5, 0.0, np.nan]),
        "high": np.array([0.8, 0.3, np.nan]),
        "objective": ("macro F1", "macro F1", "fixed:0.35"),
        "worth": np.array([1.5, 1e-3, 20.0], np.float32),
        "calibration_hash": "0f" * 32,
    }
    return Thresholds(**(values | changes))


def test_csv_round_trip(tmp_path: Path) -> None:
    table = example()
    table.to_csv(tmp_path / "thresholds.csv")
    back = Thresholds.from_csv(tmp_path / "thresholds.csv")
    assert back.vocabulary == table.vocabulary
    assert back.value.dtype == np.float32
    assert (back.value == table.value).all()
    assert back.state == table.state
    assert (back.positives == table.positives).all()
    for name in ("estimate", "low", "high"):
        assert np.array_equal(getattr(back, name), getattr(table, name), equal_nan=True)
    assert back.worth is not None
    assert back.worth.tolist() == np.array([1.5, 1e-3, 20.0], np.float32).tolist()
    assert (back.objective, back.calibration_hash) == (table.objective, table.calibration_hash)
    header = (tmp_path / "thresholds.csv").read_text().splitlines()[0]
    assert header == (
        "tag,category,threshold,state,positives,estimate,low,high,objective,worth,image_cut,"
        "calibration"
    )


def test_tables_of_earlier_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "tag,category,threshold,state,positives,f_score,objective,calibration\n"
        "a,general,0.25,tuned,7,0.5,macro F1,ff\nb,general,0.5,pooled,0,nan,macro F1,ff\n"
    )
    table = Thresholds.from_csv(tmp_path / "t.csv")
    assert table.value.tolist() == [0.25, 0.5]
    assert table.estimate[0] == 0.5
    assert np.isnan(table.estimate[1])
    assert np.isnan(table.low).all()
    assert (table.worth, table.image_cut) == (None, "")


def test_hand_overrides_win(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text('name,best_threshold,x\n"a,b",0.9,1\nzzz,0.5,1\nc,,1\n')
    overrides = read_overrides(tmp_path / "mine.csv")
    assert overrides == {"a,b": 0.9, "zzz": 0.5}
    table = example()
    changed = table.overridden(overrides)
    assert changed.value.tolist() == [np.float32(0.9), *table.value[1:].tolist()]
    assert changed.state == ("fixed", "pooled", "fixed")
    assert math.isnan(changed.estimate[0])
    assert changed.objective[0] == "by hand"
    assert table.value[0] == np.float32(0.1)


def test_a_tag_in_two_writings_is_set_by_hand_once() -> None:
    assert example().overridden({"c": 0.5, "C": 0.5}).value[2] == np.float32(0.5)
    with pytest.raises(TagstackError, match=r"'c' is set by hand twice, to 0.5 and 0.6"):
        example().overridden({"c": 0.5, "C": 0.6})


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        (read_overrides, "tag,x\na,1\n", r"columns \['tag', 'x'\]; a tag and a threshold"),
        (read_overrides, "tag,threshold\na,high\n", "threshold of 'a': 'high' is no number"),
        (read_overrides, "tag,threshold\na,0\n", "gives 'a' the threshold 0; expected one above 0"),
        (read_overrides, "tag,threshold\na,nan\n", "gives 'a' the threshold nan"),
        (read_overrides, "tag;threshold\na;50\n", "the threshold 50; .* Then write 0.5"),
        (read_overrides, "tag,threshold\na,0,5\n", "line 2: 3 cells, expected 2"),
        (Thresholds.from_csv, "tag,threshold\na,0.5\n", "lacks the columns .*'category'"),
        (Thresholds.from_csv, "", "lacks the columns"),
    ],
)
def test_bad_tables_are_refused(
    reader: Callable[[Path], object], text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TagstackError, match=message):
        reader(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "tag;threshold\nlong hair;0,5\nsolo;never\n"),
        ("t.csv", "\ufefftag,threshold\r\nlong hair,0.5\r\nsolo,inf\r\n"),
        ("t.json", '{"long hair": 0.5, "solo": null}'),
    ],
)
def test_thresholds_are_read_as_excel_and_export_write_them(
    name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert read_overrides(tmp_path / name) == {"long hair": 0.5, "solo": np.inf}


def test_edited_tables_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    example().to_csv(path)
    text = path.read_text()
    path.write_text(text.replace("tuned", "perfect"))
    with pytest.raises(TagstackError, match="state 'perfect'; expected one of"):
        Thresholds.from_csv(path)
    path.write_text(text.replace("0.1,", "-0.1,"))
    with pytest.raises(TagstackError, match=r"gives 'a,b' the threshold -0\.1; expected"):
        Thresholds.from_csv(path)
    with pytest.raises(TagstackError, match=r"Cannot read the thresholds .*none\.csv"):
        Thresholds.from_csv(tmp_path / "none.csv")


def test_a_table_has_one_row_per_tag() -> None:
    with pytest.raises(
        TagstackError, match=r"one row per tag \(3\), got \[3, 2, 3, 3, 3, 3, 3, 3\]"
    ):
        example(state=("tuned", "tuned"))
