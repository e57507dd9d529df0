"""An audit as files: the page, everything as JSON, and a table of each kind of finding."""

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tagstack.base_models.atomic import write_text
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.audit.companions import Companion
from tagstack.ensemble.audit.history import FILE as KEPT
from tagstack.ensemble.audit.history import FigureChange, KeptCounts
from tagstack.ensemble.audit.looks import Disparity, Look
from tagstack.ensemble.audit.page import render_page
from tagstack.ensemble.audit.probes import Moved, MovedTag
from tagstack.ensemble.audit.refits import Refit
from tagstack.ensemble.audit.results import Audit, Row, plain_row
from tagstack.ensemble.audit.shifts import Shift

AUDIT, PAGE = "audit.json", "audit.html"
SLICES, DISPARITIES, COMPANIONS = "slices.csv", "disparities.csv", "companions.csv"
SHIFTS, CHANGES = "shifts.csv", "changes.csv"
PROBES, PROBE_TAGS, REFITS = "probes.csv", "probe-tags.csv", "refits.csv"


@dataclass(frozen=True, kw_only=True)
class Audited:
    """An audit with what a later one is held against.

    Parameters
    ----------
    found : Audit
    counts : KeptCounts
        What was counted on each image.
    provenance : mapping of str to str
        What was audited, and how.
    """

    found: Audit
    counts: KeptCounts
    provenance: Mapping[str, str]

    def page(self) -> str:
        """Return the page as HTML; it loads nothing."""
        return render_page(self.found, self.provenance)

    def write(self, out: "str | os.PathLike[str]") -> None:
        """Write page, JSON and tables into a folder, as ``tagstack audit`` does.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        self.counts.save(out / KEPT)
        for name, kind, rows in _tables(self.found):
            write_text(out / name, _csv([field.name for field in fields(kind)], rows))
        write_text(out / PAGE, self.page())
        # Written last: without it, the folder is what an interrupted run left.
        text = json.dumps(self.found.plain(), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(out / AUDIT, text + "\n")


def _tables(found: Audit) -> Iterator[tuple[str, Any, Sequence[Row]]]:
    """Yield each table with its kind of row; those of what was not asked are not written."""
    yield SLICES, Look, found.looks
    yield DISPARITIES, Disparity, found.disparities
    yield SHIFTS, Shift, found.shifts
    yield CHANGES, FigureChange, () if found.changes is None else found.changes.found
    yield COMPANIONS, Companion, found.companions
    if found.probes is not None:
        yield PROBES, Moved, found.probes.moved
        yield PROBE_TAGS, MovedTag, found.probes.tags
    if found.refits:
        yield REFITS, Refit, found.refits


def _csv(names: Sequence[str], rows: Sequence[Row]) -> str:
    stream = io.StringIO()
    table = TableWriter(stream)
    table.writerow(names)
    for row in rows:
        own = plain_row(row).values()
        table.writerow(f"{v:.6g}" if isinstance(v, float) else "" if v is None else v for v in own)
    return stream.getvalue()
