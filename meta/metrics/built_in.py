"""The built-in scores, which `hooks.METRICS` names; ``F`` in a title stands for F-beta's name."""

from typing import Any

from tagstack.meta.metrics.counts import defined_mean
from tagstack.meta.metrics.ranking import average_precision, micro_average_precision
from tagstack.meta.metrics.scores import Judged, Score
from tagstack.meta.metrics.weighted_ranking import without_abstentions


def _decided(name: str, title: str, meaning: str = "", **more: Any) -> Score:
    def read(judged: Judged) -> float:
        return float(getattr(judged.decisions, name))

    return Score(name=name, title=title, meaning=meaning, needs="decisions", function=read, **more)


def _loss(name: str, title: str, digits: int) -> Score:
    def read(judged: Judged) -> float:
        return float(getattr(judged.probabilities, name))

    return Score(
        name=name,
        title=title,
        needs="proba",
        function=read,
        larger_is_better=False,
        digits=digits,
    )


def _macro_ap(judged: Judged) -> float:
    return defined_mean(average_precision(without_abstentions(judged.proba), judged.labels))


def _micro_ap(judged: Judged) -> float:
    return micro_average_precision(without_abstentions(judged.proba), judged.labels)


MACRO_F = _decided("macro_f", "macro-F", "mean of the tags' F: every tag counts the same")
MACRO_PRECISION = _decided("macro_precision", "macro-P")
MACRO_RECALL = _decided("macro_recall", "macro-R")
MICRO_F = _decided("micro_f", "micro-F", "F of all (image, tag) pairs: common tags count most")
MICRO_PRECISION = _decided("micro_precision", "micro-P")
MICRO_RECALL = _decided("micro_recall", "micro-R")
SAMPLE_F = _decided("sample_f", "sample-F", "mean of the images' F: every image counts the same")
SAMPLE_PRECISION = _decided("sample_precision", "sample-P")
SAMPLE_RECALL = _decided("sample_recall", "sample-R")
WEIGHTED_F = _decided("weighted_f", "weighted-F")
WEIGHTED_PRECISION = _decided("weighted_precision", "weighted-P")
WEIGHTED_RECALL = _decided("weighted_recall", "weighted-R")

MICRO_MCC = _decided("micro_mcc", "micro-MCC")
MACRO_MCC = _decided("macro_mcc", "macro-MCC")
SUBSET_ACCURACY = _decided("subset_accuracy", "Subset accuracy")
HAMMING_LOSS = _decided("hamming_loss", "Hamming loss", larger_is_better=False, digits=5)

MACRO_AP = Score(
    name="macro_ap",
    title="macro-AP",
    meaning="mean of the tags' average precision: the ranking alone, before any threshold",
    needs="proba",
    function=_macro_ap,
)
MICRO_AP = Score(
    name="micro_ap",
    title="micro-AP",
    meaning="average precision of all (image, tag) pairs ranked together",
    needs="proba",
    function=_micro_ap,
)
LRAP = Score(name="lrap", title="LRAP", needs="proba", function=lambda j: j.ranking.lrap)
COVERAGE = Score(
    name="coverage",
    title="Coverage",
    needs="proba",
    function=lambda j: j.ranking.coverage,
    larger_is_better=False,
    digits=1,
)
BRIER = _loss("brier", "Brier", 5)
LOG_LOSS = _loss("log_loss", "Log loss", 5)
CLASSWISE_ECE = _loss("classwise_ece", "Classwise ECE", 4)
