"""What a run of `tag` is asked for, what decides its tags, and what it says at its end."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagstack.base_models.scoring.sources import ImageFailure
from tagstack.ensemble.bundle.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class TagRequest:
    """What to tag, with what, and where the tags go.

    Parameters
    ----------
    images : tuple of Path
        Files or folders.
    bundle : Path, optional
        Without one, ``models`` tag as they were published, by a start bundle made on the spot.
    out : Path, optional
        Where everything goes but sidecars beside the pictures; the pictures' own folder by
        default.
    formats : tuple of str
        Of `hooks.OUTPUT_FORMATS`.
    models : tuple of str, optional
        Where the bundle's taggers are now; where they were at fit time by default.
    rules : str, optional
        Without a bundle, the rules that tags obey: a shipped file by name, a TOML file or a tags
        table.
    overwrite : bool
        Whether existing files with other content are replaced.
    rehash : bool
        Whether pictures are read again whose size, time of change and inode are as they were.
    retry_failed : bool
        Whether pictures are tried again that an earlier run gave up on.
    prune : bool
        Whether own files of pictures that are gone are deleted.
    scores : Path, optional
        Store with scores of the pictures, found by content; no tagger runs then.
    cascade : float, optional
        Largest share of the taggers' cost, for a bundle with a cascade.
    cascade_loss : float, optional
        Largest loss of micro-F1 instead.
    ray : str, optional
        Address of a Ray cluster whose workers score what has no scores yet.
    given : tuple of str
        Settings of ``[output]`` that were given for this run: their names should mean something.
    """

    images: tuple[Path, ...]
    bundle: Path | None
    out: Path | None
    formats: tuple[str, ...] = ("txt",)
    models: tuple[str, ...] | None = None
    rules: str | None = None
    overwrite: bool = False
    rehash: bool = False
    retry_failed: bool = False
    prune: bool = False
    scores: Path | None = None
    cascade: float | None = None
    cascade_loss: float | None = None
    ray: str | None = None
    given: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TagSummary:
    """What a run wrote.

    Parameters
    ----------
    n_images, n_tags : int
        Images that have their tags now, and tags over all of them.
    n_current : int
        Those of them whose files were up to date already.
    n_skipped : int
        Images passed over because they had a caption (``output.existing = "skip"``).
    thresholds : str
        Version of the bundle's thresholds that decided.
    failures : tuple of ImageFailure
    kept : tuple of Path
        Files that were there with other content and stay as they are.
    moved : tuple of Path
        Own files that went away because the picture's files have other names now.
    stale : tuple of Path
        Files of pictures that are gone.
    pruned : int
        Files of such pictures that were deleted.
    collisions : tuple of str
        Images that share their stem with another and keep their suffix in sidecar names.
    caution : str
        What whoever uses the tags should know of the bundle; mostly empty.
    unwritten : tuple of str
        Images that were read but whose files could not be written; they are among the failures.
    """

    n_images: int
    n_tags: int
    n_current: int
    n_skipped: int
    thresholds: str
    failures: tuple[ImageFailure, ...]
    kept: tuple[Path, ...]
    moved: tuple[Path, ...]
    stale: tuple[Path, ...]
    pruned: int
    collisions: tuple[str, ...]
    caution: str = ""
    unwritten: tuple[str, ...] = ()

    @property
    def n_failed(self) -> int:
        """Images without tags."""
        return len(self.failures)


def decision_key(content: str, bundle: Bundle, route: str = "") -> str:
    """Return a hash of everything in a bundle that decides an image's tags.

    Parameters
    ----------
    content : str
        Hash of what the bundle was written with.
    bundle : Bundle
        For its thresholds in use.
    route : str
        `Route.key`, where a cascade decides who looks.
    """
    cutting = bundle.thresholds.cutting
    facts = hashlib.sha256(content.encode())
    facts.update(f"{bundle.threshold_version}\0{cutting.image_cut}\0".encode())
    for values in (cutting.value, cutting.worth):
        facts.update(b"" if values is None else np.ascontiguousarray(values, np.float32).tobytes())
    facts.update(route.encode())
    return facts.hexdigest()
