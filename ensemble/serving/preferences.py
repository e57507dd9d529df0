"""What one user wants to see: tags to prefer and tags to hide.

They order and filter an answer. Probabilities, thresholds, the final set and what policies say of a
picture stay as they are, whoever asks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tagstack.ensemble.bundle.decisions import TagEntry
from tagstack.ensemble.serving.refusals import RefusedError

_MOST = 1000  # of either, in a request
_HEAVIEST = 1000.0


@dataclass(frozen=True)
class Preferences:
    """Weights and hidden tags of a request.

    Parameters
    ----------
    prefer : mapping of tag to float
        Weights above 0; tags are ordered by probability times weight, which is 1 for others.
    hide : tuple of str
        Tags, wildcards (``*_hair``) and ``category:NAME``.
    """

    prefer: Mapping[str, float] = field(default_factory=dict)
    hide: tuple[str, ...] = ()

    @classmethod
    def of(cls, prefer: Iterable[str], hide: Iterable[str]) -> "Preferences":
        """Return the preferences that parameters such as ``prefer=long_hair:2`` mean.

        Raises
        ------
        RefusedError
            If a weight is none, or there are too many.
        """
        weights, hidden = dict(map(_weight, prefer)), tuple(filter(None, hide))
        if max(len(weights), len(hidden)) > _MOST:
            raise RefusedError(422, f"More than {_MOST} preferences in one request.")
        return cls(weights, hidden)

    def seen(self, entries: Sequence[TagEntry]) -> list[TagEntry]:
        """Return the entries that are shown, in the order in which they are shown."""
        shown = [entry for entry in entries if not self.hides(entry)]
        return sorted(shown, key=lambda e: -e.proba * self.prefer.get(e.tag, 1.0))

    def hides(self, entry: TagEntry) -> bool:
        """Return whether a tag is hidden."""
        names = (entry.tag, f"category:{entry.category}")
        return any(name in self.hide for name in names) or any(
            fnmatchcase(name, pattern) for pattern in self.hide if "*" in pattern for name in names
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"prefer": dict(self.prefer), "hide": list(self.hide)}


def _weight(text: str) -> tuple[str, float]:
    tag, _, number = text.rpartition(":")
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not tag or not 0 < weight <= _HEAVIEST:
        msg = f"prefer={text!r} is no TAG:WEIGHT with a weight above 0, at most {_HEAVIEST:g}."
        raise RefusedError(422, msg)
    return tag, weight
