"""Scores from another program into a store, as a member like any other.

A table's pictures become contents: by SHA-256, or by name among the pictures that the store knows
or a folder holds. The whole table is checked before anything is written. What cannot be had from
a table is a tagger: the member is marked as imported, and asking it for new pictures is refused.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.contract import Tags
from tagstack.base_models.scores.member_info import IMPORTED, MemberInfo, read_store_index
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.reading import OK, ImageRecord
from tagstack.base_models.scores.score_table import KINDS, ScoreTable
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scores.table_files import read_score_table
from tagstack.base_models.tag_names import TagNames, did_you_mean
from tagstack.base_models.taggers.tag_files import TagRow, counts_from_rows, read_tag_file
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.shown import shown
from tagstack.configs.tables import read_table
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.runs import found_images
from tagstack.ensemble.tasks.stored_scores import hashed
from tagstack.meta.labels.image_names import match_names

# Category codes of Danbooru's own tables, in which most tag files number theirs.
_DANBOORU = {
    "0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta", "9": "rating"
}  # fmt: skip
_FORMATS = {".csv": "selected_tags_csv", ".txt": "tags_txt", ".json": "json_list"}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")  # as contracts name taggers
_THRESHOLD = 0.5  # of a tag whose file has none, as a contract's default
_COMMIT = 4096  # pictures of a part


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """What to import, and as what.

    Parameters
    ----------
    table : Path
        Scores; see `table_files`.
    store : Path
        Folder of the score store; created where there is none.
    member : str
        Name of the member.
    tags : Path
        The vocabulary of what scored: ``selected_tags.csv``, a text with a tag a line, or a JSON
        list. Columns of a table without tag names follow its order.
    kind : str, optional
        ``"logits"`` or ``"probabilities"``, where the file does not say it.
    floor : float, optional
        Probability below which nothing is kept, or was left out of the table.
    images : Path, optional
        Folder of the pictures, for those that the store does not know.
    names : Path, optional
        Text file with a picture a line, for arrays that do not name theirs.
    append : bool
        Whether the pictures are added to the member as it is: of the same program, says the user.
    overwrite : bool
        Whether a member of this name gives way.
    """

    table: Path
    store: Path
    member: str
    tags: Path
    kind: str | None = None
    floor: float | None = None
    images: Path | None = None
    names: Path | None = None
    append: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """What an import did.

    Parameters
    ----------
    member, fingerprint : str
    floor : float
    n_images : int
        Contents that have scores of the member now and had none.
    n_known : int
        Contents that had some already, which stay.
    n_tags : int
    unknown : tuple of str
        Pictures of the table that neither the store nor the folder has.
    matched : mapping of str to int
        How many names each step of `match_names` matched.
    """

    member: str
    fingerprint: str
    floor: float
    n_images: int
    n_known: int
    n_tags: int
    unknown: tuple[str, ...]
    matched: Mapping[str, int]


def import_scores(request: ImportRequest, settings: Settings, progress: Progress) -> ImportSummary:
    """Import a table of scores into a store.

    Raises
    ------
    TagstackError
        If the table cannot be read or is not what it is said to be, a tag is unknown, none of its
        pictures is known, or the store has other scores of that name. Nothing is written then.
    """
    if not _NAME.fullmatch(request.member):
        msg = (
            f"{request.member!r:.100} is no name of a member. Expected small letters, digits, "
            "dots, dashes and underscores."
        )
        raise TagstackError(msg)
    progress.stage("reading the table")
    rows = tag_rows(request.tags)
    vocabulary = Vocabulary(tuple(r.tag for r in rows), tuple(r.category for r in rows))
    table = read_score_table(request.table, request.names)
    kind, floor = _kind(table, request.kind), _floor(table, request.floor, settings)
    places = _places(table, vocabulary, request.tags)
    table.check(kind)
    info = _member(request, rows, vocabulary, kind, floor)
    if (request.store / "store.json").exists():
        info = _beside_others(request, info)
    records = _records(request, settings, progress)
    found, matched = _contents(table, records)
    if not found:
        first = shown(table.pictures[0])
        msg = (
            f"{request.table}: none of its {len(table.pictures)} pictures is known, such as "
            f"{first!r:.120}. Say --images FOLDER, or a store that was made from them."
        )
        raise TagstackError(msg)
    n_new, n_known = _write(
        table, (kind, places), info, found, records.values(), request.store, progress
    )
    return ImportSummary(
        member=info.name,
        fingerprint=info.fingerprint,
        floor=info.floor,
        n_images=n_new,
        n_known=n_known,
        n_tags=len(vocabulary),
        unknown=tuple(p for i, p in enumerate(table.pictures) if i not in found),
        matched=matched,
    )


def tag_rows(path: Path) -> tuple[TagRow, ...]:
    """Return the rows of a tag file; its format follows from its ending.

    Raises
    ------
    TagstackError
        If it cannot be read or has another ending.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        msg = f"The tag file {path} is none of {', '.join(_FORMATS)}. Write the tags as one."
        raise TagstackError(msg)
    codes: dict[str, str] = {}
    if form == "selected_tags_csv":
        table = read_table(path, what="tag file")
        cells = [row.cells.get("category", "").strip() for row in table.rows]
        codes = _DANBOORU if all(cell.isdigit() for cell in cells) else {}
    return read_tag_file(path, Tags.model_validate({"format": form, "categories": codes}))


def _kind(table: ScoreTable, said: str | None) -> str:
    if said is not None and said not in KINDS:
        raise TagstackError(f"--kind {said!r:.40} is none of {', '.join(KINDS)}.")
    if table.kind is None and said is None:
        msg = (
            f"{table.source} does not say whether its scores are logits or probabilities. Say "
            "--kind logits or --kind probabilities."
        )
        raise TagstackError(msg)
    if None not in (table.kind, said) and table.kind != said:
        msg = f"{table.source} names its scores {table.kind}, but --kind says {said}. Leave it out."
        raise TagstackError(msg)
    return said or table.kind or ""


def _floor(table: ScoreTable, said: float | None, settings: Settings) -> float:
    if None not in (table.floor, said) and table.floor != said:
        msg = (
            f"{table.source} left out what lies below {table.floor:g}, but --floor says {said:g}. "
            "Leave it out."
        )
        raise TagstackError(msg)
    floor = table.floor if said is None else said
    if floor is None and not table.is_whole:
        msg = (
            f"{table.source} lists some pairs only. Say with --floor below which probability the "
            "others were left out."
        )
        raise TagstackError(msg)
    floor = settings.score.floor if floor is None else floor
    if not 1e-7 <= floor < 0.5:
        raise TagstackError(f"The floor {floor:g} is not from 1e-7 to less than 0.5; give another.")
    return floor


def _places(table: ScoreTable, vocabulary: Vocabulary, path: Path) -> NDArray[np.int64]:
    """Return where each tag of the table is in the vocabulary."""
    if table.tags is None:
        n_columns = table.scores.shape[1] if isinstance(table.scores, np.ndarray) else 0
        if n_columns != len(vocabulary):
            msg = (
                f"{table.source} has {n_columns} scores a picture, {path} has {len(vocabulary)} "
                "tags; expected one each. Give the tag file that belongs to it."
            )
            raise TagstackError(msg)
        return np.arange(n_columns)
    names = TagNames(vocabulary)
    places = [names.find(tag) for tag in table.tags]
    unknown = [t for t, place in zip(table.tags, places, strict=True) if place is None]
    if unknown:
        hint = did_you_mean(unknown[0], vocabulary.tags) or "Give the tag file that belongs to it."
        msg = (
            f"{table.source}: {len(unknown)} of its tags are not in {path}, such as "
            f"{shown(unknown[0])!r:.100}. {hint}"
        )
        raise TagstackError(msg)
    found = np.array([place for place in places if place is not None], np.int64)
    counts = np.bincount(found, minlength=len(vocabulary))
    if counts.size and counts.max() > 1:
        twice = vocabulary.tags[int(counts.argmax())]
        raise TagstackError(f"{table.source}: two of its tags mean {twice!r:.100}. Remove one.")
    if table.is_whole and counts.min() == 0:
        missing = vocabulary.tags[int(counts.argmin())]
        msg = (
            f"{table.source}: no column for the tag {missing!r:.100} of {path}. Add it, or take "
            "the tag out of the tag file."
        )
        raise TagstackError(msg)
    return found


def _member(
    request: ImportRequest,
    rows: Sequence[TagRow],
    vocabulary: Vocabulary,
    kind: str,
    floor: float,
) -> MemberInfo:
    files = [request.table, *([] if request.names is None else [request.names])]
    facts = {
        "imported": [file_sha256(path) for path in files],
        "kind": kind,
        "tags": vocabulary.tags,
        "floor": floor,
    }
    thresholds = [_THRESHOLD if r.best_threshold is None else r.best_threshold for r in rows]
    return MemberInfo(
        name=request.member,
        fingerprint=hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(),
        source=IMPORTED + shown(request.table.name),
        vocabulary=vocabulary,
        aliases={},
        floor=floor,
        published_thresholds=np.array(thresholds, np.float32),
        published_counts=counts_from_rows(rows),
        runtime=f"imported {kind}",
        training=None,
    )


def _beside_others(request: ImportRequest, info: MemberInfo) -> MemberInfo:
    """Return the member as the store is to have it; refuse to take another one's place."""
    old = {member.name: member for member in ScoreStore(request.store).members()}.get(info.name)
    if old is None or old.fingerprint == info.fingerprint or request.overwrite:
        return info
    if not request.append:
        msg = (
            f"The store {request.store} has other scores of {info.name!r}. Choose another name, "
            "--append to add pictures that the same program scored, or --overwrite."
        )
        raise TagstackError(msg)
    same = replace(info, fingerprint=old.fingerprint)
    if not old.is_imported or old.floor != info.floor or old.vocabulary != info.vocabulary:
        msg = (
            f"Cannot append to {info.name!r} in {request.store}: it is no imported member, or has "
            f"other tags or another floor ({old.floor:g}). Choose another name."
        )
        raise TagstackError(msg)
    return replace(same, source=old.source, runtime=old.runtime)


def _records(
    request: ImportRequest, settings: Settings, progress: Progress
) -> dict[str, ImageRecord]:
    """Return the pictures that the store knows or the folder holds, by name."""
    records: dict[str, ImageRecord] = {}
    if (request.store / "store.json").exists():
        read_store_index(request.store)
        known = ScoreStore(request.store).image_records()
        records = {name: record for name, record in known.items() if record.status == OK}
    if request.images is not None:
        sources = found_images([request.images], settings, progress)
        records |= hashed(sources, sources.names, settings, progress)[0]
    return records


def _contents(
    table: ScoreTable, records: Mapping[str, ImageRecord]
) -> tuple[dict[int, str], Mapping[str, int]]:
    """Return the content that each picture of the table is, and how names were matched."""
    if table.by_content:
        known = {record.sha256 for record in records.values()}
        return {i: key for i, key in enumerate(table.pictures) if key in known}, {}
    names = list(records)
    roots = sorted({record.root for record in records.values()} - {""})
    matched = match_names(table.pictures, names, roots=roots)
    if same := matched.doubled():
        raise TagstackError(f"{same[0]!r} and {same[1]!r} are one picture. Keep the scores of one.")
    found = {}
    for i, picture in enumerate(table.pictures):
        meant = {records[names[k]].sha256 for k in matched.found.get(picture, ())}
        if len(meant) == 1:
            found[i] = meant.pop()
    return found, matched.steps


def _write(
    table: ScoreTable,
    numbers: tuple[str, NDArray[np.int64]],
    info: MemberInfo,
    found: Mapping[int, str],
    records: Iterable[ImageRecord],
    store: Path,
    progress: Progress,
) -> tuple[int, int]:
    """Write the scores of contents that have none; return how many got some, and had some."""
    n_new, n_known, waiting = 0, 0, 0
    kind, places = numbers
    with ScoreWriter(store, Members((info,))) as writer:
        for start, logits in table.chunks(kind, places, len(info.vocabulary)):
            own = [(i, found[start + i]) for i in range(len(logits)) if start + i in found]
            new: dict[str, int] = {}
            for i, sha256 in own:
                if writer.missing(sha256):
                    new.setdefault(sha256, i)
            writer.add_scores(0, list(new), logits[list(new.values())])
            n_new, n_known = n_new + len(new), n_known + len(own) - len(new)
            waiting += len(new)
            if waiting >= _COMMIT:
                writer.commit()
                waiting = 0
            progress.stage("importing", start + len(logits), len(table.pictures))
        wanted = set(found.values())
        for record in records:
            if record.sha256 in wanted:
                writer.add_image(
                    path=record.path,
                    root=record.root,
                    sha256=record.sha256,
                    size_bytes=record.size_bytes,
                )
        writer.commit()
    return n_new, n_known
