"""A fitted cascade: taggers in an order, a small stack for each beginning of it, and when to end.

Every beginning of the order but the whole has a *head*: a stack of its own with thresholds of its
own, fitted on the same labelled images. After a head has answered, an image's *promise* is what the
taggers that are left are expected to put right, in wrong tags for each of their seconds. Below a
*least promise* the head's answer stands. One number so gives a whole range of cost against loss,
and whether an image goes on depends on its own scores and the bundle alone.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import write_text
from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_json
from tagstack.ensemble.bundle.doubt import SIGNS, Doubt, Margins
from tagstack.ensemble.thresholds.table import Thresholds
from tagstack.meta.stack.prefixes import prefix_scores
from tagstack.meta.stack.stacker import Stacker

FOLDER = "cascade"
_RECORD = "cascade.json"
_VERSION = 1

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Head:
    """What answers when the first few taggers have looked.

    Parameters
    ----------
    members : tuple of str
        Those taggers, in the bundle's order of its members.
    stacker : Stacker
        Over the bundle's vocabulary, from their scores alone.
    thresholds : Thresholds
    doubt : Doubt
    worth : array of shape (n_later, n_signs), float64
        Weights of an image's signs that tell what each later stage gains.
    """

    members: tuple[str, ...]
    stacker: Stacker
    thresholds: Thresholds
    doubt: Doubt
    worth: Floats

    def proba(self, completed: Level1Scores) -> PairProba:
        """Return probabilities from what `completed` gives."""
        return self.stacker.predict_proba(completed)

    def completed(self, scores: Level1Scores) -> Level1Scores:
        """Return its members' scores as it predicts from them, of scores that hold those."""
        own = prefix_scores(scores, self.members, self.thresholds.vocabulary)
        return self.stacker.completed(own)

    def margins(self, proba: PairProba) -> Margins:
        """Return how far probabilities lie from its thresholds."""
        return Margins.of(proba, self.thresholds.value)


@dataclass(frozen=True, kw_only=True)
class FrontierRow:
    """What one least promise gave on the fitted images, out of fold.

    Parameters
    ----------
    least_promise : float
        An image goes on at this promise and above.
    cost : float, in (0, 1]
        Share of the seconds of all taggers on all images.
    ended : tuple of float
        Share of the images that ended at each stage; the last is all taggers.
    micro_f, macro_f : float
    micro_loss, micro_low, micro_high, macro_loss, macro_low, macro_high : float
        How much lower F1 is than with all taggers on every image, with the paired interval of
        95 % over groups of images.
    """

    least_promise: float
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
class Cascade:
    """The heads in their order, what taggers cost, and what each least promise gives.

    Parameters
    ----------
    heads : tuple of Head
    seconds : mapping of member name to float
        Of each tagger for one picture, as measured at fit time or told.
    rows : tuple of FrontierRow
        The cheapest first; the last has all taggers look at every image.
    """

    heads: tuple[Head, ...]
    seconds: Mapping[str, float]
    rows: tuple[FrontierRow, ...]

    @property
    def stage_seconds(self) -> tuple[float, ...]:
        """Seconds of a picture's taggers up to each head, and of all of them."""
        sums = [sum(self.seconds[name] for name in head.members) for head in self.heads]
        return (*sums, sum(self.seconds.values()))

    def row_of_cost(self, share: float) -> FrontierRow:
        """Return the dearest row within a share of the whole cost.

        Raises
        ------
        TagstackError
            If even the cheapest costs more.
        """
        within = [row for row in self.rows if row.cost <= share * (1 + 1e-9)]
        if not within:
            msg = (
                f"--cascade {share:g} is less than the cheapest share of this bundle, "
                f"{self.rows[0].cost:.3f}: its first tagger looks at every picture. Say at least "
                "that."
            )
            raise TagstackError(msg)
        return max(within, key=lambda row: row.cost)

    def row_of_loss(self, loss: float) -> FrontierRow:
        """Return the cheapest row that lost at most so much micro-F1; all taggers lose nothing."""
        return min((row for row in self.rows if row.micro_loss <= loss), key=lambda row: row.cost)

    def promise(self, stage: int, proba: PairProba, before: PairProba | None) -> Floats:
        """Return what going on promises for each image, shape (n_images,).

        Parameters
        ----------
        stage : int
        proba : PairProba
            Of the stage's head.
        before : PairProba, optional
            Of the head before it, of the same images.
        """
        head, seconds = self.heads[stage], np.array(self.stage_seconds)
        earlier = None if before is None else self.heads[stage - 1].margins(before)
        signs = head.doubt.signs(head.margins(proba), earlier)
        # No matrix product: its rounding may depend on how many images there are.
        gains = (signs[:, None, :] * head.worth).sum(axis=2)
        # Going on may pay only after more than one further tagger.
        return np.asarray((gains / (seconds[stage + 1 :] - seconds[stage])).max(axis=1))

    def facts(self) -> dict[str, Any]:
        """Return what a report tells of it: the order, the seconds and the table."""
        return {
            "stages": [*(head.members for head in self.heads), tuple(self.seconds)],
            "seconds": dict(self.seconds),
            "rows": [asdict(row) for row in self.rows],
        }

    def save(self, directory: Path) -> None:
        """Write the cascade into a folder, which is made."""
        directory.mkdir(parents=True)
        for number, head in enumerate(self.heads):
            head.stacker.save(directory / str(number) / "stack")
            head.thresholds.to_csv(directory / str(number) / "thresholds.csv")
        heads = [
            {"members": head.members, **asdict(head.doubt), "worth": head.worth.tolist()}
            for head in self.heads
        ]
        record = {
            "version": _VERSION,
            "heads": heads,
            "seconds": dict(self.seconds),
            "rows": [asdict(row) for row in self.rows],
        }
        write_text(directory / _RECORD, json.dumps(record, indent=1) + "\n")

    @classmethod
    def load(cls, directory: Path) -> "Cascade":
        """Return the cascade that `save` wrote.

        Raises
        ------
        TagstackError
            If a file is missing, damaged or of another version.
        ValueError, LookupError, TypeError
            If the record says what a cascade cannot have.
        """
        record = read_json(directory / _RECORD)
        if record["version"] != _VERSION:
            msg = (
                f"The cascade in {directory} has version {record['version']!r}, expected "
                f"{_VERSION}. Fit again."
            )
            raise TagstackError(msg)
        n_heads = len(record["heads"])
        heads = tuple(
            _head(directory / str(number), facts, n_heads - number)
            for number, facts in enumerate(record["heads"])
        )
        seconds = {str(name): _real(value, low=1e-12) for name, value in record["seconds"].items()}
        rows = tuple(_row(facts, len(heads) + 1) for facts in record["rows"])
        found = cls(heads=heads, seconds=seconds, rows=rows)
        found._check(directory)
        return found

    def _check(self, directory: Path) -> None:
        """Refuse heads that are no beginnings of one order, and rows without the whole."""
        sets = [set(head.members) for head in self.heads]
        nested = all(a < b for a, b in zip(sets, [*sets[1:], set(self.seconds)], strict=True))
        same = all(head.members == head.stacker.stack_.taggers for head in self.heads)
        if not sets or not sets[0] or not nested or not same or not self.rows:
            msg = f"The cascade in {directory} contradicts itself. Copy the bundle or fit it again."
            raise TagstackError(msg)


def _head(directory: Path, facts: Mapping[str, Any], n_later: int) -> Head:
    worth = np.array([[_real(value) for value in row] for row in facts["worth"]], np.float64)
    if worth.shape != (n_later, SIGNS):
        msg = f"a head of the cascade has weights of shape {worth.shape}"
        raise ValueError(msg)
    return Head(
        members=tuple(map(str, facts["members"])),
        stacker=Stacker.load(directory / "stack"),
        thresholds=Thresholds.from_csv(directory / "thresholds.csv"),
        doubt=Doubt(
            variance=_real(facts["variance"], low=1e-12),
            disagreement=_real(facts["disagreement"], low=0),
        ),
        worth=worth,
    )


def _row(facts: Mapping[str, Any], n_stages: int) -> FrontierRow:
    ended = tuple(_real(value, low=0) for value in facts["ended"])
    if len(ended) != n_stages:
        msg = f"a row of the cascade has {len(ended)} stages, expected {n_stages}"
        raise ValueError(msg)
    numbers = {name: _real(value) for name, value in facts.items() if name != "ended"}
    return FrontierRow(ended=ended, **numbers)


def _real(value: object, *, low: float = -1e30) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= 1e30:
        msg = f"{value!r:.40} in a cascade, expected a number of at least {low:g}"
        raise ValueError(msg)
    return float(value)
