"""Thresholds of every rung of a ladder, without rules and for what the rules leave.

One table by name: ``NAME`` is a rung without rules, of shape (n_tags,); its twin under the rules,
named by `ruled_name`, has rows: thresholds, then what a tag is worth among its rivals where the
strategy says so. The chosen rung has no twin here, since the bundle's own thresholds are that.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.meta.checked_arrays import CheckedArrays
from tagstack.meta.stack.rung_spec import ruled_name

RungTables = Mapping[str, NDArray[np.float32]]


class FitOfRung(Protocol):
    """Fits one rung's thresholds."""

    def cutting(self, decoder: Decoder | None, /) -> Cutting:
        """Return thresholds for what a decoder leaves; without rules for None."""


def rung_tables(
    rungs: Collection[str],
    chosen: str,
    fit: Callable[[str], FitOfRung],
    decoder: Decoder | None,
    told: Callable[[int, int], None],
) -> dict[str, NDArray[np.float32]]:
    """Return the thresholds of every rung, each of shape (n_tags,).

    Parameters
    ----------
    rungs : collection of str
    chosen : str
        Name of the rung whose thresholds under the rules are the bundle's own.
    fit : callable
        Takes a rung, returns its fit: on probabilities out of fold, or of images that no rung was
        fitted on, under the strategy that all rungs share.
    decoder : Decoder or None
        None where no rule says anything.
    told : callable of (done, total)
    """
    tables: dict[str, NDArray[np.float32]] = {}
    twins = () if decoder is None else tuple(rung for rung in rungs if rung != chosen)
    for rung in rungs:
        told(len(tables), len(rungs) + len(twins))
        fit_rung = fit(rung)
        tables[rung] = fit_rung.cutting(None).value
        if rung in twins:
            tables[ruled_name(rung)] = _rows(fit_rung.cutting(decoder))
    return tables


def cutting_of(table: NDArray[np.float32], image_cut: str) -> Cutting:
    """Return one rung's thresholds as they are applied.

    Parameters
    ----------
    table : array of shape (n_tags,) or (n_rows, n_tags), float32
    image_cut : str
    """
    if table.ndim == 1:
        return Cutting(value=table, image_cut=image_cut)
    worth = table[1] if len(table) > 1 else None
    return Cutting(value=table[0], worth=worth, image_cut=image_cut)


def checked_tables(arrays: CheckedArrays, n_tags: int) -> dict[str, NDArray[np.float32]]:
    """Return tables of shape (n_tags,) from a file; infinite is never tagged for its own sake."""
    tables = {}
    for name, found in arrays.arrays.items():
        shape = (n_tags,) if found.ndim == 1 else (min(len(found), 2), n_tags)
        tables[name] = arrays.real(name, shape, low=0, high=np.inf)
    return tables


def _rows(cutting: Cutting) -> NDArray[np.float32]:
    rows = [cutting.value] if cutting.worth is None else [cutting.value, cutting.worth]
    return np.stack(rows).astype(np.float32)
