"""What a bundle remembers of its fit, as the report shows it: tuning, and what members are worth.

Bundles of older versions remember less; what is not there is empty.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tagstack.ensemble.report.cascade_evidence import CascadeEvidence, cascade_evidence

NEXT_TO_NOTHING = 0.02
"""Average precision whose loss nobody minds; an interval that reaches further shows no power."""


@dataclass(frozen=True, kw_only=True)
class TrialEvidence:
    """One tuning trial; ``value`` is NaN for one without a value, higher is better."""

    number: int
    value: float
    pruned: bool


@dataclass(frozen=True, kw_only=True)
class TuningEvidence:
    """Default against tuned settings on images that no trial saw; NaN where not measured."""

    default: float
    tuned: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class MemberLossEvidence:
    """Average precision that is lost, out of fold, when one member is left out."""

    member: str
    macro_ap: float
    macro_low: float
    macro_high: float
    micro_ap: float
    micro_low: float
    micro_high: float

    @property
    def is_spare(self) -> bool:
        """Whether next to nothing is lost without the member, and the images suffice to say so."""
        significant = self.macro_low > 0 or self.micro_low > 0
        return not significant and max(self.macro_high, self.micro_high) <= NEXT_TO_NOTHING


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How much every two members err together.

    Parameters
    ----------
    members : tuple of str
    disagreement : tuple of tuple of float, in [0, 1]
        Share of the plausible pairs on which exactly one of the two is right.
    q_statistic : tuple of tuple of float, in [-1, 1]
        1: they err together; 0: independently.
    """

    members: tuple[str, ...]
    disagreement: tuple[tuple[float, ...], ...]
    q_statistic: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class FrontierDot:
    """Both F-beta on left-out folds, after the rules.

    ``macro_share`` is NaN for one threshold for all tags.
    """

    macro_share: float
    macro_f: float
    micro_f: float


@dataclass(frozen=True, kw_only=True)
class FrontierEvidence:
    """What each share of the macro average costs in micro.

    Parameters
    ----------
    points : tuple of FrontierDot
        By rising share.
    one_threshold : FrontierDot
    in_use : float
    """

    points: tuple[FrontierDot, ...]
    one_threshold: FrontierDot
    in_use: float

    @property
    def used(self) -> FrontierDot | None:
        """The point of the share in use."""
        return next((point for point in self.points if point.macro_share == self.in_use), None)


@dataclass(frozen=True, kw_only=True)
class FitEvidence:
    """Everything above.

    Parameters
    ----------
    trials : tuple of TrialEvidence
    importances : tuple of (parameter, share)
        Largest first.
    worth : TuningEvidence, optional
    kept : bool
        Whether the tuned settings were kept.
    losses : tuple of MemberLossEvidence
        The member that is missed most first.
    losses_of : str
        The rung that was fitted without each member; empty where it is not said.
    likeness : Likeness, optional
    frontier : FrontierEvidence, optional
    cascade : CascadeEvidence, optional
    n_images, n_judged : int
        That were fitted on, and those of them that the rungs were judged on; 0 where it is not
        said.
    """

    trials: tuple[TrialEvidence, ...] = ()
    importances: tuple[tuple[str, float], ...] = ()
    worth: TuningEvidence | None = None
    kept: bool = True
    losses: tuple[MemberLossEvidence, ...] = ()
    losses_of: str = ""
    likeness: Likeness | None = None
    frontier: FrontierEvidence | None = None
    cascade: CascadeEvidence | None = None
    n_images: int = 0
    n_judged: int = 0


def fit_evidence(evidence: Mapping[str, Any]) -> FitEvidence:
    """Return what a bundle's evidence holds of all this.

    Parameters
    ----------
    evidence : mapping
        As in the bundle's manifest; null stands for NaN.
    """
    tuning = evidence.get("tuning") or {}
    importances = (tuning.get("importances") or {}).items()
    losses = tuple(
        MemberLossEvidence(
            member=row["member"],
            **{
                key: _number(row.get(key))
                for key in MemberLossEvidence.__annotations__
                if key != "member"
            },
        )
        for row in evidence.get("members_worth") or ()
    )
    return FitEvidence(
        trials=_trials(tuning),
        importances=tuple(sorted(importances, key=lambda item: (-item[1], item[0]))),
        worth=_worth(tuning.get("worth")),
        kept=bool(tuning.get("kept", True)),
        losses=tuple(sorted(losses, key=lambda loss: (-loss.macro_ap, loss.member))),
        losses_of=str(evidence.get("members_worth_rung") or ""),
        likeness=_likeness(evidence.get("diversity")),
        frontier=_frontier(evidence.get("frontier")),
        cascade=cascade_evidence(evidence.get("cascade")),
        n_images=int(evidence.get("n_images") or 0),
        n_judged=int(evidence.get("n_judged") or 0),
    )


def _trials(tuning: Mapping[str, Any]) -> tuple[TrialEvidence, ...]:
    if tuning.get("trials"):
        return tuple(
            TrialEvidence(
                number=row["number"],
                value=_number(row.get("value")),
                pruned=str(row.get("state", "")).lower() == "pruned",
            )
            for row in tuning["trials"]
        )
    return tuple(
        TrialEvidence(number=number, value=_number(value), pruned=False)
        for number, value in enumerate(tuning.get("history", ()))
    )


def _worth(found: Mapping[str, Any] | None) -> TuningEvidence | None:
    if not found:
        return None
    return TuningEvidence(
        **{key: _number(found.get(key)) for key in TuningEvidence.__annotations__}
    )


def _likeness(found: Mapping[str, Any] | None) -> Likeness | None:
    if not found or len(found["members"]) < 2:
        return None
    tables = {
        key: tuple(tuple(_number(value) for value in row) for row in found[key])
        for key in ("disagreement", "q_statistic")
    }
    return Likeness(members=tuple(found["members"]), **tables)


def _frontier(found: Mapping[str, Any] | None) -> FrontierEvidence | None:
    if not found or not found["points"]:
        return None
    return FrontierEvidence(
        points=tuple(_point(row) for row in found["points"]),
        one_threshold=_point(found["one_threshold"]),
        in_use=float(found["in_use"]),
    )


def _point(row: Mapping[str, Any]) -> FrontierDot:
    return FrontierDot(**{key: _number(row.get(key)) for key in FrontierDot.__annotations__})


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
