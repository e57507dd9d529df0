"""The rungs of the comparison, from each single tagger to the stack with its rules.

Every rung from "tuned" on has thresholds of one strategy, fitted on the same out-of-fold images;
only the published rungs show what a user gets today. Where there are rules, every rung but those
stands there twice: without rules, and with rules and thresholds fitted for what they leave. What
the stack gains can so be told from what the rules do.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.comparison.rungs import Rung
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.deciding import decided_by
from tagstack.meta.stack.rung_spec import STACK, RungSpec, ruled_name, ruled_spec, single_spec

DECODED = ruled_name(STACK)

_FITTED = "thresholds fitted like the stack's"
_RULED = "with the rules, thresholds fitted for what they leave"
_MADE = "made without labels; nothing fitted here"


def member_proba(scores: Level1Scores, member: int) -> PairProba:
    """Return one member's own probabilities; NaN for tags that it does not know."""
    base = np.where(scores.knows[member], expit(scores.floor[member]), np.nan)
    return PairProba(
        pairs=scores.pairs,
        proba=expit(scores.logit[member]).astype(np.float32),
        base=base.astype(np.float32),
    )


def published_thresholds(member: MemberInfo, vocabulary: Vocabulary) -> NDArray[np.float32]:
    """Return a tagger's published thresholds over ``vocabulary``; infinite for unknown tags.

    Shape (n_tags,).
    """
    thresholds = np.full(len(vocabulary), np.inf, np.float32)
    own = [vocabulary.index[tag] for tag in member.vocabulary.tags]
    thresholds[own] = member.published_thresholds
    return thresholds


def climb(bundle: Bundle, dataset: Dataset) -> tuple[Rung, ...]:
    """Return every rung on a dataset's images, lowest first.

    Parameters
    ----------
    bundle : Bundle
    dataset : Dataset
        Images that the bundle was not fitted on, scored by the bundle's members.
    """
    bundle.check_members(dataset.members)
    probas = bundle.stacker.predict_rungs(dataset.scores, bundle.stacker.rungs_)
    chosen = probas[bundle.stacker.chosen_]
    decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)
    tuned, stacked = _tuned(bundle, probas, decoder), _stacked(bundle, chosen, decoder)
    return (*_published(dataset), *tuned, *stacked)


def _published(dataset: Dataset) -> Iterator[Rung]:
    for position, member in enumerate(dataset.members):
        thresholds = published_thresholds(member, dataset.scores.vocabulary)
        proba = member_proba(dataset.scores, position)
        yield Rung(
            spec=published_spec(member.name),
            proba=proba,
            decided=decided_by(proba, thresholds),
            thresholds=thresholds,
            note="as published: its own thresholds, nothing fitted here",
        )


def published_spec(member: str) -> RungSpec:
    """Return the spec of a tagger as it was published; calibrated it is a single of the stack."""
    return RungSpec(
        name=f"{member} @ published",
        title=f"{member} @ published threshold",
        kind="member",
        raw_of=single_spec(member).name,
        member=member,
    )


def _tuned(bundle: Bundle, probas: Mapping[str, PairProba], decoder: Decoder) -> Iterator[Rung]:
    for spec in bundle.stacker.specs_:
        proba, cutting = probas[spec.name], bundle.rung_cutting(spec.name)
        yield Rung(
            spec=spec,
            proba=proba,
            decided=cutting.decided(proba),
            thresholds=cutting.value,
            note=_MADE if spec.kind == "start" and len(probas) == 1 else _FITTED,
        )
        if ruled_name(spec.name) in bundle.rung_thresholds:
            cutting = bundle.rung_cutting(ruled_name(spec.name))
            yield Rung(
                spec=ruled_spec(spec),
                proba=proba,
                decided=cutting.decoded(proba, decoder),
                thresholds=cutting.value,
                note=_RULED,
                before_rules=cutting.decided(proba),
            )


def _stacked(bundle: Bundle, proba: PairProba, decoder: Decoder) -> Iterator[Rung]:
    stacker = bundle.stacker
    chosen = next(spec for spec in stacker.specs_ if spec.name == stacker.chosen_)
    plain = bundle.rung_cutting(chosen.name)
    spec = RungSpec(name=STACK, title="Stack", kind="stack")
    yield Rung(
        spec=spec,
        proba=proba,
        decided=plain.decided(proba),
        thresholds=plain.value,
        note=f"the rung chosen at fit time: {chosen.title}" if not bundle.caution else _MADE,
    )
    yield Rung(
        spec=ruled_spec(spec),
        proba=proba,
        decided=bundle.thresholds.cutting.decoded(proba, decoder),
        thresholds=bundle.thresholds.value,
        note=_RULED if not bundle.caution else _MADE,
        before_rules=bundle.thresholds.cutting.decided(proba),
    )
