"""What the gate keeps of a ladder: one rung, or one for each band of tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.labels.truth import positives_per_tag
from tagstack.meta.metrics.leads import FoldScore
from tagstack.meta.stack.ladder import Ladder
from tagstack.meta.stack.ladder_row import Band, LadderRow
from tagstack.meta.stack.rung_spec import BLEND, BY_BAND, START, simplest_first
from tagstack.meta.stack.rungs import by_band
from tagstack.meta.stack.selection import choose_bands, choose_rung, ladder_row


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The gate's answer.

    Parameters
    ----------
    chosen : str
        Name of the rung.
    why : mapping of rung to str
        How each that was up for choice fared.
    bands : tuple of Band
        Tags by their positives, and the rung that serves each; empty where the gate did not look.
    tag_rungs : tuple of str
        The rung of each tag where bands have their own, else empty.
    """

    chosen: str
    why: Mapping[str, str]
    bands: tuple[Band, ...]
    tag_rungs: tuple[str, ...]


def choose(ladder: Ladder) -> Choice:
    """Return the rung that the gate keeps, bands of tags included, and why each fared so."""
    settings = ladder.settings
    order = simplest_first(ladder.foundation.specs, ladder.off)
    judgements = {name: ladder.judgement(name) for name in order}
    within = {"shrunken_logistic": BLEND}
    chosen, why = choose_rung(judgements, order, settings.gate_standard_errors, within)
    why |= {name: f"switched off: {reason}" for name, reason in ladder.off.items()}
    bands = _bands(ladder, order[: order.index(chosen)], chosen)
    positives = positives_per_tag(ladder.foundation.data.evidence.labels)
    if START in order and chosen != START:
        bands = _with_start(bands, chosen, int((positives == 0).sum()))
    if all(band.rung == chosen for band in bands):
        return Choice(chosen=chosen, why=why, bands=bands, tag_rungs=())
    own = [f"{band.title} positives: {band.rung}" for band in bands if band.rung != chosen]
    why[BY_BAND] = f"chosen: {chosen}, but {'; '.join(own)}"
    return Choice(
        chosen=BY_BAND, why=why, bands=bands, tag_rungs=_rung_of_each_tag(bands, positives)
    )


def _with_start(bands: tuple[Band, ...], chosen: str, n_tags: int) -> tuple[Band, ...]:
    """Return the bands where tags without a positive keep the start's answer, by rule.

    No label speaks of such a tag, so no comparison of rungs does either.
    """
    first = Band(low=0, high=1, n_tags=n_tags, rung=START, why="no positive: as before any label")
    if not bands:
        return (first, Band(low=1, high=None, n_tags=0, rung=chosen, why="as overall"))
    rest = replace(bands[0], low=1, n_tags=bands[0].n_tags - n_tags)
    return (first, rest, *bands[1:])


def banded(ladder: Ladder, choice: Choice) -> Ladder:
    """Return the ladder with the rung that takes each tag from its band's own, if there is one."""
    if not choice.tag_rungs:
        return ladder
    parts = {name: ladder.rungs.rung(name) for name in set(choice.tag_rungs)}
    foundation = ladder.foundation
    made = by_band(parts, choice.tag_rungs, foundation.pairs, foundation.data.spill)
    return ladder.with_rung(BY_BAND, made)


def ladder_rows(
    ladder: Ladder, names: Sequence[str], why: Mapping[str, str]
) -> tuple[LadderRow, ...]:
    """Return what is known of the rungs ``names``: scores, weights, and what the gate said."""
    return tuple(
        ladder_row(
            name,
            ladder.judgement(name),
            ladder.weights(name),
            why.get(name, "not up for choice"),
        )
        for name in names
    )


def _bands(ladder: Ladder, simpler: Sequence[str], chosen: str) -> tuple[Band, ...]:
    """Return the bands of tags with their rungs, the chosen or a simpler one."""
    settings = ladder.settings
    if not (simpler and settings.gate_bands):
        return ()

    def score(name: str, tags: NDArray[np.bool_]) -> FoldScore:
        return ladder.rungs.score(name, tags)

    return choose_bands(
        score,
        simpler,
        chosen,
        positives_per_tag(ladder.foundation.data.evidence.labels),
        settings.gate_bands,
        settings.band_standard_errors,
    )


def _rung_of_each_tag(bands: Sequence[Band], positives: NDArray[np.int64]) -> tuple[str, ...]:
    lows = np.array([band.low for band in bands])
    number = np.searchsorted(lows, positives, side="right") - 1
    return tuple(bands[n].rung for n in number)
