"""The tags of a training folder's pictures, one picture at a time."""

from collections.abc import Iterator

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.workshop.dataset.caption_text import Writing, key_of, read_caption
from tagstack.ensemble.workshop.dataset.folder import CaptionFolder

_SAMPLE = 1000  # captions, evenly spread, that show how all are written


def writing_of(folder: CaptionFolder) -> Writing:
    """Return how a folder's captions are written; JSON has a writing of its own."""
    plain = [name for name in folder.of_pictures if not name.lower().endswith(".json")]
    texts = []
    for name in plain[:: max(1, len(plain) // _SAMPLE)]:
        try:
            texts.append(read_caption(folder.path(name)))
        except TagstackError:
            continue
    return Writing.of(texts)


def tags_of_pictures(
    folder: CaptionFolder,
    writing: Writing,
    progress: Progress,
    stage: str = "reading captions",
    *,
    again: bool = False,
) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each picture and the keys of the tags in its captions; none of unreadable ones.

    At the end it is noted how many captions could not be read, unless they are read ``again``.
    """
    refused: list[str] = []
    for n, image in enumerate(folder.images, 1):
        keys: set[str] = set()
        for name in folder.captions_of[image]:
            try:
                text = read_caption(folder.path(name))
            except TagstackError:
                refused.append(name)
                continue
            keys.update(key_of(part) for part in writing.parts(text) if part)
        yield image, frozenset(keys)
        progress.stage(stage, n, len(folder.images))
    if refused and not again:
        what = "captions cannot be read" if len(refused) > 1 else "caption cannot be read"
        progress.notice(
            f"{len(refused)} {what}, such as {refused[0]}; nothing is known of their tags. "
            "`tagstack dataset lint` says why."
        )
