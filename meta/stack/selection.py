"""The gate: the simplest rung that suffices, overall and for tags of few positives.

The standard error of a lead comes from all groups of images, not from the folds: five differences
give an error that is itself wrong by a third.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.metrics.leads import FoldScore, Judgement, Lead
from tagstack.meta.stack.ladder_row import Band, LadderRow


def choose_rung(
    judgements: Mapping[str, Judgement],
    order: Sequence[str],
    standard_errors: float,
    within: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, str]]:
    """Return the simplest rung that the best does not clearly beat, and what was said of each.

    The best by the objective may lead clearly in none of the scores that the objective is the
    mean of: the noise of rare tags in macro-AP must not hide a small but certain lead in micro-AP.

    Parameters
    ----------
    judgements : mapping of rung to Judgement
    order : sequence of str
        Rungs that may be chosen, the simplest first.
    standard_errors : float
        A lead of more than this many standard errors of the paired difference is clear.
    within : mapping of str to str, optional
        Rungs that are part of a later one. Such a rung is not kept alone unless it clearly leads
        that one: an average of rungs that cannot be told apart errs less than a guess which of
        them is the best.

    Returns
    -------
    chosen : str
    why : dict of rung to str

    References
    ----------
    Breiman, Friedman, Olshen & Stone (1984), "Classification and regression trees" (the rule of
    one standard error).
    """
    if not any(judgements[rung].objective.usable.any() for rung in order):
        return order[0], {order[0]: "chosen: no fold has a positive label to judge by"}
    best = max(order, key=lambda rung: judgements[rung].objective.mean)
    chosen, why = best, {}
    for rung in reversed(order):
        leads = _leads(judgements[best], judgements[rung])
        if rung == best or not any(lead.clear(standard_errors) for lead in leads.values()):
            chosen = rung
        why[rung] = _behind(best, leads, standard_errors)
    why[best] = "best of the rungs"
    whole = (within or {}).get(chosen, "")
    if whole in order and not clearly_leads(judgements[chosen], judgements[whole], standard_errors):
        why[whole] = f"chosen: {why[whole]}; holds {chosen}, which does not clearly lead it"
        return whole, why
    why[chosen] = f"chosen: {why[chosen]}" + ("" if chosen == best else "; simpler")
    return chosen, why


def clearly_leads(ahead: Judgement, behind: Judgement, standard_errors: float) -> bool:
    """Whether one rung is ahead by so many standard errors, in the objective or a part of it."""
    return any(lead.clear(standard_errors) for lead in _leads(ahead, behind).values())


def level_rungs(
    judgements: Mapping[str, Judgement], names: Sequence[str], standard_errors: float
) -> tuple[str, ...]:
    """Return those of ``names`` that the best of them does not clearly lead; all without a score.

    Parameters
    ----------
    judgements : mapping of rung to Judgement
    names : sequence of str
    standard_errors : float
    """
    usable = [name for name in names if judgements[name].objective.usable.any()]
    if not usable:
        return tuple(names)
    best = max(usable, key=lambda name: judgements[name].objective.mean)
    ahead = judgements[best]
    return tuple(
        name
        for name in usable
        if name == best or not clearly_leads(ahead, judgements[name], standard_errors)
    )


def _leads(ahead: Judgement, behind: Judgement) -> dict[str, Lead]:
    """Return the lead in the objective, and in each of its parts if there are several."""
    leads = {"objective": Lead.of(ahead.objective, behind.objective)}
    if len(ahead.parts) > 1:
        leads |= {p: Lead.of(score, behind.parts[p]) for p, score in ahead.parts.items()}
    return leads


def _behind(best: str, leads: Mapping[str, Lead], standard_errors: float) -> str:
    """Return how far behind, in the objective and in each part where that is clear."""
    whole = leads["objective"]
    said = [f"{whole.value:+.4f} behind {best}, standard error {whole.error:.4f}"]
    for part, lead in leads.items():
        if part != "objective" and lead.clear(standard_errors):
            said.append(f"{part} {lead.value:+.4f}, standard error {lead.error:.4f}")
    return "; ".join(said)


def choose_bands(
    score: Callable[[str, NDArray[np.bool_]], FoldScore],
    simpler: Sequence[str],
    overall: str,
    n_positives: NDArray[np.int64],
    bounds: tuple[int, ...],
    standard_errors: float,
) -> tuple[Band, ...]:
    """Return each band of tags with its rung: a simpler one where it clearly leads there.

    The burden of proof is turned round: in a band of few tags hardly any lead is certain, and
    falling back on the simplest rung there would give away what the chosen one gained overall.

    Parameters
    ----------
    score : callable
        Takes a rung and a mask of tags, returns the score over these tags.
    simpler : sequence of str
        Rungs below the chosen one, the simplest first.
    overall : str
        The rung chosen for all tags.
    n_positives : array of shape (n_tags,), int64
    bounds : tuple of int
        Rising; where a new band begins. The first band begins at 0.
    standard_errors : float
    """
    lows, highs = (0, *bounds), (*bounds, None)
    bands = []
    for low, high in zip(lows, highs, strict=True):
        tags = (n_positives >= low) & (n_positives < (np.inf if high is None else high))
        rung, why = overall, "as overall"
        if tags.any():
            scores = {name: score(name, tags) for name in (*simpler, overall)}
            rung, why = _of_band(scores, simpler, overall, standard_errors)
        bands.append(Band(low=low, high=high, n_tags=int(tags.sum()), rung=rung, why=why))
    return tuple(bands)


def _of_band(
    scores: Mapping[str, FoldScore], simpler: Sequence[str], overall: str, standard_errors: float
) -> tuple[str, str]:
    leads = {rung: Lead.of(scores[rung], scores[overall]) for rung in simpler}
    sure = [rung for rung, lead in leads.items() if lead.clear(standard_errors)]
    if not sure:
        return overall, "as overall: no simpler rung clearly leads here"
    rung = max(sure, key=lambda name: leads[name].value)
    lead = leads[rung]
    return rung, f"{lead.value:+.4f} ahead of {overall}, standard error {lead.error:.4f}"


def ladder_row(
    rung: str, judgement: Judgement, weights: Mapping[str, float], why: str
) -> LadderRow:
    """Return a rung's row of the ladder."""
    macro, micro = judgement.macro_ap, judgement.micro_ap
    return LadderRow(
        rung=rung,
        macro_ap=macro.mean,
        macro_error=macro.error,
        micro_ap=micro.mean,
        micro_error=micro.error,
        fold_values=tuple(float(v) for v in judgement.objective.values),
        weights=tuple((name, float(weight)) for name, weight in weights.items() if weight > 0),
        why=why,
    )
