"""Several score stores made one: of other pictures, other taggers, or shards of one run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.remote.stores import writable_here
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.reading import OK, ScoreReader
from tagstack.base_models.scores.shards import copy_images
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.shown import shown
from tagstack.ensemble.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merge made.

    Parameters
    ----------
    members : tuple of str
        Names, in the order of the stores.
    n_images, n_new : int
        Pictures by name that the stores have, and those of them that the result did not.
    """

    members: tuple[str, ...]
    n_images: int
    n_new: int


def merge_stores(
    stores: Sequence[Path], out: Path, settings: Settings, progress: Progress
) -> Merged:
    """Write everything that stores hold into one; the stores stay as they are.

    Pictures go in sorted by name and parted by count alone: the files of a new store are the same,
    byte for byte, however the work was shared out. Run again after an interruption, it goes on.

    Parameters
    ----------
    stores : sequence of Path
        Folders of score stores, or addresses of some in an object store.
    out : Path
        Folder of the store to write; what it has already stays.
    settings : Settings
        ``score.part_images`` bounds the memory.
    progress : Progress

    Raises
    ------
    TagstackError
        If a store cannot be read, two versions of a member or two pictures have one name, or the
        result is one of the stores.
    """
    if out.resolve() in [store.resolve() for store in stores]:
        msg = f"{out} is to be merged and to be written. Name another folder with --out."
        raise TagstackError(msg)
    with writable_here(out, settings.remote) as here:
        return _merged(stores, here, settings, progress)


def _merged(stores: Sequence[Path], out: Path, settings: Settings, progress: Progress) -> Merged:
    readers = [ScoreStore(store) for store in stores]
    members = Members(tuple(_joint_members(readers)))
    # What is there takes part in the checks: the merge must not rename a picture of it.
    there = [ScoreStore(out)] if (out / "store.json").exists() else []
    _joint_members([*there, *readers])
    names = _joint_names([*there, *readers])
    with ScoreWriter(out, members) as writer:
        n_new = copy_images(
            readers,
            writer,
            part_images=settings.score.part_images,
            progress=lambda done, total: progress.stage("merging", done, total),
        )
    return Merged(members=members.names, n_images=len(names), n_new=n_new)


def _joint_members(readers: Sequence[ScoreReader]) -> list[MemberInfo]:
    """Return every member once; refuse two versions of one name."""
    found: dict[str, tuple[MemberInfo, str]] = {}
    for reader in readers:
        for info in reader.members():
            first, title = found.setdefault(info.name, (info, reader.title))
            if first.fingerprint != info.fingerprint:
                msg = (
                    f"{shown(info.name)} is {first.fingerprint[:12]} in {title} and "
                    f"{info.fingerprint[:12]} in {reader.title}: another version of the tagger, or "
                    f"other settings. Expected one. Score one of the two again."
                )
                raise TagstackError(msg)
    return [info for info, _ in found.values()]


def _joint_names(readers: Sequence[ScoreReader]) -> set[str]:
    """Return the names of all pictures; refuse one name of two pictures."""
    found: dict[str, tuple[str, str]] = {}
    names: set[str] = set()
    for reader in readers:
        for name, record in reader.image_records().items():
            names.add(name)
            if record.status != OK:
                continue
            sha256, title = found.setdefault(name, (record.sha256, reader.title))
            if sha256 != record.sha256:
                msg = (
                    f"{shown(name)} is one picture in {title} and another in {reader.title}. "
                    f"Names are paths below the folder that was scored: score both folders through "
                    f"the folder above them."
                )
                raise TagstackError(msg)
    return names
