"""What each member adds: the score that is lost without it; and how far members err together.

Leaving a member out is the one fair question, since a poor member may say what no other does and
a good one may repeat the others. Two ways to ask it, by ``stack.member_worth``:

- ``logistic``: the shrunken logistic over the members' cached out-of-fold logits, fitted again
  without the member. Seconds for any number of members; speaks about their linear part.
- ``full``: every rung fitted again without the member, except that nothing is tuned; speaks about
  the rung that was chosen.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.meta.calibrators.calibration import regression_rows
from tagstack.meta.calibrators.tag_rows import TagRows
from tagstack.meta.labels.truth import PairTruth
from tagstack.meta.learners.shrunken_logistic import MANY, fit_on_rows, rows_of_some
from tagstack.meta.metrics.influence import expected_f1_cuts
from tagstack.meta.metrics.leads import Judgement, Lead
from tagstack.meta.metrics.ranking import Rankings
from tagstack.meta.progress import Progress
from tagstack.meta.stack.choice import Choice
from tagstack.meta.stack.fold_fits import held_together
from tagstack.meta.stack.foundation import Foundation, lay_foundation
from tagstack.meta.stack.groundwork import Ground
from tagstack.meta.stack.groundwork_fits import GroundworkPairs
from tagstack.meta.stack.ladder import Ladder, climb
from tagstack.meta.stack.rungs import RungLogits

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """Measures of every pair of members, over the candidate pairs that both know.

    Parameters
    ----------
    members : tuple of str
    disagreement : array of shape (n_members, n_members), float64, in [0, 1]
        Share of the pairs on which exactly one of the two is right; 0 on the diagonal.
    q_statistic : array of shape (n_members, n_members), float64, in [-1, 1]
        1: right and wrong together; 0: independent; below 0: where one errs, the other is right.
        NaN where undefined, as for two members that never err.
    """

    members: tuple[str, ...]
    disagreement: Floats
    q_statistic: Floats


def drawn_diversity(foundation: Foundation) -> Diversity:
    """Return the diversity of the members' decisions on the images that rungs are judged on."""
    ground, data, judges = foundation.ground, foundation.data, foundation.judges
    if judges.whole:
        return diversity(ground, data.scores, foundation.fitter.truth)
    members = replace(ground.members, listed=ground.members.listed[:, judges.rows])
    drawn = replace(ground, members=members, rows=judges.places(ground.rows))
    return diversity(drawn, data.scores.take(judges.images), judges.scorer.truth)


def diversity(ground: Ground, scores: Level1Scores, truth: PairTruth) -> Diversity:
    """Return the diversity of the members' out-of-fold decisions.

    Each member tags what reaches its own plug-in threshold for the tag. Only pairs that some
    member makes plausible are looked at: on all others every member is right.

    Parameters
    ----------
    ground : Ground
        Cross-fitted: calibrated logits of images that the calibration did not see.
    scores : Level1Scores
    truth : PairTruth

    References
    ----------
    Kuncheva & Whitaker (2003), "Measures of diversity in classifier ensembles and their
    relationship with the ensemble accuracy".
    """
    rows = ground.rows[truth.known[ground.rows]]
    tag, true = scores.pairs.tag[rows].astype(np.int64), truth.listed[rows]
    members = ground.members
    n = len(scores.members)
    right = np.empty((n, len(rows)), bool)
    for m in range(n):
        cuts = _cuts(expit(members.listed[m]), expit(members.base[m]), scores)
        with np.errstate(invalid="ignore"):  # an abstaining member tags nothing
            right[m] = (expit(members.listed[m, rows]) >= cuts[tag]) == true
    known = scores.knows[:, tag]
    tables = np.array([[_table(right, known, a, b) for b in range(n)] for a in range(n)])
    return Diversity(
        members=scores.members,
        disagreement=_share(tables[..., 0, 1] + tables[..., 1, 0], tables.sum(axis=(-1, -2))),
        q_statistic=_q_statistic(tables),
    )


def _cuts(listed: Floats, base: Floats, scores: Level1Scores) -> Floats:
    """Return one member's threshold of each tag, shape (n_tags,)."""
    pairs, n_tags = scores.pairs, scores.pairs.n_tags
    n_unlisted = pairs.n_images - np.bincount(pairs.tag, minlength=n_tags)
    value = np.concatenate([listed, base]).astype(np.float32)
    count = np.concatenate([np.ones(len(pairs), np.int64), n_unlisted])
    none = np.zeros(len(value), np.int64)
    rankings = Rankings(
        key=np.concatenate([pairs.tag, np.arange(n_tags)]).astype(np.int64),
        value=value,
        count=count,
        true=none,
        n_true=np.zeros(n_tags, np.int64),
    )
    return expected_f1_cuts(rankings, ~np.isnan(value) & (count > 0))


def _table(right: NDArray[np.bool_], known: NDArray[np.bool_], a: int, b: int) -> Floats:
    """Return how many pairs both err on, one, the other, none: array of shape (2, 2)."""
    both = known[a] & known[b]
    index = 2 * right[a, both] + right[b, both]
    return np.bincount(index, minlength=4).reshape(2, 2).astype(np.float64)


def _q_statistic(tables: Floats) -> Floats:
    together = tables[..., 1, 1] * tables[..., 0, 0]
    apart = tables[..., 0, 1] * tables[..., 1, 0]
    return _share(together - apart, together + apart)


def _share(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


@dataclass(frozen=True, kw_only=True)
class MemberLoss:
    """What is lost without one member, out of fold; intervals are of 95 % over image groups.

    Parameters
    ----------
    member : str
    macro_ap, macro_low, macro_high, micro_ap, micro_low, micro_high : float
        Average precision with all members minus that without this one.
    """

    member: str
    macro_ap: float
    macro_low: float
    macro_high: float
    micro_ap: float
    micro_low: float
    micro_high: float


@dataclass(frozen=True, kw_only=True)
class MembersWorth:
    """Every member's loss.

    Parameters
    ----------
    rung : str
        The rung that was fitted without each member.
    losses : tuple of MemberLoss
        Empty for a single member, which cannot be left out.
    """

    rung: str
    losses: tuple[MemberLoss, ...]


def members_worth(ladder: Ladder, choice: Choice, progress: Progress) -> MembersWorth | None:
    """Return what each member of a ladder adds; None where the settings do not ask.

    Parameters
    ----------
    ladder : Ladder
    choice : Choice
        What the gate kept of it.
    progress : callable
    """
    how = ladder.settings.member_worth
    if how == "none":
        return None
    full = how == "full"
    rung = "shrunken_logistic" if not full else _unbanded(choice)
    foundation, members = ladder.foundation, ladder.foundation.data.scores.members
    if len(members) < 2:
        return MembersWorth(rung=rung, losses=())
    progress("worth of members", 0, len(members))
    scorer = foundation.judges.scorer
    logistics = None if full else _Logistics(foundation)
    whole = ladder.rungs.drawn(rung) if logistics is None else logistics.proba()
    of_whole = scorer.judgement(whole, "balanced_ap")
    losses = []
    for m, name in enumerate(members):
        progress("worth of members", m, len(members))
        without = _refitted(ladder, m, rung) if logistics is None else logistics.proba(without=m)
        losses.append(_loss(name, of_whole, scorer.judgement(without, "balanced_ap")))
    return MembersWorth(rung=rung, losses=tuple(losses))


def _unbanded(choice: Choice) -> str:
    """Return the rung that serves most tags where bands have their own."""
    if not choice.tag_rungs:
        return choice.chosen
    rungs, counts = np.unique(np.array(choice.tag_rungs), return_counts=True)
    return str(rungs[np.argmax(counts)])


def _loss(member: str, whole: Judgement, without: Judgement) -> MemberLoss:
    """Return what is lost without a member."""
    macro = Lead.of(whole.macro_ap, without.macro_ap)
    micro = Lead.of(whole.micro_ap, without.micro_ap)
    return MemberLoss(
        member=member,
        macro_ap=macro.value,
        macro_low=macro.interval[0],
        macro_high=macro.interval[1],
        micro_ap=micro.value,
        micro_low=micro.interval[0],
        micro_high=micro.interval[1],
    )


def _refitted(ladder: Ladder, member: int, rung: str) -> PairProba:
    """Return the rung out of fold, everything below it fitted without the member."""
    fitter = ladder.foundation.fitter
    again = lay_foundation(
        fitter.data.without_member(member),
        ladder.settings,
        seed=fitter.seed,
        threads=fitter.threads,
        progress=_silent,
    )
    return climb(again, _silent, off=ladder.off).rungs.drawn(rung)


class _Logistics:
    """Shrunken logistics of all members and of all but one, from cached logits, out of fold.

    All look at the pairs that are drawn for all members, sorted once: what they differ by is the
    member alone.
    """

    def __init__(self, foundation: Foundation) -> None:
        data, self._foundation = foundation.data, foundation
        self._members, self._pairs = foundation.ground.members, foundation.pairs
        # A fit looks at so many pairs and no more: without half of the folds it sees as many.
        self._folds = held_together(data.folds, np.diff(self._pairs.indptr), MANY)
        work = GroundworkPairs(data.scores, data.evidence, self._folds, data.spill)
        self._rows = [self._drawn(work, fold) for fold in range(work.n_folds)]

    def proba(self, without: int | None = None) -> PairProba:
        """Return the probabilities of the drawn images, a member perhaps left out."""
        foundation, pairs, judges = self._foundation, self._pairs, self._foundation.judges
        chosen = [m for m in range(len(self._members.base)) if m != without]
        base, of_drawn = self._members.base[chosen], np.arange(len(pairs))[judges.rows]
        fold = self._folds[pairs.image[of_drawn]]
        listed, base_logit = np.empty(len(of_drawn)), np.zeros(pairs.n_tags)
        for f, rows in enumerate(self._rows):
            fitted = fit_on_rows(rows_of_some(rows, chosen), foundation.strengths.logistic)
            held = np.flatnonzero(fold == f)
            own = of_drawn[held]
            listed[held] = fitted.listed(self._said(own)[chosen], pairs.tag[own])
            base_logit += fitted.base(base) / len(self._rows)
        return RungLogits(listed=listed, base=base_logit).proba(judges.scorer.pairs)

    def _drawn(self, work: GroundworkPairs, left_out: int) -> TagRows:
        """Return what logistics without one fold are fitted on, in the members' own logits."""
        rows, truth = work.drawn(left_out, self._said)
        return regression_rows(
            self._said(rows),
            self._members.base,
            self._pairs.tag[rows],
            truth,
            work.category,
            np.logical_not(np.isnan(self._members.base).all(axis=0)),
        )

    def _said(self, rows: NDArray[np.int64]) -> Floats:
        return np.asarray(self._members.listed[:, rows], np.float64)


def _silent(stage: str, done: int, total: int) -> None:
    """Tell nobody: the stages of a fit without a member are no stages of the fit."""
