"""What a bundle remembers of its cascade: the taggers' seconds, and cost against both F1."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SHOWN = 11  # rows of the table; the picture and the JSON have all


@dataclass(frozen=True, kw_only=True)
class CascadeRow:
    """One row of the cascade's table, as `tagstack.ensemble.cascade.cascade.FrontierRow` has it.

    Parameters
    ----------
    cost : float, in (0, 1]
        Share of the seconds of all taggers on all images.
    ended : tuple of float
        Share of the images that ended at each stage; the last is all taggers.
    micro_f, macro_f : float
    micro_loss, micro_low, micro_high, macro_loss, macro_low, macro_high : float
        How much lower F1 is than with all taggers, with the paired interval of 95 %.
    """

    cost: float
    ended: tuple[float, ...]
    micro_f: float
    macro_f: float
    micro_loss: float
    micro_low: float
    micro_high: float
    macro_loss: float
    macro_low: float
    macro_high: float


@dataclass(frozen=True, kw_only=True)
class CascadeEvidence:
    """A fitted cascade.

    Parameters
    ----------
    stages : tuple of tuple of str
        Taggers that have looked at each stage; the last has all.
    seconds : mapping of member name to float
        Of each tagger for one picture.
    rows : tuple of CascadeRow
        The cheapest first; the last has all taggers look at every image.
    """

    stages: tuple[tuple[str, ...], ...]
    seconds: Mapping[str, float]
    rows: tuple[CascadeRow, ...]

    @property
    def whole_ms(self) -> float:
        """Milliseconds of all taggers for one picture."""
        return 1e3 * sum(self.seconds.values())

    @property
    def order(self) -> tuple[tuple[str, float], ...]:
        """The taggers that each stage adds, and their milliseconds for one picture."""
        before: set[str] = set()
        found = []
        for names in self.stages:
            new = [name for name in names if name not in before]
            found.append((" + ".join(new), 1e3 * sum(self.seconds[name] for name in new)))
            before |= set(names)
        return tuple(found)

    @property
    def some_rows(self) -> tuple[CascadeRow, ...]:
        """Rows for a table, evenly spread, the first and the last among them."""
        step = max(1, round((len(self.rows) - 1) / (_SHOWN - 1)))
        return (*self.rows[:-1:step], self.rows[-1])


def cascade_evidence(found: Mapping[str, Any] | None) -> CascadeEvidence | None:
    """Return the cascade of a bundle's evidence; None where there is none."""
    if not found or not found.get("rows"):
        return None
    return CascadeEvidence(
        stages=tuple(tuple(map(str, names)) for names in found["stages"]),
        seconds={str(name): float(value) for name, value in found["seconds"].items()},
        rows=tuple(_row(row) for row in found["rows"]),
    )


def _row(found: Mapping[str, Any]) -> CascadeRow:
    names = [name for name in CascadeRow.__annotations__ if name != "ended"]
    values = {name: math.nan if found[name] is None else float(found[name]) for name in names}
    return CascadeRow(ended=tuple(map(float, found["ended"])), **values)
