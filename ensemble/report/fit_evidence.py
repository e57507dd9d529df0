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
class Trial:
    """One tuning trial; ``value`` is NaN for one without a value, higher is better."""

    number: int
    value: float
    pruned: bool


@dataclass(frozen=True, kw_only=True)
class TuningWorth:
    """Default against tuned settings on images that no trial saw; NaN where not measured."""

    default: float
    tuned: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class MemberLoss:
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
class FrontierPoint:
    """Both F-beta on left-out folds, after the rules.

    ``macro_share`` is NaN for one threshold for all tags.
    """

    macro_share: float
    macro_f: float
    micro_f: float


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """What each share of the macro average costs in micro.

    Parameters
    ----------
    points : tuple of FrontierPoint
        By rising share.
    one_threshold : FrontierPoint
    in_use : float
    """

    points: tuple[FrontierPoint, ...]
    one_threshold: FrontierPoint
    in_use: float

    @property
    def used(self) -> FrontierPoint | None:
        """The point of the share in use."""
        return next((point for point in self.points if point.macro_share == self.in_use), None)


@dataclass(frozen=True, kw_only=True)
class FitEvidence:
    """Everything above.

    Parameters
    ----------
    trials : tuple of Trial
    importances : tuple of (parameter, share)
        Largest first.
    worth : TuningWorth, optional
    kept : bool
        Whether the tuned settings were kept.
    losses : tuple of MemberLoss
        The member that is missed most first.
    losses_of : str
        The rung that was fitted without each member; empty where it is not said.
    likeness : Likeness, optional
    frontier : Frontier, optional
    cascade : CascadeEvidence, optional
    n_images, n_judged : int
        That were fitted on, and those of them that the rungs were judged on; 0 where it is not
        said.
    """

    trials: tuple[Trial, ...] = ()
    importances: tuple[tuple[str, float], ...] = ()
    worth: TuningWorth | None = None
    kept: bool = True
    losses: tuple[MemberLoss, ...] = ()
    losses_of: str = ""
    likeness: Likeness | None = None
    frontier: Frontier | None = None
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
        MemberLoss(
            member=row["member"],
            **{key: _number(row.get(key)) for key in MemberLoss.__annotations__ if key != "member"},
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


def _trials(tuning: Mapping[str, Any]) -> tuple[Trial, ...]:
    if tuning.get("trials"):
        return tuple(
            Trial(
                number=row["number"],
                value=_number(row.get("value")),
                pruned=str(row.get("state", "")).lower() == "pruned",
            )
            for row in tuning["trials"]
        )
    return tuple(
        Trial(number=number, value=_number(value), pruned=False)
        for number, value in enumerate(tuning.get("history", ()))
    )


def _worth(found: Mapping[str, Any] | None) -> TuningWorth | None:
    if not found:
        return None
    return TuningWorth(**{key: _number(found.get(key)) for key in TuningWorth.__annotations__})


def _likeness(found: Mapping[str, Any] | None) -> Likeness | None:
    if not found or len(found["members"]) < 2:
        return None
    tables = {
        key: tuple(tuple(_number(value) for value in row) for row in found[key])
        for key in ("disagreement", "q_statistic")
    }
    return Likeness(members=tuple(found["members"]), **tables)


def _frontier(found: Mapping[str, Any] | None) -> Frontier | None:
    if not found or not found["points"]:
        return None
    return Frontier(
        points=tuple(_point(row) for row in found["points"]),
        one_threshold=_point(found["one_threshold"]),
        in_use=float(found["in_use"]),
    )


def _point(row: Mapping[str, Any]) -> FrontierPoint:
    return FrontierPoint(**{key: _number(row.get(key)) for key in FrontierPoint.__annotations__})


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
