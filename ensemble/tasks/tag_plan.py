"""What a run of `tag` has to do: which pictures are known unread, and whose files are current."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tagstack.base_models.scoring.sources import ImageSources
from tagstack.ensemble.outputs.folder import OutputFolder, content_of
from tagstack.ensemble.outputs.table_rows import row_key
from tagstack.ensemble.outputs.written import ImageRow, SeenFile, WrittenRecord


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The pictures of a run before any of them is read.

    Parameters
    ----------
    seen : mapping of name to SeenFile
        What each looks like now; without those that are no files.
    known : mapping of name to str
        SHA-256 of those that look as they did when they were last read.
    skipped : frozenset of str
        Those that have a caption and are to be skipped for that.
    unknown : tuple of str
        Those that must be read.
    others : mapping of name to str
        SHA-256 of pictures that earlier runs tagged, that are still there, and that this run is
        not about; the tables hold them too.
    root : str
        What the run's pictures are below.
    other_roots : mapping of name to str
        What the others are below.
    """

    seen: Mapping[str, SeenFile]
    known: Mapping[str, str]
    skipped: frozenset[str]
    unknown: tuple[str, ...]
    others: Mapping[str, str]
    root: str
    other_roots: Mapping[str, str]

    def due_tables(self, folder: OutputFolder, keys: Mapping[str, bytes]) -> tuple[str, ...]:
        """Return the tables that do not hold these pictures yet, given by `row_keys`."""
        if not folder.tables:
            return ()
        content = content_of(keys)
        return tuple(name for name in folder.tables if not folder.table_is_current(name, content))

    def row_keys(self, contents: Mapping[str, str]) -> dict[str, bytes]:
        """Return what stands for these pictures and the others in a table, in their order."""
        known, root = self._known_keys, self.root
        return {
            name: known.get(name) or row_key(name, root, contents[name])
            for name in sorted({**self.others, **contents})
        }

    @cached_property
    def _known_keys(self) -> dict[str, bytes]:
        """What stands for the others, and for those whose content is known unread."""
        roots, root = self.other_roots, self.root
        others = {name: row_key(name, roots[name], sum) for name, sum in self.others.items()}
        return others | {name: row_key(name, root, sum) for name, sum in self.known.items()}


def look_at(
    sources: ImageSources, folder: OutputFolder, record: WrittenRecord, *, rehash: bool
) -> Pictures:
    """Return what is known of a run's pictures without reading one.

    Parameters
    ----------
    sources : ImageSources
    folder : OutputFolder
    record : WrittenRecord
        Of earlier runs.
    rehash : bool
        Whether to read every picture, whatever it looks like.
    """
    root = str(sources.root)
    skip = folder.settings.existing == "skip"
    skipped = frozenset(name for name in sources.names if skip and folder.is_taken(name))
    seen: dict[str, SeenFile] = {}
    known: dict[str, str] = {}
    for name in sources.names:
        now = SeenFile.of(f"{root}/{name}")
        if now is None or name in skipped:
            continue
        seen[name] = now.settled
        row = record.images.get(name)
        if row is not None and not rehash and (row.root, row.seen) == (root, now):
            known[name] = row.sha256
    others = _others(sources, record)
    unknown = tuple(n for n in sources.names if n not in known and n not in skipped)
    return Pictures(
        seen=seen,
        known=known,
        skipped=skipped,
        unknown=unknown,
        others={row.name: row.sha256 for row in others},
        root=root,
        other_roots={row.name: row.root for row in others},
    )


def _others(sources: ImageSources, record: WrittenRecord) -> list[ImageRow]:
    here = {*sources.names, *(failure.name for failure in sources.failures)}
    return [
        row
        for name, row in record.images.items()
        if name not in here and Path(row.root, name).is_file()
    ]
