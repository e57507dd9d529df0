"""The files of a run: what is out of date is written, what others made is protected.

A file whose content is what was last written is our own and brought up to date. Any other is
somebody's work, and ``output.existing`` says what becomes of it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tagstack.base_models.atomic import file_sha256, written_whole
from tagstack.base_models.atomic_batch import AtomicBatch
from tagstack.base_models.scoring.sources import ImageFailure
from tagstack.configs.output import OutputSettings
from tagstack.ensemble.outputs.captions import Captions, TaggedFile
from tagstack.ensemble.outputs.format import Add, Sidecar, Table, TextTable
from tagstack.ensemble.outputs.merging import Merging
from tagstack.ensemble.outputs.names import SidecarNames
from tagstack.ensemble.outputs.table_rows import KeptRows, RowWriter
from tagstack.ensemble.outputs.written import (
    FOLDER,
    FileRow,
    ImageRow,
    SeenFile,
    WrittenRecord,
    digest,
)

_MAX_BYTES = 16_777_216  # of a file to merge into; what is larger is no caption and no XMP


@dataclass
class Outcome:
    """What became of a run's files.

    Parameters
    ----------
    kept : list of Path
        Files with somebody else's content, which stay as they are.
    moved : list of Path
        Own files that went away because their picture's files have other names now.
    failures : dict of image name to reason
    """

    kept: list[Path] = field(default_factory=list)
    moved: list[Path] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


class OutputFolder:
    """Writes the files of a run.

    Parameters
    ----------
    names : SidecarNames
    sidecars : mapping of format name to Sidecar
    tables : mapping of format name to Table
    out : Path
        Where tables go.
    captions : Captions
    record : WrittenRecord
        Open.
    key : callable
        Gives the hash of everything but the picture that decides a format's content.
    """

    def __init__(
        self,
        names: SidecarNames,
        sidecars: Mapping[str, Sidecar],
        tables: Mapping[str, Table],
        out: Path,
        captions: Captions,
        record: WrittenRecord,
        key: Callable[[str], str],
    ) -> None:
        self.names = names
        self.sidecars = sidecars
        self.tables = tables
        self.outcome = Outcome()
        self._out = out
        self._merging = Merging(captions)
        self._record = record
        self._kept_rows: dict[str, KeptRows] = {}
        self._keys = {name: key(name) for name in (*sidecars, *tables)}

    @property
    def settings(self) -> OutputSettings:
        """Settings of the run."""
        return self._merging.settings

    @property
    def detailed(self) -> bool:
        """Whether a format of the run tells more than the final tags."""
        formats: list[Sidecar | Table] = [*self.sidecars.values(), *self.tables.values()]
        return any(form.detailed for form in formats)

    def folders_of(self, images: Iterable[str]) -> set[Path]:
        """Return every folder that sidecars of images go to."""
        paths = (path for image in images for _, path in self._paths(image))
        return {Path(folder) for folder in set(map(os.path.dirname, paths))}

    def is_current(self, image: str, sha256: str) -> bool:
        """Return whether every sidecar of a picture is what it should be, without reading it."""
        known = self._record.images.get(image)
        return (
            known is not None
            and known.sha256 == sha256
            and all(
                self._is_current(self._record.files.get((image, name)), name, path, sha256)
                for name, path in self._paths(image)
            )
        )

    def is_taken(self, image: str) -> bool:
        """Return whether all sidecars of a picture are there and none of them was ever written."""
        return bool(self.sidecars) and all(
            SeenFile.of(path) is not None
            and not getattr(self._record.files.get((image, name)), "sha256", "")
            for name, path in self._paths(image)
        )

    def table_is_current(self, name: str, content: str) -> bool:
        """Return whether a table holds these pictures; see `content_of`."""
        path = str(self._table(name))
        return self._is_current(self._record.files.get(("", name)), name, path, content)

    def note_kept(self, images: Iterable[str]) -> None:
        """Name the kept files of pictures that are current, and kept tables."""
        keys = [(image, name) for image in images for name in self.sidecars]
        keys += [("", name) for name in self.tables]
        rows = (self._record.files.get(key) for key in keys)
        paths = [Path(row.path) for row in rows if row is not None and row.kept]
        self.outcome.kept = list(dict.fromkeys((*self.outcome.kept, *paths)))

    def write(self, files: Sequence[TaggedFile], seen: Mapping[str, SeenFile], root: str) -> None:
        """Write the sidecars of some pictures, and record them.

        Parameters
        ----------
        files : sequence of TaggedFile
        seen : mapping of image name to SeenFile
            What each picture looked like before it was read.
        root : str
            What the pictures' names are relative to.
        """
        rows: list[FileRow] = []
        images: list[ImageRow] = []
        with AtomicBatch() as batch:
            for file in files:
                name = file.tagged.image
                for form, path in self._paths(name):
                    if reason := self.names.fault(path):
                        self.outcome.failures[name] = reason
                        continue
                    rows.append(self._written(batch, form, Path(path), file))
                image = ImageRow(
                    name=name,
                    root=root,
                    seen=seen[name],
                    sha256=file.sha256,
                    n_tags=len(file.tagged.tags),
                )
                images.append(image)
            moved = self._moved(rows)
            if len(batch):
                batch.flush()
            self._record.save(images, rows)
            batch.publish()
        for gone in moved:
            gone.unlink(missing_ok=True)
        self.outcome.moved += moved

    def lacking(self, names: Sequence[str], keys: Mapping[str, bytes]) -> set[str]:
        """Return those pictures whose rows cannot be taken from some tables as they are now.

        Parameters
        ----------
        names : sequence of str
            Formats of the tables.
        keys : mapping of image name to bytes
            See `row_key`.
        """
        lacking: set[str] = set()
        for name in names:
            if not self._is_theirs(name, self._table(name)):
                there = self._rows(name).places
                lacking.update(image for image, key in keys.items() if key not in there)
        return lacking

    @contextmanager
    def tables_opened(self, names: Sequence[str], keys: Mapping[str, bytes]) -> Iterator[Add]:
        """Yield what adds a picture to some tables, which appear when all are added.

        Pictures are added in the order of their names; of those that are not, the rows are taken
        over. A table that somebody else made or changed stays, unless existing files are replaced.

        Parameters
        ----------
        names : sequence of str
            Formats of the tables.
        keys : mapping of image name to bytes
            Of every picture of the tables, in the order of the names; see `row_key`.
        """
        content = content_of(keys)
        with ExitStack() as stack:
            opened = []
            for name in names:
                path = self._table(name)
                if self._is_theirs(name, path):
                    self.outcome.kept.append(path)
                    self._note_table(name, path, path, content, kept=True)
                    continue
                temporary = stack.enter_context(written_whole(path))
                opened.append(stack.enter_context(self._written_table(name, temporary, content)))
            left = iter(keys)

            def upto(image: str | None) -> None:
                """Take over the rows of all pictures before one."""
                for kept in left:
                    if kept == image:
                        break
                    for _, keep in opened:
                        keep(keys[kept])

            def add(file: TaggedFile) -> None:
                image = file.tagged.image
                upto(image)
                for added, _ in opened:
                    added(keys[image], file)

            yield add
            upto(None)

    @contextmanager
    def _written_table(
        self, name: str, temporary: Path, content: str
    ) -> Iterator[tuple[Callable[[bytes, TaggedFile], None], Callable[[bytes], None]]]:
        """Write a table; record it before it is in place, as a crash may come between."""
        form, path = self.tables[name], self._table(name)
        if isinstance(form, TextTable):
            with temporary.open("wb") as stream:
                writer = RowWriter(stream, form, self._rows(name))
                yield writer.add, writer.keep
                writer.end()
            sha256 = self._note_table(name, temporary, path, content, kept=False)
            writer.note(self._note_of_rows(name), sha256)
        else:
            with form.opened(temporary) as add:
                yield lambda _, file: add(file), lambda _: None
            self._note_table(name, temporary, path, content, kept=False)

    def _rows(self, name: str) -> KeptRows:
        """Return what can be taken over from a table that was written before."""
        if name not in self._kept_rows:
            form, path = self.tables[name], self._table(name)
            row = self._record.files.get(("", name))
            kept = KeptRows(path, {})
            if isinstance(form, TextTable) and row is not None and row.key == self._keys[name]:
                kept = KeptRows.of(self._note_of_rows(name), path, form, row.sha256)
            self._kept_rows[name] = kept
        return self._kept_rows[name]

    def _table(self, name: str) -> Path:
        return self._out / self.tables[name].file_name

    def _note_of_rows(self, name: str) -> Path:
        return self._out / FOLDER / f"rows-{digest(name.encode())[:16]}"

    def _paths(self, image: str) -> Iterator[tuple[str, str]]:
        for name, form in self.sidecars.items():
            yield name, self.names.path(image, form)

    def _is_current(self, row: FileRow | None, form: str, path: str, content: str) -> bool:
        return (
            row is not None
            and row.key == self._keys[form]
            and row.content == content
            and row.path == path
            and row.seen == SeenFile.of(path)
        )

    def _written(self, batch: AtomicBatch, form: str, path: Path, file: TaggedFile) -> FileRow:
        """Write a sidecar into the batch if it must change; return what to record of it."""
        sidecar = self.sidecars[form]
        row = self._record.files.get((file.tagged.image, form))
        exists, there = _there(path)
        content = self._merging.content(sidecar, row, file, exists=exists, there=there)
        new = FileRow(
            image=file.tagged.image,
            format=form,
            path=str(path),
            key=self._keys[form],
            content=file.sha256,
            sha256=row.sha256 if row else "",
            before=row.before if row else "",
            seen=SeenFile.of(path) or SeenFile(0, 0, -1),
            whole=content.whole,
            added=content.added,
            refused=content.refused,
        )
        if content.text is None:
            self.outcome.kept.append(path)
            return new._replace(kept=True)
        data = content.text.encode("utf-8", "backslashreplace")
        if there == data:
            return new._replace(sha256=digest(data), before="")
        seen = SeenFile.from_stat(batch.write(path, data))
        return new._replace(sha256=digest(data), before=new.sha256, seen=seen)

    def _moved(self, rows: Sequence[FileRow]) -> list[Path]:
        """Return own files under the name that a sidecar had while it had no twin, or had one."""
        written = {row.path for row in rows}
        moved = []
        for row in rows:
            old = self._record.files.get((row.image, row.format))
            other = self.names.other_path(row.image, self.sidecars[row.format])
            if old is None or old.path == row.path or old.path != other:
                continue
            path = Path(other)
            _, there = _there(path)
            if there is None or old.path in written:
                continue
            if old.owns(there) and not old.kept:
                moved.append(path)
            else:
                self.outcome.kept.append(path)
        return moved

    def _is_theirs(self, name: str, path: Path) -> bool:
        if self.settings.existing == "replace" or not os.path.lexists(path):
            return False
        row = self._record.files.get(("", name))
        if row is None or not row.sha256:
            return True
        return row.seen != SeenFile.of(path) and _file_digest(path) not in (row.sha256, row.before)

    def _note_table(self, name: str, written: Path, path: Path, content: str, *, kept: bool) -> str:
        """Record a table and return its SHA-256 as it is recorded."""
        old = self._record.files.get(("", name))
        before = old.sha256 if old else ""
        row = FileRow(
            image="",
            format=name,
            path=str(path),
            key=self._keys[name],
            content=content,
            sha256=before if kept else _file_digest(written),
            before=before,
            seen=SeenFile.of(written) or SeenFile(0, 0, -1),
            kept=kept,
        )
        self._record.save(files=[row])
        return row.sha256


def failures_of(outcome: Outcome) -> tuple[ImageFailure, ...]:
    """Return the images whose sidecar could not be written, and why."""
    return tuple(ImageFailure(name, reason) for name, reason in outcome.failures.items())


def content_of(keys: Mapping[str, bytes]) -> str:
    """Return the hash that stands for the pictures of a table; see `row_key`."""
    return digest(b"".join(keys.values()))


def _there(path: Path) -> tuple[bool, bytes | None]:
    """Return whether a path is taken, and its bytes if it is a file that can be read."""
    seen = SeenFile.of(path)
    if seen is None or seen.size > _MAX_BYTES:
        return os.path.lexists(path), None
    try:
        return True, path.read_bytes()
    except OSError:
        return True, None


def _file_digest(path: Path) -> str:
    try:
        return file_sha256(path) if SeenFile.of(path) is not None else ""
    except OSError:
        return ""
