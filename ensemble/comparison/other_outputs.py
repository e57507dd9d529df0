"""What another tool said about images, read from its files, as a rung of the ladder.

Two forms are read: a folder of ``.txt`` sidecars (tags, yes or no) and a CSV with one line for
each image and tag (``filename,tag,score``; without ``score`` it is yes or no too). An image is
found by its path relative to the scored folder or, where that fails, by a name or stem that only
one image has.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.tag_names import TagNames, booru_form
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import number_of, read_table
from tagstack.meta.labels.image_names import match_names
from tagstack.meta.labels.label_files import read_labels

_ERRORS = "surrogateescape"
_NAMED = 5  # how many missing images a notice names
_IMAGE_COLUMNS, _TAG, _SCORE = ("filename", "image"), ("tag",), ("score",)

Said = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class OtherOutput:
    """Another tool's output.

    Parameters
    ----------
    name : str
        What the ladder calls the tool.
    source : str
    said : mapping of the tool's name of an image to its tags with scores in [0, 1]
    scored : bool
        Whether there are scores; otherwise every tag has the score 1.
    """

    name: str
    source: str
    said: Said
    scored: bool

    def proba(
        self, images: Sequence[str], vocabulary: Vocabulary, aliases: Mapping[str, str]
    ) -> "OtherProba":
        """Return the scores for some images.

        Parameters
        ----------
        images : sequence of str
            Paths relative to the scored folder.
        vocabulary : Vocabulary
        aliases : mapping of str to str
            Outdated tag names to current ones.
        """
        names = TagNames(vocabulary, aliases, marked=True)
        position = {tag: names.find(tag) for tags in self.said.values() for tag in tags}
        matched = match_names(list(self.said), images, elsewhere=True)
        found: defaultdict[int, list[tuple[str, float]]] = defaultdict(list)
        for name, own in matched.found.items():
            for i in own:  # two names may be one path
                found[i] += self.said[name].items()
        rows = [_row(found.get(i, ()), position) for i in range(len(images))]
        base = np.full(len(vocabulary), np.nan, np.float32)
        base[[at for at in position.values() if at is not None]] = 0
        return OtherProba(
            proba=_pairs(rows, base),
            missing=tuple(image for i, image in enumerate(images) if i not in found),
            foreign=tuple(sorted(tag for tag, at in position.items() if at is None)),
        )


@dataclass(frozen=True, kw_only=True)
class OtherProba:
    """Another tool's scores over our images and vocabulary.

    Parameters
    ----------
    proba : PairProba
        0 for a tag that the tool names elsewhere; NaN for a tag that it never names at all.
    missing : tuple of str
        Images about which it says nothing; nothing is tagged there.
    foreign : tuple of str
        Its tags that the vocabulary lacks.
    """

    proba: PairProba
    missing: tuple[str, ...]
    foreign: tuple[str, ...]

    def notices(self, name: str) -> tuple[str, ...]:
        """Return what of the tool's output is missing or could not be used, a line each."""
        kinds = {
            "says nothing about {n} images, which count as untagged": self.missing,
            "has {n} tags that no tagger knows; they are ignored": self.foreign,
        }
        return tuple(
            f"{name} {what.format(n=len(items))}, such as {', '.join(items[:_NAMED])}"
            for what, items in kinds.items()
            if items
        )


def read_other(name: str, source: Path) -> OtherOutput:
    """Return another tool's output from a folder of sidecars or a CSV.

    Raises
    ------
    TagstackError
        If the source is missing, unreadable or empty, lacks a column, or has a score that is no
        number in [0, 1].
    """
    if source.is_dir():
        table = read_labels(source)
        rows = {row.image: dict.fromkeys(row.tags, 1.0) for row in table.rows}
        return OtherOutput(name=name, source=str(source), said=rows, scored=False)
    if source.suffix.lower() != ".csv":
        msg = f"{source} is neither a folder of .txt sidecars nor a .csv. Give one of the two."
        raise TagstackError(msg)
    return _read_csv(name, source)


def _read_csv(name: str, source: Path) -> OtherOutput:
    table = read_table(
        source, what="tool's output", expected=(*_IMAGE_COLUMNS, "tag", "score"), errors=_ERRORS
    )
    image, tag, score = (table.first_of(*names) for names in (_IMAGE_COLUMNS, _TAG, _SCORE))
    if image is None or tag is None:
        msg = f"{source} must have the columns filename,tag and perhaps score, got {table.shown}."
        raise TagstackError(msg)
    said: dict[str, dict[str, float]] = {}
    for row in table.rows:
        where = f"{source}, line {row.line}"
        tags = said.setdefault(row.cells[image], {})
        if own := booru_form(row.cells[tag]):  # an image without a tag has a line with an empty one
            value = 1.0 if score is None else _score(row.cells[score], where)
            tags[own] = max(value, tags.get(own, 0.0))
    if not said:
        msg = f"{source} holds no line. Expected at least one image with a tag."
        raise TagstackError(msg)
    return OtherOutput(name=name, source=str(source), said=said, scored=score is not None)


def _score(text: str, where: str) -> float:
    try:
        score = number_of(text, where)
    except TagstackError:
        score = math.nan
    if not 0 <= score <= 1:
        msg = f"{where}: score {text!r} is no number in [0, 1]. Write probabilities, not logits."
        raise TagstackError(msg)
    return score


def _row(tags: Iterable[tuple[str, float]], position: Mapping[str, int | None]) -> dict[int, float]:
    """Return the score of each known tag, ascending; of two names of one tag the higher."""
    row: dict[int, float] = {}
    for tag, score in tags:
        at = position[tag]
        if at is not None:
            row[at] = max(score, row.get(at, 0.0))
    return dict(sorted(row.items()))


def _pairs(rows: Sequence[Mapping[int, float]], base: NDArray[np.float32]) -> PairProba:
    counts = [len(row) for row in rows]
    pairs = Pairs(
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        tag=np.array([tag for row in rows for tag in row], np.int32),
        n_tags=len(base),
    )
    scores = np.array([score for row in rows for score in row.values()], np.float32)
    return PairProba(pairs=pairs, proba=scores, base=base)
