"""Decisions as labels: what a fit, a comparison or another program reads.

Where nobody spoke, a pair is unknown. A file says so by ``unknown = *`` with the tags that were
decided under ``known``: among ten thousand tags that is the shorter list.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tagstack.base_models.atomic import written_whole
from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.feedback.decision import Decision, Shown, Standing
from tagstack.ensemble.feedback.store import DecisionStore
from tagstack.meta.labels.label_files import LabelTable

TRAIN, JUDGE = "train", "judge"
IMPORT = "import"
_EVERY = "*"
_CHUNK = 500  # decisions of an import kept in one transaction
_COLUMNS = ("image", "tags", "known", "unknown", "part")
Implied = Callable[[Iterable[str]], Set[str]]


@dataclass(frozen=True, kw_only=True)
class DecidedRow:
    """One image's labels.

    Parameters
    ----------
    image : str
    tags : tuple of str
        What it shows.
    known : tuple of str
        What somebody looked at, ``tags`` included; empty where everything is known.
    unknown : tuple of str
        Words as in a label file.
    part : {"train", "judge"}
        ``judge`` for the frozen slice: a fit says ``--where part=train``.
    """

    image: str
    tags: tuple[str, ...]
    known: tuple[str, ...]
    unknown: tuple[str, ...]
    part: str


def decided_rows(
    store: DecisionStore, implied: Implied | None = None, base: LabelTable | None = None
) -> Iterator[DecidedRow]:
    """Yield the labels of every image that somebody decided about, or that ``base`` names.

    Parameters
    ----------
    store : DecisionStore
    implied : callable, optional
        From tags to what they imply: whoever says ``cat_ears`` has said ``animal_ears``, unless
        that was answered otherwise.
    base : LabelTable, optional
        Labels from before, which the decisions correct: there every pair is known as it was.
    """
    said = {image: list(own) for image, own in groupby(store.standing(), lambda item: item.image)}
    rows = {row.image: row for row in base.rows} if base else {}
    for image in sorted({*said, *rows}):
        answers = _answers(said.get(image, ()), implied)
        judging = any(item.judging for item in said.get(image, ()))
        part = JUDGE if judging else TRAIN
        if image in rows:
            own = rows[image]
            tags = dict.fromkeys((*own.tags, *(tag for tag, yes in answers.items() if yes)))
            kept = tuple(tag for tag in tags if answers.get(tag, True))
            known = tuple(dict.fromkeys((*own.known, *answers))) if own.unknown else ()
            yield DecidedRow(image=image, tags=kept, known=known, unknown=own.unknown, part=part)
        elif answers:
            yes = tuple(tag for tag, yes in answers.items() if yes)
            yield DecidedRow(
                image=image, tags=yes, known=tuple(answers), unknown=(_EVERY,), part=part
            )


def write_labels(rows: Iterable[DecidedRow], target: Path) -> int:
    """Write labels as CSV or JSONL, by the file's ending; return how many images it holds.

    Raises
    ------
    TagstackError
        If the ending is another, or a CSV cannot hold a tag.
    """
    writers = {".csv": _csv, ".jsonl": _jsonl}
    if target.suffix.lower() not in writers:
        msg = f"{target} ends in {target.suffix!r}; expected .csv or .jsonl."
        raise TagstackError(msg)
    listed = list(rows)
    text = writers[target.suffix.lower()](listed)
    with written_whole(target) as temporary:
        # Names that are not UTF-8 keep their bytes, as the readers of labels expect.
        temporary.write_bytes(text.encode("utf-8", "surrogateescape"))
    return len(listed)


def labels_csv(rows: Iterable[DecidedRow]) -> bytes:
    """Return labels as the bytes of a CSV file."""
    return _csv(list(rows)).encode("utf-8", "surrogateescape")


def keep_labels(
    store: DecisionStore, table: LabelTable, who: str, images: Mapping[str, str]
) -> int:
    """Keep what a label table or sidecars say as decisions; return how many were new.

    Every tag of an image is a yes. That a tag is missing says nothing, for nobody knows whether
    it was looked for.

    Parameters
    ----------
    store : DecisionStore
    table : LabelTable
    who : str
        In whose name.
    images : mapping of name to SHA-256
        The pictures of the collection; rows of others are passed over.
    """
    stems = {str(Path(name).with_suffix("")): name for name in images} if table.by_stem else {}
    known = {(item.image, item.tag) for item in store.standing() if item.answer == "yes"}
    fresh = []
    for row in table.rows:
        name = row.image if row.image in images else stems.get(row.image)
        if name is not None:
            pairs = ((name, tag) for tag in row.tags if (name, tag) not in known)
            fresh += [_imported(who, image, tag, images[image]) for image, tag in pairs]
    for start in range(0, len(fresh), _CHUNK):
        store.record(fresh[start : start + _CHUNK])
    return len(fresh)


def _imported(who: str, image: str, tag: str, content: str) -> Decision:
    shown = Shown(order=IMPORT)
    return Decision(who=who, image=image, content=content, tag=tag, answer="yes", shown=shown)


def _answers(standing: Sequence[Standing], implied: Implied | None) -> dict[str, bool]:
    answers = {item.tag: item.answer == "yes" for item in standing if item.answer != "skip"}
    if implied is not None:
        yes = [tag for tag, own in answers.items() if own]
        answers = {**dict.fromkeys(sorted(implied(yes)), True), **answers}
    return answers


def _csv(rows: Sequence[DecidedRow]) -> str:
    stream = io.StringIO()
    table = TableWriter(stream)
    table.writerow(_COLUMNS)
    for row in rows:
        cells = (_cell(row.tags), _cell(row.known), " ".join(row.unknown))
        table.writerow((row.image, *cells, row.part))
    return stream.getvalue()


def _cell(tags: Sequence[str]) -> str:
    for tag in tags:
        if "," in tag or tag.split() != [tag]:
            msg = f"The tag {tag!r} has a comma or a space, which a CSV cannot hold. Write .jsonl."
            raise TagstackError(msg)
    return ", ".join(tags)


def _jsonl(rows: Sequence[DecidedRow]) -> str:
    return "".join(
        json.dumps(
            {
                "image": row.image,
                "tags": list(row.tags),
                "known": list(row.known),
                "unknown": list(row.unknown),
                "part": row.part,
            }
        )
        + "\n"
        for row in rows
    )
