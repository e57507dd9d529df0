"""What an audit found, as it is kept and shown."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from tagstack import __version__
from tagstack.ensemble.audit.companions import Companion
from tagstack.ensemble.audit.history import FigureChange, FigureChanges
from tagstack.ensemble.audit.looks import Disparity, Look
from tagstack.ensemble.audit.probes import Moved, MovedTag, Probes
from tagstack.ensemble.audit.refits import Refit
from tagstack.ensemble.audit.shifts import Shift
from tagstack.ensemble.audit.slices import TAG_KINDS

Row = Look | Disparity | Shift | FigureChange | Companion | Moved | MovedTag | Refit


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Small values of a column that stand together as one slice."""

    kind: str
    column: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found.

    Parameters
    ----------
    bundle : str
        Digest of the bundle.
    n_images, n_groups, n_out_of_fold : int
        Images that were looked at, their groups, and those of them that the bundle was fitted on,
        which are judged by their out-of-fold probabilities.
    thresholds : str
        Version in use.
    confidence, false_discovery_rate, least_groups : float
    overall : mapping of figure to value
        Of all images and tags.
    looks : tuple of Look
    disparities : tuple of Disparity
    shifts : tuple of Shift
        What thresholds of their own do for kinds of images.
    pooled : tuple of Pooled
    changes : FigureChanges or None
        Since the earlier audit that was named.
    companions : tuple of Companion
    n_pairs : int
        Pairs of tags over which the false discovery rate holds.
    probes : Probes or None
        What the user's pictures in other guises show, if they were given.
    refits : tuple of Refit
        What fits without one value of a column, or without one tagger, do to kinds of images.
    asked : tuple of str
        Who was asked for companions: the stack, and taggers.
    notices : tuple of str
    """

    bundle: str
    n_images: int
    n_groups: int
    n_out_of_fold: int
    thresholds: str
    confidence: float
    false_discovery_rate: float
    least_groups: float
    overall: dict[str, float]
    looks: tuple[Look, ...]
    disparities: tuple[Disparity, ...]
    shifts: tuple[Shift, ...]
    pooled: tuple[Pooled, ...]
    changes: FigureChanges | None
    companions: tuple[Companion, ...]
    n_pairs: int
    probes: Probes | None
    refits: tuple[Refit, ...]
    asked: tuple[str, ...]
    notices: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Return it for JSON: no number there is NaN."""
        found = {key: _plain(value) for key, value in asdict(self).items()}
        return {"tagstack": __version__, **found}

    @property
    def sure(self) -> tuple[Look, ...]:
        """The looks that surely differ: kinds of images, then kinds of tags, the furthest first."""
        sure = (look for look in self.looks if look.sure)
        return tuple(sorted(sure, key=lambda x: (x.kind in TAG_KINDS, -abs(x.difference))))


def plain_row(row: Row) -> dict[str, Any]:
    """Return a row for a table: None for what cannot be said."""
    found: dict[str, Any] = _plain(asdict(row))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and math.isnan(value) else value
