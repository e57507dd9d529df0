"""One threshold per tag, with what it promises and on how much evidence."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import write_text
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError

State = Literal["certified", "tuned", "pooled", "fixed"]
_COLUMNS = (
    "tag",
    "category",
    "threshold",
    "state",
    "positives",
    "f_score",
    "objective",
    "calibration",
)


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
        F-beta on calibration images that the threshold was not fitted on; NaN without positives.
    objective : str
        What the thresholds were chosen for, such as ``"macro F1"``.
    calibration_hash : str
        SHA-256 over the probabilities, labels and folds they were fitted on; empty if none.

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
    objective: str
    calibration_hash: str

    def __post_init__(self) -> None:
        lengths = [len(self.value), len(self.state), len(self.positives), len(self.estimate)]
        if set(lengths) != {len(self.vocabulary)}:
            msg = f"Thresholds need one row per tag ({len(self.vocabulary)}), got {lengths}."
            raise TagstackError(msg)
        wrong = np.flatnonzero(~(self.value > 0))
        if len(wrong):
            tag, value = self.vocabulary.tags[wrong[0]], self.value[wrong[0]]
            msg = f"The threshold of {tag!r} is {value}; give a number above 0, or inf for never."
            raise TagstackError(msg)

    def overridden(self, by_hand: Mapping[str, float]) -> "Thresholds":
        """Return the thresholds with some set by hand; those become ``fixed``.

        Parameters
        ----------
        by_hand : mapping of tag to threshold
            As :func:`read_overrides` returns it. Tags outside the vocabulary are ignored.
        """
        value, state, estimate = self.value.copy(), list(self.state), self.estimate.copy()
        for tag, threshold in by_hand.items():
            if (place := self.vocabulary.index.get(tag)) is not None:
                value[place], state[place], estimate[place] = threshold, "fixed", np.nan
        return replace(self, value=value, state=tuple(state), estimate=estimate)

    def to_csv(self, path: Path) -> None:
        """Write the table, one row per tag; :meth:`from_csv` reads it back unchanged."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for place, (tag, category) in enumerate(
            zip(self.vocabulary.tags, self.vocabulary.categories, strict=True)
        ):
            # The shortest text that gives the same float back.
            numbers = [str(column[place]) for column in (self.value, self.positives, self.estimate)]
            threshold, positives, estimate = numbers
            row = [tag, category, threshold, self.state[place], positives, estimate]
            writer.writerow([*row, self.objective, self.calibration_hash])
        write_text(path, text.getvalue())

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Return the thresholds of a table that :meth:`to_csv` wrote, perhaps edited since.

        Raises
        ------
        TagstackError
            If the file cannot be read, lacks a column, or a value is not what it should be.
        """
        rows = _read(path)
        if missing := set(_COLUMNS) - set(rows[0] if rows else {}):
            msg = f"{path.name} lacks the columns {sorted(missing)}; give all of {list(_COLUMNS)}."
            raise TagstackError(msg)
        return cls(
            vocabulary=Vocabulary(
                tuple(row["tag"] for row in rows), tuple(row["category"] for row in rows)
            ),
            value=np.array([_number(row, "threshold", path) for row in rows], np.float32),
            state=tuple(_state(row, path) for row in rows),
            positives=np.array([_number(row, "positives", path) for row in rows], np.int64),
            estimate=np.array([_number(row, "f_score", path) for row in rows], np.float64),
            objective=rows[0]["objective"],
            calibration_hash=rows[0]["calibration"],
        )


def read_overrides(path: Path) -> dict[str, float]:
    """Return thresholds by tag from a CSV file of a person or of another tool.

    Parameters
    ----------
    path : Path
        Columns ``tag`` (or ``name``) and ``threshold`` (or ``best_threshold``); further columns
        and rows without a threshold are ignored.

    Raises
    ------
    TagstackError
        If the file cannot be read, lacks the columns, or a threshold is not a number above 0.
    """
    rows = _read(path)
    columns = set(rows[0] if rows else {})
    tag = next((name for name in ("tag", "name") if name in columns), None)
    value = next((name for name in ("threshold", "best_threshold") if name in columns), None)
    if tag is None or value is None:
        msg = f"{path.name} has columns {sorted(columns)}; a tag and a threshold column are due."
        raise TagstackError(msg)
    overrides = {row[tag]: _number(row, value, path) for row in rows if row[value].strip()}
    for name, threshold in overrides.items():
        if not threshold > 0:
            msg = f"{path.name} gives {name!r} the threshold {threshold}; give one above 0, or inf."
            raise TagstackError(msg)
    return overrides


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"Cannot read the thresholds {path}: {error}. Give a readable CSV file in UTF-8."
        raise TagstackError(msg) from error


def _number(row: Mapping[str, str], column: str, path: Path) -> float:
    try:
        return float(row[column])
    except ValueError as error:
        name = next(iter(row.values()))
        msg = f"{path.name} has {column} {row[column]!r} in the row of {name!r}; give a number."
        raise TagstackError(msg) from error


def _state(row: Mapping[str, str], path: Path) -> State:
    if row["state"] in get_args(State):
        return cast(State, row["state"])
    msg = f"{path.name} has state {row['state']!r}; expected one of {list(get_args(State))}."
    raise TagstackError(msg)
