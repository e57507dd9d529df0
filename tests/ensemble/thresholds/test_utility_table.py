"""Thresholds by a table of what decisions are worth: break-even by tag, and rivals by worth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.special import softmax

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.rules.rule import Exclusive
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.ensemble.thresholds.objectives import objective_text, parse_objective
from tagstack.ensemble.thresholds.plan import assignments
from tagstack.meta.metrics.utility import mean_utility, read_utility

Make = Callable[..., Any]


@pytest.fixture
def by_table(tmp_path: Path, settings_with: Make) -> Make:
    """Return a maker of settings with a table of these lines."""

    def make(*lines: str, **changes: Any) -> Any:
        path = tmp_path / "utility.csv"
        path.write_text("\n".join(("tag,tp,fp,fn,tn", *lines)) + "\n")
        return settings_with(
            strategy="expected_utility", objective="utility", utility_table=str(path), **changes
        )

    return make


def test_each_tag_is_cut_where_tagging_begins_to_pay(draw: Make, by_table: Make) -> None:
    drawn = draw(1, n_images=400)
    chosen = by_table("*,1,-1,0,0", "t1,1,-0.25,-2,0", "t3,2,-6,0,0")
    folds = np.arange(400) % 4
    found = fit_thresholds(drawn.proba, drawn.matrix, drawn.vocabulary, folds, chosen)
    cuts = [1 / 2, 0.25 / 3.25, 1 / 2, 6 / 8]
    assert found.value == pytest.approx(np.array(cuts, np.float32))
    assert found.state == ("fixed",) * 4
    assert found.objective[1] == "utility:tp=1,fp=-0.25,fn=-2,tn=0"
    tagged = drawn.dense >= found.value
    worth = read_utility(
        Path(chosen.utility_table), drawn.vocabulary, load_settings().thresholds.utility
    )
    # The evidence: what each tag's decisions are worth an image, over tagging nothing.
    for tag, (tp, fp, fn, tn) in enumerate(worth.T):
        right, wrong = (tagged & drawn.labels)[:, tag], (tagged & ~drawn.labels)[:, tag]
        gained = (right * (tp - fn) + wrong * (fp - tn)).mean()
        assert found.estimate[tag] == pytest.approx(gained)
        assert found.low[tag] < gained < found.high[tag]


def test_no_other_thresholds_are_worth_more(draw: Make, by_table: Make) -> None:
    drawn = draw(2, n_images=4000)
    chosen = by_table("*,1,-1,0,0", "t0,1,-4,0,0", "t2,1,-0.2,-3,0.5")
    folds = np.arange(4000) % 4
    found = fit_thresholds(drawn.proba, drawn.matrix, drawn.vocabulary, folds, chosen)
    usual = load_settings().thresholds.utility
    worth = read_utility(Path(chosen.utility_table), drawn.vocabulary, usual)

    def value(cuts: Any) -> float:
        tagged = sparse.csr_array(drawn.dense >= cuts)
        return mean_utility(tagged, drawn.matrix, worth)

    ours = value(found.value)
    for cut in (0.1, 0.3, 0.5, 0.8):
        assert ours > value(np.full(4, cut))


def test_rivals_are_settled_by_what_they_are_worth(
    rng: np.random.Generator, by_table: Make
) -> None:
    """Of tags that exclude each other the decoder keeps the one that is worth most, or none."""
    n, words = 300, Vocabulary(("t0", "t1", "t2"), ("general",) * 3)
    dense = softmax(2 * rng.normal(size=(n, 4)), axis=1)[:, :3].astype(np.float32)
    pairs = Pairs(indptr=np.arange(0, 3 * n + 1, 3, dtype=np.int64),
                  tag=np.tile(np.arange(3, dtype=np.int32), n), n_tags=3)  # fmt: skip
    proba = PairProba(pairs=pairs, proba=dense.ravel(), base=np.full(3, 1e-6, np.float32))
    labels = sparse.csr_array(rng.random((n, 3)) < dense)
    rules = Rules(exclusives=(Exclusive(id="x", tags=words.tags, source="test"),))
    decoder = Decoder(rules.bind(words), load_settings().decoder)
    chosen = by_table("t0,1,-1,0,0", "t1,10,-5,0,0", "t2,0.1,-0.1,0,0")
    found = fit_thresholds(proba, labels, words, np.arange(n) % 3, chosen, decoder)
    decided = found.cutting.decoded(proba, decoder).toarray()
    gain = dense * [1, 10, 0.1] + (1 - dense) * [-1, -5, -0.1]
    best = gain.argmax(axis=1)
    expected = np.eye(3, dtype=bool)[best] & (gain.max(axis=1) >= 0)[:, None]
    assert (decided == expected).mean() > 0.999  # ties within rounding
    odds = np.log(dense / (1 - dense)) - np.log(found.value / (1 - found.value))
    assert (odds.argmax(axis=1) != best)[expected.any(axis=1)].any()  # by log-odds it would differ


def test_a_tags_own_objective_wins_over_the_table(draw: Make, by_table: Make) -> None:
    drawn, chosen = draw(3), by_table("*,1,-1,0,0", "t1,1,-0.25,-2,0")
    own = parse_objective("fixed:0.9", chosen)
    found = fit_thresholds(
        drawn.proba,
        drawn.matrix,
        drawn.vocabulary,
        np.arange(300) % 3,
        chosen,
        by_tag=[("t1", own)],
    )
    assert found.value[:2] == pytest.approx([0.5, 0.9])
    assert objective_text(chosen) == "utility by utility.csv"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("t1,1,-1,1,0", r"'t1' has tp=1, fp=-1, fn=1, tn=0; expected tp > fn and tn > fp"),
        ("*,1,1,0,0", r"'t0' has tp=1, fp=1"),
        ("t9,1,-1,0,0", r"no tag 't9' is known here"),
    ],
)
def test_a_table_by_which_nothing_can_be_decided_is_refused(
    draw: Make, by_table: Make, line: str, message: str
) -> None:
    with pytest.raises(TagstackError, match=message):
        assignments(draw(4).vocabulary, by_table(line), ())


def test_a_table_of_ever_other_rows_is_refused(by_table: Make) -> None:
    words = Vocabulary(tuple(f"t{i}" for i in range(1001)), ("general",) * 1001)
    chosen = by_table(*(f"t{i},{i + 1},-1,0,0" for i in range(1001)))
    with pytest.raises(TagstackError, match="1001 different rows; expected at most 1000"):
        assignments(words, chosen, ())
