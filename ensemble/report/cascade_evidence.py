"""What a bundle remembers of its cascade: the taggers' seconds, and cost against both F1."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tagstack.ensemble.bundle.cascade import FrontierRow

_SHOWN = 11  # rows of the table; the picture and the JSON have all


@dataclass(frozen=True, kw_only=True)
class CascadeEvidence:
    """A fitted cascade.

    Parameters
    ----------
    stages : tuple of tuple of str
        Taggers that have looked at each stage; the last has all.
    seconds : mapping of member name to float
        Of each tagger for one picture.
    rows : tuple of FrontierRow
        The cheapest first; the last has all taggers look at every image.
    """

    stages: tuple[tuple[str, ...], ...]
    seconds: Mapping[str, float]
    rows: tuple[FrontierRow, ...]

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
    def some_rows(self) -> tuple[FrontierRow, ...]:
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


def _row(found: Mapping[str, Any]) -> FrontierRow:
    names = [name for name in FrontierRow.__annotations__ if name != "ended"]
    values = {name: math.nan if found[name] is None else float(found[name]) for name in names}
    return FrontierRow(ended=tuple(map(float, found["ended"])), **values)
