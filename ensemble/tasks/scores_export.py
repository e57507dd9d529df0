"""What a score store holds, and a member's scores as a file that other programs read."""

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import write_text, written_whole
from tagstack.base_models.locks import ProcessLock
from tagstack.base_models.scores.member_info import (
    MEMBER_FOLDERS,
    MemberInfo,
    member_folder,
    read_member_info,
    read_store_index,
)
from tagstack.base_models.scores.reading import OK, Digests, ScoredMember, digest_array
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_parts import FEATURE_FOLDER, SCORES, part_paths, read_part
from tagstack.base_models.scores.table_files import FLOOR_KEY
from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.progress import Progress

_CHUNK = 2000  # pictures of a row group: bounds memory


@dataclass(frozen=True, kw_only=True)
class MemberFacts:
    """A member of a store in numbers.

    Parameters
    ----------
    info : MemberInfo
    n_images : int
        Contents with scores.
    size_bytes : int
        Of its parts.
    """

    info: MemberInfo
    n_images: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """A store in numbers.

    Parameters
    ----------
    n_images, n_failed : int
        Pictures by name, and those of them that failed.
    members : tuple of MemberFacts
    n_unused, unused_bytes : int
        Folders of scores that another version of their member has replaced.
    """

    n_images: int
    n_failed: int
    members: tuple[MemberFacts, ...]
    n_unused: int
    unused_bytes: int


def store_facts(directory: Path) -> StoreFacts:
    """Return what a store holds.

    Raises
    ------
    TagstackError
        If it is no score store or damaged.
    """
    index = read_store_index(directory)
    records = ScoreStore(directory).image_records()
    base = directory / MEMBER_FOLDERS
    members = [_member_facts(base / index[name]) for name in sorted(index)]
    unused = _unused(directory, set(index.values()))
    return StoreFacts(
        n_images=len(records),
        n_failed=sum(record.status != OK for record in records.values()),
        members=tuple(members),
        n_unused=len(unused),
        unused_bytes=sum(_size_bytes(folder) for folder in unused),
    )


def _member_facts(folder: Path) -> MemberFacts:
    contents: set[bytes] = set()
    for path in part_paths(folder):
        contents.update(read_part(path, SCORES, ("sha256",)).column("sha256").to_pylist())
    return MemberFacts(
        info=read_member_info(folder), n_images=len(contents), size_bytes=_size_bytes(folder)
    )


def _size_bytes(folder: Path) -> int:
    parts = (*part_paths(folder), *part_paths(folder / FEATURE_FOLDER))
    return sum(path.stat().st_size for path in parts)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was exported.

    Parameters
    ----------
    table, tags : Path
        The scores, and the tag file that importing them needs.
    features : Path, optional
        Where the features are, of a member that keeps some.
    n_images, n_scores : int
    """

    table: Path
    tags: Path
    features: Path | None
    n_images: int
    n_scores: int


def export_scores(
    store: Path, out: Path, progress: Progress, *, member: str | None, overwrite: bool = False
) -> Exported:
    """Write a member's scores as Parquet (a row a pair) or NPZ, and its tags beside them.

    Features go to a file of their own, ``.features.npz``, a row a picture.

    Parameters
    ----------
    store : Path
    out : Path
        ``.parquet`` or ``.npz``; the tags go to the same name with ``.tags.csv``.
    member : str, optional
        May be left out where there is one only.
    overwrite : bool
        Whether files that are there are replaced.

    Raises
    ------
    TagstackError
        If the store cannot be read, the member is none of its own, or a file is there already.
    """
    writer = {".parquet": _write_parquet, ".npz": _write_npz}.get(out.suffix.lower())
    if writer is None:
        raise TagstackError(f"{out}: expected a name that ends in .parquet or .npz.")
    tags, features = out.with_suffix(".tags.csv"), out.with_suffix(".features.npz")
    reader = ScoreStore(store)
    scored = _chosen(reader, store, member)
    has_features = scored.info.n_features > 0
    for path in (out, tags, *((features,) if has_features else ())):
        if path.exists() and not overwrite:
            raise TagstackError(f"{path} exists. Choose another name or pass --overwrite.")
    pictures = _pictures(reader, scored)
    try:
        with written_whole(out) as temporary:
            n_scores = writer(temporary, scored, pictures, progress)
        if has_features:
            with written_whole(features) as temporary:
                _write_features(temporary, scored, pictures)
    except OSError as error:
        raise TagstackError(f"Cannot write {out}: {error.strerror or error}.") from error
    write_text(tags, _tag_file(scored.info))
    return Exported(
        table=out,
        tags=tags,
        features=features if has_features else None,
        n_images=len(pictures),
        n_scores=n_scores,
    )


def _chosen(reader: ScoreStore, store: Path, member: str | None) -> ScoredMember:
    known = reader.scored_members()
    if member is None and len(known) == 1:
        return next(iter(known.values()))
    if member is None or member not in known:
        said = "" if member is None else f" no member {member!r}; it has"
        msg = f"{store} has{said} {list(known)}. Say one of them with --member."
        raise TagstackError(msg)
    return known[member]


def _pictures(reader: ScoreStore, scored: ScoredMember) -> list[tuple[str, str]]:
    """Return SHA-256 and first name of each content that was scored, sorted by name."""
    named: dict[str, str] = {}
    for record in reader.records():
        if record.status == OK:
            named.setdefault(record.sha256, record.path)
    digests = digest_array(named)
    known = scored.knows(digests) if len(digests) else np.zeros(0, bool)
    return [item for item, has in zip(named.items(), known, strict=True) if has]


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _chunks(
    scored: ScoredMember, pictures: list[tuple[str, str]], progress: Progress
) -> Iterator[
    tuple[list[tuple[str, str]], NDArray[np.int64], NDArray[np.int32], NDArray[np.float16]]
]:
    """Yield some pictures with their scores, sorted by picture and tag."""
    for start in range(0, len(pictures), _CHUNK):
        own = pictures[start : start + _CHUNK]
        digests: Digests = digest_array(sha256 for sha256, _ in own)
        image, tag, logit = scored.gather(digests)
        order = np.lexsort((tag, image))
        yield own, image[order], tag[order], logit[order]
        progress.stage("exporting", start + len(own), len(pictures))


def _write_parquet(
    path: Path, scored: ScoredMember, pictures: list[tuple[str, str]], progress: Progress
) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    facts = {FLOOR_KEY: repr(scored.info.floor).encode()}
    schema = pa.schema(
        [
            ("image", pa.dictionary(pa.int32(), pa.string())),
            ("sha256", pa.dictionary(pa.int32(), pa.string())),
            ("tag", pa.dictionary(pa.int32(), pa.string())),
            ("logit", pa.float32()),
        ],
        metadata=facts,
    )
    tags, n_scores = pa.array(scored.info.vocabulary.tags, pa.string()), 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for own, image, tag, logit in _chunks(scored, pictures, progress):
            # A picture without a score has a row without tag: it was looked at.
            bare = np.setdiff1d(np.arange(len(own)), image)
            place = pa.array(np.concatenate([image, bare]).astype(np.int32))
            none = pa.nulls(len(bare), pa.int32())
            values = pa.array(logit.astype(np.float32))
            arrays = [
                pa.DictionaryArray.from_arrays(place, pa.array([_printable(n) for _, n in own])),
                pa.DictionaryArray.from_arrays(place, pa.array([sha256 for sha256, _ in own])),
                pa.DictionaryArray.from_arrays(pa.concat_arrays([pa.array(tag), none]), tags),
                pa.concat_arrays([values, pa.nulls(len(bare), pa.float32())]),
            ]
            writer.write_table(pa.table(arrays, schema=schema))
            n_scores += len(tag)
    return n_scores


def _write_npz(
    path: Path, scored: ScoredMember, pictures: list[tuple[str, str]], progress: Progress
) -> int:
    counts, tags, logits = [np.zeros(1, np.int64)], [np.empty(0, np.int32)], []
    logits.append(np.empty(0, np.float16))
    for own, image, tag, logit in _chunks(scored, pictures, progress):
        counts.append(np.bincount(image, minlength=len(own)).astype(np.int64))
        tags.append(tag)
        logits.append(logit)
    indptr = np.cumsum(np.concatenate(counts))
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            images=np.array([_printable(name) for _, name in pictures], str),
            sha256=np.array([sha256 for sha256, _ in pictures], str),
            tags=np.array(scored.info.vocabulary.tags, str),
            indptr=indptr,
            tag=np.concatenate(tags),
            logits=np.concatenate(logits),
            floor=np.float64(scored.info.floor),
        )
    return int(indptr[-1])


def _write_features(path: Path, scored: ScoredMember, pictures: list[tuple[str, str]]) -> None:
    digests = digest_array(sha256 for sha256, _ in pictures)
    with path.open("wb") as stream:
        np.savez(
            stream,
            images=np.array([_printable(name) for _, name in pictures], str),
            sha256=np.array([sha256 for sha256, _ in pictures], str),
            features=scored.features(digests),
        )


def _tag_file(info: MemberInfo) -> str:
    """Return a member's tags as ``selected_tags.csv`` has them."""
    text = io.StringIO()
    table = TableWriter(text)
    table.writerow(("name", "category", "count", "best_threshold"))
    columns = (info.published_counts.tolist(), info.published_thresholds.tolist())
    rows = zip(info.vocabulary.tags, info.vocabulary.categories, *columns, strict=True)
    for tag, category, count, threshold in rows:
        table.writerow((tag, category, "" if np.isnan(count) else count, threshold))
    return text.getvalue()


@dataclass(frozen=True, kw_only=True)
class PrunedScores:
    """What `prune_store` deleted.

    Parameters
    ----------
    folders : tuple of Path
    size_bytes : int
    """

    folders: tuple[Path, ...]
    size_bytes: int


def prune_store(directory: Path, *, delete: bool) -> PrunedScores:
    """Delete the scores that another version of their member has replaced.

    Parameters
    ----------
    directory : Path
    delete : bool
        Without, nothing is deleted and what would be is returned.

    Raises
    ------
    TagstackError
        If it is no score store, or another process writes to it.
    """
    index = read_store_index(directory)
    lock = ProcessLock(directory / "lock")
    if not lock.take():
        msg = f"Process {lock.owner()} is writing to {directory}. Wait for it to end."
        raise TagstackError(msg)
    try:
        unused = _unused(directory, set(index.values()))
        sizes = sum(_size_bytes(folder) for folder in unused)
        for folder in unused if delete else ():
            shutil.rmtree(folder)
    except OSError as error:
        msg = f"Cannot delete from {directory}: {error.strerror or error}. Mend its permissions."
        raise TagstackError(msg) from error
    finally:
        lock.release()
    return PrunedScores(folders=tuple(unused), size_bytes=sizes)


def _unused(directory: Path, used: set[str]) -> list[Path]:
    """Return folders that are a member's by what lies in them, and that no member points to."""
    found = []
    for path in sorted((directory / MEMBER_FOLDERS).glob("*")):
        if path.name in used or path.is_symlink() or not path.is_dir():
            continue
        if (path / "member.json").is_file() and member_folder(read_member_info(path)) == path.name:
            found.append(path)
    return found
