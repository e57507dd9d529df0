"""Which files of a folder list a network's tags, and in which format, told by what is in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.contract import Tags
from tagstack.base_models.taggers.tag_files import TagRow, read_tag_file
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import TAG_FILE_BYTES, own_file

# Of each kind of file, the formats in the order in which they are tried: the strictest first.
_FORMATS = {
    ".csv": ("selected_tags_csv",),
    ".txt": ("tags_txt",),
    ".json": ("camie_json", "json_categories", "json_records", "json_index", "json_list"),
}
_MOST_FILES = 40
# Texts that list no tags, whatever their number of lines.
_OTHER = ("readme", "license", "licence", "requirements", "notice", "changelog")


@dataclass(frozen=True, kw_only=True)
class TagFile:
    """A file that lists tags.

    Parameters
    ----------
    name, format : str
        Of the file, and as ``[tags] format`` has it.
    rows : tuple of TagRow
        With their categories as the file writes them.
    """

    name: str
    format: str
    rows: tuple[TagRow, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """The categories as the file writes them, sorted."""
        return tuple(sorted({row.category for row in self.rows}))


def tag_files(folder: Path, width: int | None) -> tuple[TagFile, ...]:
    """Return the files of a folder that list tags, as many as the network gives scores.

    Parameters
    ----------
    folder : Path
        Only files that lie in it directly are looked at, links that lead out of it are not.
    width : int or None
        Scores of the network; None = any number of tags.
    """
    found = []
    for name in _candidates(folder):
        for format_ in _FORMATS[Path(name).suffix.lower()]:
            try:
                rows = read_tag_file(folder / name, Tags.model_validate({"format": format_}))
            except TagstackError:
                continue
            if width is None or len(rows) == width:
                found.append(TagFile(name=name, format=format_, rows=rows))
                break
    return tuple(found)


def _candidates(folder: Path) -> Iterator[str]:
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in _FORMATS and not path.name.lower().startswith(_OTHER)
    )
    for name in names[:_MOST_FILES]:
        try:
            own_file(folder, name, max_bytes=TAG_FILE_BYTES)
        except TagstackError:
            continue
        yield name
