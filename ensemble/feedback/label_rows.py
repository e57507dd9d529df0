"""Decisions as labels: what a fit, a comparison or another program reads.

Where nobody spoke, a pair is unknown. A file says so by ``unknown = *`` with the tags that were
decided under ``known``: among ten thousand tags that is the shorter list.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from tagstack.base_models.atomic import write_text, written_whole
from tagstack.base_models.pictures.places import picture_below
from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.feedback.decision import Decision, Shown, Standing
from tagstack.ensemble.feedback.store import DecisionStore
from tagstack.meta.labels.label_files import LabelRow, LabelTable
from tagstack.meta.labels.labels import rows_of_images

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
    sidecar : str
        Path of its text below a folder, without the ending.
    """

    image: str
    sidecar: str
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
    by_stem = bool(base and base.by_stem)
    keys = {image: _key_in(rows, image, by_stem) for image in said}
    silent = rows.keys() - {*keys.values()}
    for image in sorted({*said, *silent}):
        standing = said.get(image, ())
        answers = _answers(standing, implied)
        row = rows.get(keys.get(image, image))
        if row is None and not answers:
            continue
        yield DecidedRow(
            image=image,
            sidecar=row.image
            if row and by_stem
            else PurePosixPath(image).with_suffix("").as_posix(),
            tags=_tags(row, answers),
            known=_known(row, answers),
            unknown=(_EVERY,) if row is None else row.unknown,
            part=JUDGE if any(item.judging for item in standing) else TRAIN,
        )


def _key_in(rows: Mapping[str, LabelRow], image: str, by_stem: bool) -> str:
    stem = PurePosixPath(image).with_suffix("").as_posix()
    return stem if by_stem and image not in rows else image


def _tags(row: LabelRow | None, answers: Mapping[str, bool]) -> tuple[str, ...]:
    before = row.tags if row else ()
    tags = dict.fromkeys((*before, *(tag for tag, yes in answers.items() if yes)))
    return tuple(tag for tag in tags if answers.get(tag, True))


def _known(row: LabelRow | None, answers: Mapping[str, bool]) -> tuple[str, ...]:
    if row is None:
        return tuple(answers)
    return tuple(dict.fromkeys((*row.known, *answers))) if row.unknown else ()


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


def write_sidecars(rows: Iterable[DecidedRow], folder: Path) -> int:
    """Write each image's tags into a text of its own; return how many there are.

    Raises
    ------
    TagstackError
        If a name leads out of the folder; nothing more is written.
    """
    n_written = 0
    for row in rows:
        target = picture_below(folder, f"{row.sidecar}.txt")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, ", ".join(row.tags) + "\n")
        n_written += 1
    return n_written


def labels_csv(rows: Iterable[DecidedRow]) -> bytes:
    """Return labels as the bytes of a CSV file."""
    return _csv(list(rows)).encode("utf-8", "surrogateescape")


def keep_labels(
    store: DecisionStore,
    table: LabelTable,
    who: str,
    images: Sequence[str],
    content: Callable[[str], str],
    roots: Sequence[str] = (),
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
    images : sequence of str
        The pictures of the collection; rows of others are passed over.
    content : callable
        From a picture's name to the SHA-256 of its bytes.
    roots : sequence of str
        Folders that the pictures lie below; labels may name them from there.

    Raises
    ------
    TagstackError
        If no row is of one of the pictures.
    """
    found, _ = rows_of_images(table, images, roots)
    if not found:
        msg = (
            f"None of the {len(table.rows)} images in {table.source} is among the {len(images)} "
            f"pictures: it names {table.rows[0].image!r}, they are like {images[0]!r}."
        )
        raise TagstackError(msg)
    known = {(item.image, item.tag) for item in store.standing() if item.answer == "yes"}
    fresh = []
    for i, image in enumerate(images):
        row = found.get(i)
        new = [tag for tag in row.tags if (image, tag) not in known] if row else []
        own = content(image) if new else ""
        fresh += [_imported(who, image, tag, own) for tag in new]
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
