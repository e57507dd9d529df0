"""Takes groups of tags out of captions, so that a trigger word learns what they say."""

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.text_files import read_bytes
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.workshop.changing_alone import changing_alone
from tagstack.ensemble.workshop.dataset.caption_text import MAX_BYTES, key_of, read_caption
from tagstack.ensemble.workshop.dataset.folder import CaptionFolder
from tagstack.ensemble.workshop.dataset.reading import writing_of
from tagstack.ensemble.workshop.dataset.undo import FolderChanges, Rewrite, place_in


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What is taken out.

    Parameters
    ----------
    n_captions, n_changed : int
        Captions looked at, and captions that lose tags.
    tags : dict of str to int
        Captions that lose each tag, the most frequent first.
    emptied, unread : tuple of str
        Captions that would be left without a tag and stay, and those that cannot be rewritten.
    undo : Path or None
        None where nothing was changed.
    """

    n_captions: int
    n_changed: int
    tags: dict[str, int]
    emptied: tuple[str, ...]
    unread: tuple[str, ...]
    undo: Path | None


def prune_tags(
    source: Path,
    tags: Container[str],
    settings: Settings,
    progress: Progress,
    *,
    keep: bool = False,
    apply: bool = False,
) -> Pruned:
    """Take tags out of captions, or all others; trigger words always stay.

    Parameters
    ----------
    source : Path
        Training folder.
    tags : container of str
        Keys: a set of them, or a tag group.
    settings : Settings
    progress : Progress
    keep : bool
        Keep these tags and take out the others.
    apply : bool
        Rewrite the captions; otherwise only count.
    """
    with changing_alone(source, changes=apply and source.is_dir()):
        return _pruned(source, tags, settings, progress, keep=keep, apply=apply)


def _pruned(
    source: Path,
    tags: Container[str],
    settings: Settings,
    progress: Progress,
    *,
    keep: bool,
    apply: bool,
) -> Pruned:
    own = settings.dataset
    folder = CaptionFolder.of(
        source, extensions=settings.score.extensions, endings=own.caption_extensions
    )
    writing, changes = writing_of(folder), FolderChanges(folder.root)
    trigger, counts = {key_of(word) for word in own.trigger}, Counter[str]()
    is_meant = lru_cache(maxsize=2**18)(tags.__contains__)  # a group matches patterns
    emptied, unread, n_changed = [], [], 0
    for n, name in enumerate(folder.of_pictures, 1):
        progress.stage("reading captions", n, len(folder.of_pictures))
        try:
            text = read_caption(folder.path(name))
            path = place_in(folder.root, name)
        except TagstackError:
            unread.append(name)
            continue
        parts = [part for part in writing.parts(text) if part]
        gone = {k for k in map(key_of, parts) if is_meant(k) != keep and k not in trigger}
        left = [part for part in parts if key_of(part) not in gone]
        if not gone:
            continue
        if not writing.may_be_joined(text) or name.lower().endswith(".json"):
            unread.append(name)
        elif not left:
            emptied.append(name)
        else:
            n_changed += 1
            counts.update(gone)
            if apply:
                ending = text[len(text.rstrip("\r\n")) :]
                before = read_bytes(path, what="caption", limit=MAX_BYTES)
                after = (writing.joined(left) + ending).encode("utf-8")
                changes.rewrite(Rewrite(name, before, after))
    changes.finish()
    return Pruned(
        n_captions=len(folder.of_pictures),
        n_changed=n_changed,
        tags=dict(counts.most_common()),
        emptied=tuple(emptied),
        unread=tuple(unread),
        undo=changes.path,
    )
