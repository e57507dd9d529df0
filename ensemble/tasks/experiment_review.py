"""Outcomes of an experiment from the answers of a review: each picture judges both arms."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tagstack.base_models.scores.store import ScoreStore
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.experiments.contrast import A, B, Outcome
from tagstack.ensemble.experiments.experiment import Experiment
from tagstack.ensemble.experiments.measure import Answers
from tagstack.ensemble.experiments.worth import outcome_of
from tagstack.ensemble.feedback.store import FILE as DECISIONS
from tagstack.ensemble.feedback.store import DecisionStore
from tagstack.ensemble.tasks.experiment import bundle_of

_CHUNK = 512
Judge = Callable[[Answers, set[str]], float]


def outcomes_of_review(folder: Path, review: Path, scores: Path) -> list[Outcome]:
    """Return for every judged picture of a review how well each arm's tags do by its answers.

    That is the share of the answers that they agree with, what they are worth, or a metric.
    Answers on the frozen slice alone count: its pairs were drawn evenly, whichever tags an arm
    gives; what another order asks about is what the arm that was reviewed is in doubt of.

    Raises
    ------
    TagstackError
        If the experiment is not paired, an arm is no bundle, or nothing was judged.
    """
    experiment = Experiment.load(folder)
    if not experiment.paired:
        msg = "Answers of a review judge both arms of every picture: start with --paired for them."
        raise TagstackError(msg)
    judge, answers = _judge_of(experiment), _judged(review)
    store = ScoreStore(scores)
    found: dict[str, dict[str, float]] = {}
    for arm in (A, B):
        bundle = bundle_of(experiment.arms[arm])
        for image, value in _outcomes(bundle, store, answers, judge):
            found.setdefault(image, {})[arm] = value
    return paired_outcomes({image: found.get(image, {}) for image in answers})


def paired_outcomes(found: Mapping[str, Mapping[str, float]]) -> list[Outcome]:
    """Return the outcomes of pictures by arm, without those that lack one or say nothing.

    A picture for which both arms are NaN says nothing of either; NaN in one arm alone is nothing
    that this arm did well, and counts as 0.
    """
    return [
        Outcome(unit=image, arm=arm, value=0.0 if math.isnan(own[arm]) else own[arm])
        for image, own in found.items()
        if len(own) == 2 and not all(map(math.isnan, own.values()))
        for arm in (A, B)
    ]


def _judge_of(experiment: Experiment) -> Judge:
    """Return what gives an outcome by a picture's answers and tags; NaN where it is undefined."""
    if experiment.measure is not None:
        return experiment.measure.judge()
    if experiment.utility:
        return lambda answers, given: outcome_of(experiment.utility, answers, given)
    return lambda answers, given: (
        sum((tag in given) == there for tag, there in answers.items()) / len(answers)
    )


def _judged(review: Path) -> dict[str, dict[str, bool]]:
    """Return the answers on the frozen slice by image and tag, in the order of the answers."""
    if not (review / DECISIONS).is_file():
        msg = f"{review} holds no decisions ({DECISIONS}). Give the folder that a review keeps."
        raise TagstackError(msg)
    with DecisionStore(review / DECISIONS) as store:
        standing = sorted(store.standing(), key=lambda item: item.number)
    found: dict[str, dict[str, bool]] = {}
    for item in standing:
        if item.judging and item.answer != "skip":
            found.setdefault(item.image, {})[item.tag] = item.answer == "yes"
    if not found:
        msg = (
            f"Nobody has answered on the frozen slice of {review}. Choose the order 'Random slice' "
            "on the page."
        )
        raise TagstackError(msg)
    return found


def _outcomes(
    bundle: Bundle, store: ScoreStore, answers: Mapping[str, Answers], judge: Judge
) -> Iterator[tuple[str, float]]:
    """Yield images with what a bundle's tags come to by their answers."""
    bundle.check_members(store.members())
    members = [member.name for member in bundle.members]
    decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)
    tags = np.array(bundle.vocabulary.tags, object)
    for chunk in store.iter_chunks(_CHUNK, sorted(answers), members):
        proba = bundle.stacker.predict_proba(chunk)
        decided = bundle.thresholds.cutting.decoded(proba, decoder)
        for i, image in enumerate(chunk.images):
            given = set(tags[decided.indices[decided.indptr[i] : decided.indptr[i + 1]]])
            yield image, judge(answers[image], given)
