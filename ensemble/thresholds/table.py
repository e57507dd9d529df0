"""One threshold per tag, with what it promises and on how much evidence, as a table and CSV."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import write_text
from tagstack.base_models.tag_names import TagNames
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import TableWriter, number_of, read_table
from tagstack.ensemble.thresholds.deciding import Cutting

NEVER = "never"
BY_HAND = "by hand"  # the objective of a threshold that a person gave
"""What people may write for an infinite threshold."""


def number(row: Mapping[str, str], column: str, path: Path) -> float:
    """Return a cell as a number; ``never`` is infinite.

    Raises
    ------
    TagstackError
        If it is none; the message names the row by its first cell.
    """
    if row[column].strip().casefold() == NEVER:
        return math.inf
    return number_of(row[column], f"{path.name}, {column} of {next(iter(row.values()))!r}")


def _count(row: Mapping[str, str], path: Path) -> int:
    value = number(row, "positives", path)
    if not 0 <= value < 2**53:
        msg = f"{path.name}: positives of {row['tag']!r} are {value:g}; expected a count."
        raise TagstackError(msg)
    return int(value)


State = Literal["certified", "tuned", "pooled", "fixed"]
_COLUMNS = (
    "tag",
    "category",
    "threshold",
    "state",
    "positives",
    "estimate",
    "low",
    "high",
    "objective",
    "worth",
    "image_cut",
    "calibration",
)
# Tables from before these columns came up are still read.
_OLD_NAME = {"estimate": "f_score"}
_OPTIONAL = frozenset({"low", "high", "worth", "image_cut"})


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds of a vocabulary's tags: ``proba >= value`` means tagged.

    Parameters
    ----------
    vocabulary : Vocabulary
    value : array of shape (n_tags,), float32
        Above 0; infinite for a tag that is never tagged for its own sake.
    state : tuple of str
        ``certified`` carries a guarantee, ``tuned`` rests on the tag's own images, ``pooled`` was
        taken from its category, ``fixed`` was given by hand.
    positives : array of shape (n_tags,), int64
        Calibration images with the tag.
    estimate : array of shape (n_tags,), float64
        What the objective speaks of (F-beta, precision, recall, or utility an image) after the
        rules, on calibration images that the threshold was not fitted on; NaN where undefined.
    low, high : arrays of shape (n_tags,), float64
        Interval of the estimate; for a certified tag, ``low`` is at least what is guaranteed.
    objective : tuple of str
        What each threshold was chosen for, such as ``"F1"`` or ``"precision>=0.9"``.
    calibration_hash : str
        SHA-256 over the probabilities, labels and folds they were fitted on; empty if none.
    worth : array of shape (n_tags,), float32, optional
        What a tag stands for where rules make tags compete; see `deciding.Cutting`.
    image_cut : str
        A cut of each image's own list that tags must reach as well; empty for none.

    Raises
    ------
    TagstackError
        If the parts have different lengths, or a threshold is NaN or not above 0.
    """

    vocabulary: Vocabulary
    value: NDArray[np.float32]
    state: tuple[State, ...]
    positives: NDArray[np.int64]
    estimate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    objective: tuple[str, ...]
    calibration_hash: str
    worth: NDArray[np.float32] | None = None
    image_cut: str = ""

    def __post_init__(self) -> None:
        columns = (self.value, self.state, self.positives, self.estimate, self.low, self.high)
        lengths = [len(column) for column in (*columns, self.objective)]
        if self.worth is not None:
            lengths.append(len(self.worth))
        if set(lengths) != {len(self.vocabulary)}:
            msg = f"Thresholds need one row per tag ({len(self.vocabulary)}), got {lengths}."
            raise TagstackError(msg)
        self._check_above_zero("threshold", self.value)
        if self.worth is not None:
            self._check_above_zero("worth", self.worth)

    @cached_property
    def cutting(self) -> Cutting:
        """The thresholds as they are applied to probabilities."""
        return Cutting(value=self.value, worth=self.worth, image_cut=self.image_cut)

    def overridden(self, by_hand: Mapping[str, float]) -> "Thresholds":
        """Return the thresholds with some set by hand; those become ``fixed``.

        Parameters
        ----------
        by_hand : mapping of tag to threshold
            As `overrides.read_overrides` returns it. Tags outside the vocabulary are ignored.

        Raises
        ------
        TagstackError
            If two writings of one tag have two thresholds.
        """
        value, state, objective = self.value.copy(), list(self.state), list(self.objective)
        names = TagNames(self.vocabulary)
        found: dict[int, float] = {}
        for tag, threshold in by_hand.items():
            place = names.find(tag)
            if place is not None and found.setdefault(place, threshold) != threshold:
                own = self.vocabulary.tags[place]
                msg = f"{own!r} is set by hand twice, to {found[place]} and {threshold}. Leave one."
                raise TagstackError(msg)
        given = list(found)
        for place, threshold in found.items():
            value[place], state[place], objective[place] = threshold, "fixed", BY_HAND
        estimates = {name: getattr(self, name).copy() for name in ("estimate", "low", "high")}
        for column in estimates.values():
            column[given] = np.nan
        return replace(
            self, value=value, state=tuple(state), objective=tuple(objective), **estimates
        )

    def to_csv(self, path: Path) -> None:
        """Write the table, one row per tag; :meth:`from_csv` reads it back unchanged."""
        write_text(path, self.csv_text())

    def csv_text(self) -> str:
        """Return the table as CSV, one row per tag."""
        text = io.StringIO()
        writer = TableWriter(text)
        writer.writerow(_COLUMNS)
        for place, (tag, category) in enumerate(
            zip(self.vocabulary.tags, self.vocabulary.categories, strict=True)
        ):
            # The shortest text that gives the same float back.
            writer.writerow(
                (
                    tag,
                    category,
                    str(self.value[place]),
                    self.state[place],
                    str(self.positives[place]),
                    *(_short(column[place]) for column in (self.estimate, self.low, self.high)),
                    self.objective[place],
                    "" if self.worth is None else str(self.worth[place]),
                    self.image_cut,
                    self.calibration_hash,
                )
            )
        return text.getvalue()

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Return the thresholds of a table that :meth:`to_csv` wrote, perhaps edited since.

        Raises
        ------
        TagstackError
            If the file cannot be read, lacks a column, or a value is not what it should be.
        """
        table = read_table(path, what="thresholds", expected=_COLUMNS)
        rows, known = [row.cells for row in table.rows], set(table.columns)
        present = known | {new for new, old in _OLD_NAME.items() if old in known}
        if missing := set(_COLUMNS) - _OPTIONAL - present:
            msg = f"{path.name} lacks the columns {sorted(missing)}; give all of {list(_COLUMNS)}."
            raise TagstackError(msg)

        def column(name: str) -> list[float]:
            name = name if name in known else _OLD_NAME.get(name, name)
            return [number(row, name, path) if row.get(name) else np.nan for row in rows]

        if not rows:
            raise TagstackError(f"{path.name} holds no thresholds. Restore the table.")
        weighed = "worth" in known and any(row["worth"] for row in rows)
        return cls(
            vocabulary=Vocabulary(
                tuple(row["tag"] for row in rows), tuple(row["category"] for row in rows)
            ),
            value=np.array([_proper(row, path) for row in rows], np.float32),
            state=tuple(_state(row, path) for row in rows),
            positives=np.array([_count(row, path) for row in rows], np.int64),
            estimate=np.array(column("estimate"), np.float64),
            low=np.array(column("low"), np.float64),
            high=np.array(column("high"), np.float64),
            objective=tuple(row["objective"] for row in rows),
            calibration_hash=rows[0]["calibration"],
            worth=np.array(column("worth"), np.float32) if weighed else None,
            image_cut=rows[0].get("image_cut", ""),
        )

    def _check_above_zero(self, what: str, values: NDArray[np.float32]) -> None:
        wrong = np.flatnonzero(~(values > 0))
        if len(wrong):
            tag, value = self.vocabulary.tags[wrong[0]], values[wrong[0]]
            msg = f"The {what} of {tag!r} is {value}; give a number above 0, or inf for never."
            raise TagstackError(msg)


def _short(value: np.float64) -> str:
    return "" if np.isnan(value) else str(value)


def _state(row: Mapping[str, str], path: Path) -> State:
    if row["state"] in get_args(State):
        return cast(State, row["state"])
    msg = f"{path.name} has state {row['state']!r}; expected one of {list(get_args(State))}."
    raise TagstackError(msg)


def _proper(row: Mapping[str, str], path: Path) -> float:
    return proper_threshold(number(row, "threshold", path), row["tag"], path.name)


def proper_threshold(value: float, tag: str, source: str) -> float:
    """Return a threshold that can be meant: above 0 and at most 1, or infinite.

    Raises
    ------
    TagstackError
        If it is not; percents are the usual cause.
    """
    if not (0 < value <= 1 or value == math.inf):
        percent = f" Is {value:g} % meant? Then write {value / 100:g}." if 1 < value <= 100 else ""
        msg = (
            f"{source} gives {tag!r} the threshold {value:g}; expected one above 0 and at most 1, "
            f"or {NEVER!r}.{percent}"
        )
        raise TagstackError(msg)
    return value
