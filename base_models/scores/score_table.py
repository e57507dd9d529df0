"""Scores that another program computed: one table of pictures and tags, checked before it is used.

Nothing is guessed: a table says whether its numbers are logits or probabilities, or whoever
imports it does, and numbers that cannot be what was said are refused. Reading files is in
table_files.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown

LOGITS, PROBABILITIES = "logits", "probabilities"
KINDS = (LOGITS, PROBABILITIES)
ABSENT = np.float32(-30.0)
"""Logit of a pair that a table leaves out: below any floor."""

_CELLS = 2**24  # of a chunk: some 200 MB on the way
_PROBA_LIMIT = 1e-7  # as taggers' own probabilities are taken: float32 says nothing beyond
_MOST_LOGIT = 30.0
_MIN_FOR_SCALE = 64  # so many logits do not all lie in [0, 1] by chance

# Where each picture's scores begin, shape (n_pictures + 1,); tag position; value.
Listed: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores of pictures as a file has them.

    Parameters
    ----------
    source : str
        What messages call the file.
    pictures : tuple of str
        Unique names, or SHA-256 in hexadecimal.
    by_content : bool
        Whether ``pictures`` are SHA-256.
    tags : tuple of str, optional
        Unique, as written; without them the columns follow the tag file.
    kind : str, optional
        ``"logits"`` or ``"probabilities"`` where the file says so.
    floor : float, optional
        Probability below which pairs were left out, where the file says so.
    scores : array of shape (n_pictures, n_columns), or Listed
        Every score, or those that were not left out.
    """

    source: str
    pictures: tuple[str, ...]
    by_content: bool
    tags: tuple[str, ...] | None
    kind: str | None
    floor: float | None
    scores: NDArray[np.floating] | Listed

    @property
    def is_whole(self) -> bool:
        """Whether it has a score for every picture and tag."""
        return isinstance(self.scores, np.ndarray)

    def check(self, kind: str) -> None:
        """Refuse numbers that are none, or cannot be what ``kind`` says.

        Raises
        ------
        TagstackError
            Names the first wrong picture and tag.
        """
        low, high = np.inf, -np.inf
        n_scores = 0
        for start, values in self._pieces():
            wrong = ~np.isfinite(values)
            if kind == PROBABILITIES:
                wrong |= (values < 0) | (values > 1)
            if wrong.any():
                raise self._refusal(start, values, wrong, kind)
            if values.size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
            n_scores += values.size
        if kind == LOGITS and n_scores >= _MIN_FOR_SCALE and low >= 0 and high <= 1:
            msg = (
                f"{self.source}: said to be logits, but all {n_scores:,} lie in [0, 1] ({low:.4g} "
                f"to {high:.4g}): they are probabilities. Say --kind probabilities."
            )
            raise TagstackError(msg)

    def chunks(
        self, kind: str, places: NDArray[np.int64], n_tags: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield logits of a few pictures at a time, with the first one's position.

        Parameters
        ----------
        kind : str
        places : array of shape (n_columns,), int64
            Index in the vocabulary of each of the table's tags.
        n_tags : int
            Of the vocabulary.

        Yields
        ------
        start : int
        logits : array of shape (n_chunk, n_tags), float32
            `ABSENT` where the table has no score.
        """
        step = max(1, _CELLS // n_tags)
        for start in range(0, len(self.pictures), step):
            stop = min(start + step, len(self.pictures))
            full = np.full((stop - start, n_tags), ABSENT)
            if isinstance(self.scores, np.ndarray):
                full[:, places] = _logits(self.scores[start:stop], kind)
            else:
                indptr, tag, value = self.scores
                here = slice(indptr[start], indptr[stop])
                row = np.repeat(np.arange(stop - start), np.diff(indptr[start : stop + 1]))
                full[row, places[tag[here]]] = _logits(value[here], kind)
            yield start, full

    def _pieces(self) -> Iterator[tuple[int, NDArray[np.floating]]]:
        """Yield the scores a few at a time, with the position of the first."""
        if not isinstance(self.scores, np.ndarray):
            values = self.scores[2]
            for start in range(0, len(values), _CELLS):
                yield start, values[start : start + _CELLS]
            return
        step = max(1, _CELLS // max(1, self.scores.shape[1]))
        for start in range(0, len(self.scores), step):
            yield start, np.asarray(self.scores[start : start + step])

    def _refusal(
        self, start: int, values: NDArray[np.floating], wrong: NDArray[np.bool_], kind: str
    ) -> TagstackError:
        first = np.argwhere(wrong)[0]
        if isinstance(self.scores, np.ndarray):
            picture, column = start + int(first[0]), int(first[1])
        else:
            place = start + int(first[0])
            picture = int(np.searchsorted(self.scores[0], place, side="right")) - 1
            column = int(self.scores[1][place])
        tag = f"column {column}" if self.tags is None else f"tag {shown(self.tags[column])!r:.80}"
        expected = "0 to 1" if kind == PROBABILITIES else "a finite number"
        return TagstackError(
            f"{self.source}: picture {shown(self.pictures[picture])!r:.120}, {tag}: "
            f"{values[tuple(first)]:.6g} is not {expected}, which {kind} are. Correct the file, "
            "or say what its numbers are with --kind."
        )


def _logits(values: NDArray[np.floating], kind: str) -> NDArray[np.float32]:
    if kind == LOGITS:
        return np.asarray(values.clip(-_MOST_LOGIT, _MOST_LOGIT), np.float32)
    proba = np.asarray(values, np.float64).clip(_PROBA_LIMIT, 1 - _PROBA_LIMIT)
    return np.asarray(logit(proba), np.float32)
