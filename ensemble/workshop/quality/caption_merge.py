"""Quality tags into captions that are there, by the rules that `tag` writes captions by.

The record of what was put where lies in the captions' folder, one for each preset: a later run
takes back its own tags and nothing else, and what a person took out stays out.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tagstack import __version__
from tagstack.base_models.pictures.images import ImageError
from tagstack.base_models.pictures.places import picture_below
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.decisions import TagEntry, TaggedImage
from tagstack.ensemble.outputs.captions import Captions, TaggedFile
from tagstack.ensemble.outputs.folder import OutputFolder
from tagstack.ensemble.outputs.names import SidecarNames
from tagstack.ensemble.outputs.txt import Caption
from tagstack.ensemble.outputs.written import FOLDER, SeenFile, WrittenRecord, digest
from tagstack.ensemble.workshop.changing_alone import changing_alone

_CATEGORY = "quality"
_CHUNK = 1000


@dataclass(frozen=True)
class Merge:
    """What became of captions.

    Parameters
    ----------
    n_merged : int
        Captions that have their picture's tags now.
    n_missing : int
        Pictures without a caption, which is not made here.
    kept : tuple of Path
        Files that are no captions, left as they are.
    """

    n_merged: int
    n_missing: int
    kept: tuple[Path, ...]


def merge_into_captions(
    folder: Path, preset: str, tags: Mapping[str, tuple[str, ...]], settings: Settings
) -> Merge:
    """Bring pictures' tags into the captions below a folder.

    Parameters
    ----------
    folder : Path
    preset : str
        Whose tags they are; tags that it gave before go where it gives others now.
    tags : mapping of image name to tuple of str
        Names are relative to the folder.
    settings : Settings
        Of ``[output]`` and ``[quality]``.

    Raises
    ------
    TagstackError
        If the folder is none or cannot be written.
    """
    if not folder.is_dir():
        msg = f"{folder} is no folder; expected the one with the captions. Correct --captions."
        raise TagstackError(msg)
    own = folder / FOLDER / f"quality-{digest(preset.encode())[:16]}"
    with changing_alone(folder), WrittenRecord(own) as record:
        return _merged(folder, tags, settings, record)


def _merged(
    folder: Path, tags: Mapping[str, tuple[str, ...]], settings: Settings, record: WrittenRecord
) -> Merge:
    # The tags are what was asked for, so no list of categories or number of tags leaves one out.
    changes = {"existing": settings.quality.existing, "max_tags": 0, "first": (), "copyrights": ""}
    shown = settings.output.model_copy(update=changes)
    if not {_CATEGORY, "*"} & set(shown.categories):
        shown = shown.model_copy(update={"categories": (*shown.categories, _CATEGORY)})
    captions = Captions(shown, seed=settings.seed)
    form = Caption(captions)
    names = SidecarNames.of(folder, sorted(tags), shown, {"txt": form})
    key = digest(json.dumps([__version__, shown.model_dump(mode="json")], sort_keys=True).encode())
    writer = OutputFolder(names, {"txt": form}, {}, folder, captions, record, lambda _: key)
    there = [name for name in sorted(tags) if _is_there(folder, name, names, form)]
    files = [_file(folder, name, tags[name]) for name in there]
    due = [f for f in files if not writer.is_current(f.tagged.image, f.sha256)]
    for start in range(0, len(due), _CHUNK):
        chunk = due[start : start + _CHUNK]
        seen = {f.tagged.image: SeenFile.of(f.path) or SeenFile(0, 0, -1) for f in chunk}
        writer.write(chunk, seen, str(folder))
    kept = tuple(writer.outcome.kept)
    return Merge(len(there) - len(kept), len(tags) - len(there), kept)


def _is_there(folder: Path, name: str, names: SidecarNames, form: Caption) -> bool:
    """Return whether a picture of a table, whatever it says, has a caption in the folder."""
    try:
        picture_below(folder, name)
    except ImageError:
        return False
    return os.path.isfile(names.path(name, form))


def _file(folder: Path, name: str, tags: tuple[str, ...]) -> TaggedFile:
    entries = tuple(
        _entry(tag, 1 - i / 1000)
        for i, tag in enumerate(tags)  # in their order
    )
    # Nothing here depends on the pixels, so pictures are not read: the tags are the content.
    content = digest(json.dumps([name, tags]).encode("utf-8", "backslashreplace"))
    tagged = TaggedImage(image=name, entries=entries)
    return TaggedFile(tagged=tagged, path=folder / name, sha256=content)


def _entry(tag: str, proba: float) -> TagEntry:
    return TagEntry(tag=tag, category=_CATEGORY, proba=proba, threshold=0.0, votes={}, tagged=True)
