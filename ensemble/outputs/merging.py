"""Our tags beside somebody's, in one file: who owns what, and what stays out."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from tagstack.configs.output import OutputSettings
from tagstack.ensemble.outputs.captions import Captions, CaptionTag, TaggedFile
from tagstack.ensemble.outputs.format import Sidecar
from tagstack.ensemble.outputs.written import FileRow


@dataclass(frozen=True)
class Content:
    """What a sidecar shall hold.

    Parameters
    ----------
    text : str, optional
        None leaves the file that is there.
    whole : bool
        Whether all of it is ours.
    added : tuple of str
        Keys of the tags that are ours where not all of it is.
    refused : tuple of str
        Keys of the tags that were ours once and that somebody took out.
    """

    text: str | None
    whole: bool = False
    added: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class Merging:
    """Decides what a sidecar holds where a file may be there already.

    Parameters
    ----------
    captions : Captions
        Order and categories of tags, and the settings of the run.
    """

    def __init__(self, captions: Captions) -> None:
        self._captions = captions
        self._spelled: dict[Sidecar, dict[str, str]] = {}

    @property
    def settings(self) -> OutputSettings:
        """Settings of the run."""
        return self._captions.settings

    def content(
        self,
        sidecar: Sidecar,
        row: FileRow | None,
        file: TaggedFile,
        *,
        exists: bool,
        there: bytes | None,
    ) -> Content:
        """Return what the sidecar of a picture shall hold.

        Parameters
        ----------
        sidecar : Sidecar
        row : FileRow, optional
            What was recorded when it was last written.
        file : TaggedFile
        exists : bool
            Whether anything is at its path.
        there : bytes, optional
            What it holds now, None for what cannot be read or merged into.
        """
        existing = self.settings.existing
        merging = sidecar.merges == "always" or (
            sidecar.merges == "asked" and existing in ("append", "merge")
        )
        if merging and there is not None:
            return self._merged(sidecar, row, file, there)
        text = sidecar.render(file)
        own = row is not None and there is not None and row.owns(there)
        same = there == text.encode("utf-8", "backslashreplace")
        if exists and not (own or same or existing == "replace"):
            return _kept(row)
        if not merging:
            return Content(text, whole=True)
        return Content(text, added=tuple(sidecar.key(tag.name) for tag in sidecar.tags(file)))

    def _merged(
        self, sidecar: Sidecar, row: FileRow | None, file: TaggedFile, there: bytes
    ) -> Content:
        """Return a file with our tags beside somebody's; what they took out stays out."""
        try:
            text = there.decode("utf-8-sig")
            present = {sidecar.key(tag): tag for tag in sidecar.parse(text)}
            own = row is not None and row.owns(there)
            earlier = set(present if own and row and row.whole else row.added if row else ())
            refused = set(row.refused if row else ()) | (set() if own else earlier - set(present))
            ours = {sidecar.key(tag.name): tag for tag in sidecar.tags(file)}
            ours = {key: tag for key, tag in ours.items() if key not in refused}
            theirs = self._theirs(sidecar, present, earlier)
            tags = self._joined(theirs | {k: t for k, t in ours.items() if k not in theirs}, file)
            dropped = frozenset(present) - theirs.keys() - ours.keys()
            new = sidecar.merged(text, tags, dropped)
        except ValueError:  # not UTF-8, or no file of this format: nothing to merge into
            return _kept(row)
        return Content(new, added=_sorted(ours.keys() - theirs), refused=_sorted(refused))

    def _theirs(
        self, sidecar: Sidecar, present: Mapping[str, str], earlier: Set[str]
    ) -> dict[str, CaptionTag]:
        """Return the tags of a file that no earlier run put there, by key, as they are spelled."""
        if self.settings.existing == "replace":
            return {}
        return {
            key: CaptionTag(tag, self._category(sidecar, key))
            for key, tag in present.items()
            if key not in earlier
        }

    def _category(self, sidecar: Sidecar, key: str) -> str:
        """Return the category of the tag behind a sidecar's spelling of it."""
        if sidecar not in self._spelled:
            known = self._captions.categories.items()
            self._spelled[sidecar] = {sidecar.key(tag): category for tag, category in known}
        return self._spelled[sidecar].get(key, "general")

    def _joined(self, tags: Mapping[str, CaptionTag], file: TaggedFile) -> tuple[CaptionTag, ...]:
        every = tuple(tags.values())
        merge = self.settings.existing == "merge"
        return self._captions.ordered(every, file.sha256) if merge else every


def _kept(row: FileRow | None) -> Content:
    if row is None:
        return Content(None)
    return Content(None, whole=row.whole, added=row.added, refused=row.refused)


def _sorted(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(keys))
