"""Labels and scores as Python programs hold them, and what such programs are told by the way.

What happens is told to the logger ``tagstack``: what of the labels could not be used at level INFO,
the stages at level DEBUG.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.reading import OK, ScoreReader
from tagstack.base_models.scores.shards import copy_images
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import ScoreProgress
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.face.arguments import AnyPath, texts
from tagstack.ensemble.progress import Silent
from tagstack.meta.labels.label_files import LabelRow, LabelTable, read_labels

logger = logging.getLogger("tagstack")

_MISSING = ("NAType", "NaTType")  # pandas' own, that are not equal to anything


class Labels:
    """Which tags images have, from a file or a program.

    Parameters
    ----------
    tags : mapping of image name to tags
        Names as in `Scores.images`; every tag that an image has.
    columns : mapping of column name to mapping of image name to value, optional
        Further columns, for ``where`` and ``group``; a column has a value for every image. None
        and NaN are no value, as an empty cell of a file is none.

    Raises
    ------
    TagstackError
        If there is no image, tags or names are no text, or a column lacks an image.

    Examples
    --------
    >>> labels = Labels({"1.png": ["1girl", "long_hair"], "2.png": ["no_humans"]})
    >>> len(labels)
    2
    """

    def __init__(
        self,
        tags: Mapping[str, Iterable[str]],
        columns: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        _check_mapping(tags, "The labels", "{'1.png': ['1girl', 'solo']}")
        _check_mapping(columns or {}, "The columns", "{'series': {'1.png': 'a'}}")
        names = dict(zip(tags, texts(tags, "The names of images", "1.png"), strict=True))
        more = {
            column: _values_of(column, values, tags) for column, values in (columns or {}).items()
        }
        rows = tuple(
            LabelRow(
                image=names[image],
                tags=tuple(dict.fromkeys(texts(own, f"The tags of {names[image]!r}", "1girl"))),
                columns={column: values[image] for column, values in more.items()},
            )
            for image, own in tags.items()
        )
        if not rows:
            raise TagstackError("There are no labels; expected at least one image with its tags.")
        self.table = LabelTable(source="the labels given", rows=rows)

    @classmethod
    def read(cls, path: AnyPath) -> "Labels":
        """Return the labels of a CSV or JSONL file or of a folder of sidecars."""
        own = cls.__new__(cls)
        own.table = read_labels(Path(path))
        return own

    def __len__(self) -> int:
        return len(self.table.rows)


def _check_mapping(given: object, what: str, such: str) -> None:
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        msg = (
            f"{what} are of type {kind}; expected a mapping, such as {such}. Make one of a "
            "table's columns: dict(zip(names, values))."
        )
        raise TagstackError(msg)


def _values_of(column: str, values: Mapping[Any, object], images: Iterable[Any]) -> dict[Any, str]:
    """Return a column's value for every image, as text; what is missing is the empty text."""
    _check_mapping(values, f"The values of the column {column!r}", "{'1.png': 'a'}")
    if lacking := [image for image in images if image not in values]:
        msg = f"The column {column!r} has no value for {lacking[0]!r}; give one for each."
        raise TagstackError(msg)
    return {image: _cell(values[image]) for image in images}


def _cell(value: object) -> str:
    # NaN is the one number that is not itself; pandas' NA says neither yes nor no.
    missing = value is None or type(value).__name__ in _MISSING or value != value
    return "" if missing else str(value)


class Scores:
    """Every tagger's scores of some images, from a store's folder or from memory.

    Parameters
    ----------
    reader : ScoreReader
        As `score` and `Scores.read` make them.
    """

    def __init__(self, reader: ScoreReader) -> None:
        self.reader = reader

    @classmethod
    def read(cls, folder: AnyPath) -> "Scores":
        """Return the scores of a store that ``tagstack score`` or `save` wrote.

        They are read as they are needed.

        Raises
        ------
        TagstackError
            If the folder is no score store.
        """
        store = ScoreStore(Path(folder))
        store.members()
        return cls(store)

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the images that have scores, sorted."""
        return tuple(record.path for record in self.reader.records() if record.status == OK)

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the taggers."""
        return tuple(member.name for member in self.reader.members())

    @property
    def failures(self) -> dict[str, str]:
        """Why images have no scores, by name."""
        return {record.path: record.reason for record in self.reader.failures()}

    def level1(
        self, images: Sequence[str] | None = None, members: Sequence[str] | None = None
    ) -> Level1Scores:
        """Return the scores as arrays, of all images and taggers or of some in the order given.

        Images that have no scores are left out.

        Raises
        ------
        TagstackError
            If none is left, or there is no such tagger.
        """
        chosen = None if images is None else texts(images, "The images", "1.png")
        own = None if members is None else texts(members, "The members", "doll_vit")
        return self.reader.load(chosen, own)

    def save(self, folder: AnyPath) -> None:
        """Add the scores to a store, made where there is none; ``tagstack fit`` reads it."""
        members = Members(self.reader.members())
        with ScoreWriter(Path(folder), members) as writer:
            part_images = load_settings().score.part_images
            copy_images([self.reader], writer, part_images=part_images)

    def __len__(self) -> int:
        return len(self.images)


class Told(Silent):
    """Progress of a program: notices and stages to the log."""

    def __init__(self, scored: Callable[[ScoreProgress], None] | None = None) -> None:
        self._scored = scored

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Log how far a stage is."""
        logger.debug("%s %d of %d" if total else "%s", *(text, done, total)[: 3 if total else 1])

    def notice(self, text: str) -> None:
        """Log what is worth knowing."""
        logger.info("%s", text)

    def scored(self, state: ScoreProgress) -> None:
        """Tell the program how far scoring is."""
        if self._scored is not None:
            self._scored(state)
