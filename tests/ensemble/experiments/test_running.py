"""Who gets which arm, what is kept of outcomes, and what the page may say."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.experiments.contrast import A, B, Outcome
from tagstack.ensemble.experiments.experiment import FILE, Experiment, ExperimentArm
from tagstack.ensemble.experiments.outcomes import OutcomeStore
from tagstack.ensemble.experiments.page import render_page
from tagstack.ensemble.experiments.running import standing_of
from tagstack.ensemble.experiments.worth import outcome_of, worths_from
from tagstack.ensemble.tasks.experiment import record_outcomes, status_of


def experiment(**changes: object) -> Experiment:
    values: dict[str, object] = {
        "name": "try", "outcome": "accepted", "share": 0.3, "paired": False, "alpha": 0.05,
        "arms": {A: ExperimentArm(note="one"), B: ExperimentArm(note="<script>two")},
        "effect": 0.1, "baseline": 0.5,
        "salt": "s", "started_s": 0.0, "plan": {"typical": 300, "long": None, "looked": 20_000},
    }  # fmt: skip
    return Experiment(**(values | changes))  # type: ignore[arg-type]  # as the fields above


def test_the_hash_gives_shares_and_always_the_same() -> None:
    own, other = experiment(), experiment(salt="t")
    arms = [own.arm_of(str(unit)) for unit in range(4000)]
    assert arms.count(B) / 4000 == pytest.approx(0.3, abs=0.025)
    assert arms == [own.arm_of(str(unit)) for unit in range(4000)]
    assert 1000 < sum(a != other.arm_of(str(u)) for u, a in enumerate(arms)) < 2300


def test_the_first_outcome_stands_and_foreign_arms_are_refused(tmp_path: Path) -> None:
    own = experiment()
    own.save(tmp_path)
    assert Experiment.load(tmp_path) == own
    arm = own.arm_of("u")
    found = record_outcomes(tmp_path, [Outcome(unit="u", arm=arm, value=1.0)] * 2)
    assert (found.n_new, found.n_known) == (1, 1)
    record_outcomes(tmp_path, [Outcome(unit="u", arm=arm, value=0.0)])
    with OutcomeStore(tmp_path) as store:
        assert [o.value for o in store.all()] == [1.0]
    other = A if arm == B else B
    for bad, message in (
        (Outcome(unit="u", arm=other, value=0.5), "belongs to arm"),
        (Outcome(unit="v", arm=own.arm_of("v"), value=1.5), r"expected one in \[0, 1\]"),
        (Outcome(unit="v", arm=own.arm_of("v"), value=float("nan")), "expected one in"),
        (Outcome(unit="v", arm="C", value=0.5), "expected A or B"),
        (Outcome(unit=" ", arm=A, value=0.5), "no unit"),
    ):
        with pytest.raises(TagstackError, match=message):
            record_outcomes(tmp_path, [bad])
    with OutcomeStore(tmp_path) as store:
        store.stop()
    with pytest.raises(TagstackError, match="no more outcomes"):
        record_outcomes(tmp_path, [Outcome(unit="w", arm=own.arm_of("w"), value=0.5)])
    (tmp_path / FILE).write_text('{"format": 1}')
    with pytest.raises(TagstackError, match="is damaged"):
        Experiment.load(tmp_path)


@pytest.mark.parametrize(
    ("means", "verdict"), [((0.4, 0.7), "better"), ((0.7, 0.4), "worse"), ((0.5, 0.5), "open")]
)
def test_what_is_proven_is_said(means: tuple[float, float], verdict: str) -> None:
    rng, own = np.random.default_rng(3), experiment(share=0.5)
    outcomes = []
    for unit in range(500):
        arm = own.arm_of(str(unit))
        value = float(rng.random() < means[arm == B])
        outcomes.append(Outcome(unit=str(unit), arm=arm, value=value))
    found = standing_of(own, outcomes)
    assert found.verdict == verdict
    assert found.low < means[1] - means[0] < found.high
    assert [p.n for p in found.curve][-1] == found.n == 500


def test_arms_that_are_alike_are_told_from_arms_of_which_nothing_is_known() -> None:
    own = experiment(paired=True)
    assert standing_of(own, []).verdict == "open"
    both = [Outcome(unit=str(u), arm=arm, value=0.8) for u in range(400) for arm in (A, B)]
    assert standing_of(own, both).verdict == "alike"
    half = [outcome for outcome in both if outcome.arm == A]
    assert standing_of(own, half).n == 0


def test_the_page_shows_text_as_text_and_needs_no_script(tmp_path: Path) -> None:
    own = experiment(name='<img src=x onerror="alert(1)">')
    own.save(tmp_path)
    empty = render_page(*status_of(tmp_path))
    assert "No unit has its outcome yet" in empty
    arms = [(str(u), own.arm_of(str(u))) for u in range(30)]
    record_outcomes(tmp_path, [Outcome(unit=u, arm=arm, value=0.5) for u, arm in arms])
    page = render_page(*status_of(tmp_path))
    for text in (empty, page):
        assert "<script" not in text
        assert "<img" not in text
        assert "&lt;script&gt;two" in text
    assert "<polyline" in page
    assert "nan" not in page.split("</style>")[1].replace("provenance", "")
    # What is not worth a change is seen through the interval, and differences are round.
    assert page.index('<polygon class="wash"') < page.index('<rect class="band"')
    assert ">0</text>" in page
    assert ">+0.5</text>" in page


def test_threads_share_one_store(tmp_path: Path) -> None:
    with OutcomeStore(tmp_path) as store, ThreadPoolExecutor(8) as pool:
        given = [Outcome(unit=str(n % 150), arm="a", value=1.0) for n in range(200)]
        assert sum(pool.map(lambda one: store.record([one]), given)) == 150
        assert len(list(store.all())) == 150


def test_answers_count_by_what_they_are_worth(tmp_path: Path) -> None:
    worth = np.array([[1, 3, 1.0], [-1, -1, -1], [0, -5, 0], [0, 0, 0]])
    worths = worths_from(worth, Vocabulary(("a", "b", "c"), ("general",) * 3))
    assert worths == {"*": (1, -1, 0, 0), "b": (3, -1, -5, 0)}
    every = [
        outcome_of(worths, {"b": holds}, {"b"} if given else set())
        for holds in (True, False)
        for given in (True, False)
    ]
    assert every == pytest.approx([1, 0, 4 / 8, 5 / 8])  # of -5 to 3
    both = outcome_of(worths, {"b": True, "unheard": False}, {"unheard"})
    assert both == pytest.approx((-5 - 1 + 10) / 2 / 8)

    own = experiment(utility=worths)
    own.save(tmp_path)
    assert Experiment.load(tmp_path).utility == {"*": [1, -1, 0, 0], "b": [3, -1, -5, 0]}
    text = (tmp_path / FILE).read_text()
    for worse in ('"*": [1.0,', '"*": ["x",', '"+": ['):
        (tmp_path / FILE).write_text(text.replace('"*": [', worse, 1))
        with pytest.raises(TagstackError, match="is damaged"):
            Experiment.load(tmp_path)
