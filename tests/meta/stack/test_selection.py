import numpy as np
import pytest
from numpy.typing import NDArray

from tagstack.meta.metrics.leads import FoldScore, Judgement
from tagstack.meta.stack.selection import choose_bands, choose_rung, level_rungs


def judgement(*scores: FoldScore) -> Judgement:
    """Return a judgement whose objective is one score, or the mean of macro-AP and micro-AP."""
    parts = dict(zip(("macro_ap", "micro_ap"), scores, strict=False))
    whole = FoldScore.average(scores)
    return Judgement(macro_ap=scores[0], micro_ap=scores[-1], objective=whole, parts=parts)


ORDER = ("mean", "caruana", "xgboost")


def score(mean: float, *influence: float) -> FoldScore:
    return FoldScore(values=np.array([mean, mean]), influence=np.array(influence))


def test_a_clear_lead_is_kept() -> None:
    ladder = {
        "mean": judgement(score(0.50, 0.01, -0.01)),
        "caruana": judgement(score(0.53, 0.01, -0.01)),
        "xgboost": judgement(score(0.60, 0.02, -0.02)),
    }
    chosen, why = choose_rung(ladder, ORDER, 1.0)
    assert chosen == "xgboost"
    assert why["mean"].startswith("+0.1000 behind xgboost, standard error 0.0200")


def test_of_rungs_within_one_standard_error_the_simplest_wins() -> None:
    ladder = {
        "mean": judgement(score(0.510, 0.01, -0.01)),
        "caruana": judgement(score(0.500, 0.01, -0.01)),
        "xgboost": judgement(score(0.512, 0.02, -0.02)),
    }
    chosen, why = choose_rung(ladder, ORDER, 1.0)
    assert chosen == "mean"
    assert why["mean"].endswith("; simpler")
    assert choose_rung(ladder, ORDER, 0.0)[0] == "xgboost"


def test_what_all_rungs_have_in_common_is_no_uncertainty_of_their_difference() -> None:
    ladder = {
        "mean": judgement(score(0.50, 0.3, -0.3)),
        "caruana": judgement(score(0.51, 0.301, -0.301)),
    }
    assert choose_rung(ladder, ("mean", "caruana"), 1.0)[0] == "caruana"


def test_nothing_to_judge_by_means_the_mean() -> None:
    nan = float("nan")
    empty = {rung: judgement(score(nan, 0.0, 0.0)) for rung in ORDER}
    assert choose_rung(empty, ORDER, 1.0)[0] == "mean"
    one_group = {
        "mean": judgement(score(0.5, 0.0, 0.0)),
        "caruana": judgement(score(0.9, 0.1, 0.0)),
    }
    assert choose_rung(one_group, ("mean", "caruana"), 1.0)[0] == "mean"


def test_a_small_but_certain_lead_in_one_part_is_not_hidden_by_the_noise_of_the_other() -> None:
    noisy, certain = (0.10, -0.10), (0.0002, -0.0002)
    ladder = {
        "mean": judgement(score(0.50, 0.0, 0.0), score(0.900, 0.0, 0.0)),
        "xgboost": judgement(score(0.50, *noisy), score(0.902, *certain)),
    }
    chosen, why = choose_rung(ladder, ("mean", "xgboost"), 1.0)
    assert chosen == "xgboost"
    assert why["mean"].endswith("micro_ap +0.0020, standard error 0.0004")
    assert choose_rung(ladder, ("mean", "xgboost"), 9.0)[0] == "mean"


@pytest.mark.parametrize(("lead", "kept"), [(0.05, "caruana"), (0.01, "xgboost")])
def test_a_band_keeps_a_simpler_rung_only_where_it_clearly_leads(lead: float, kept: str) -> None:
    def of(rung: str, tags: NDArray[np.bool_]) -> FoldScore:
        if rung == "caruana" and tags[0]:
            return score(0.5 + lead, 0.02, -0.02)
        return score(0.5, 0.0, 0.0) if rung == "xgboost" else score(0.4, 0.02, -0.02)

    positives = np.array([1, 2, 50, 500])
    bands = choose_bands(of, ("calibrated_mean", "caruana"), "xgboost", positives, (5, 100, 900), 1)
    assert [(b.title, b.n_tags, b.rung) for b in bands] == [
        ("0-4", 2, kept), ("5-99", 1, "xgboost"), ("100-899", 1, "xgboost"), ("900+", 0, "xgboost"),
    ]  # fmt: skip


def test_a_rung_gives_way_to_the_one_that_holds_it_unless_it_clearly_leads() -> None:
    order, within = ("mean", "caruana", "blend"), {"caruana": "blend"}
    ladder = {
        "mean": judgement(score(0.50, 0.01, -0.01)),
        "caruana": judgement(score(0.60, 0.02, -0.02)),
        "blend": judgement(score(0.59, 0.01, -0.01)),
    }
    chosen, why = choose_rung(ladder, order, 1.0, within)
    assert chosen == "blend"
    assert why["blend"].startswith("chosen: +0.0100 behind caruana")
    assert why["blend"].endswith("holds caruana, which does not clearly lead it")
    assert why["caruana"] == "best of the rungs"
    assert choose_rung(ladder, order, 0.0, within)[0] == "caruana"
    # An average of the members is no part of what is learned: it stays the simplest that suffices.
    ladder["mean"] = judgement(score(0.595, 0.01, -0.01))
    assert choose_rung(ladder, order, 1.0, within)[0] == "mean"
    assert choose_rung(ladder, ("mean", "caruana"), 0.0, within)[0] == "caruana"


def test_level_rungs_are_those_that_the_best_does_not_clearly_lead() -> None:
    ladder = {
        "mean": judgement(score(0.50, 0.01, -0.01), score(0.95, 0.001, -0.001)),
        "caruana": judgement(score(0.59, 0.02, -0.02), score(0.80, 0.03, -0.03)),
        "xgboost": judgement(score(0.60, 0.01, -0.01), score(0.805, 0.02, -0.02)),
    }
    assert level_rungs(ladder, ("mean", "caruana", "xgboost"), 1.0) == ("mean",)
    assert level_rungs(ladder, ("caruana", "xgboost"), 1.0) == ("caruana", "xgboost")
    assert level_rungs(ladder, ("caruana", "xgboost"), 0.0) == ("xgboost",)
    nan = float("nan")
    empty = {rung: judgement(score(nan, 0.0, 0.0)) for rung in ORDER}
    assert level_rungs(empty, ORDER, 1.0) == ORDER
    assert level_rungs(empty | {"mean": ladder["mean"]}, ORDER, 1.0) == ("mean",)
