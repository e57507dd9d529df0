"""Tags as files: sidecars (txt, json) and tables (jsonl, csv), whole or not at all.

An existing file with other content is never replaced unless asked for: hand-made tags survive.
To add a format, write a context manager that yields a function of one `TaggedImage` and name it
in `configs.hooks.OUTPUT_FORMATS`.
"""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TextIO, cast

from tagstack.base_models.atomic import write_text, written_whole
from tagstack.base_models.scoring.sources import ImageFailure
from tagstack.configs.hooks import OUTPUT_FORMATS
from tagstack.configs.output import OutputSettings
from tagstack.ensemble.bundle.decisions import TagEntry, TaggedImage


def caption(entries: Iterable[TagEntry], settings: OutputSettings) -> str:
    """Return the tags of one image as one line, without a line break at the end."""
    ordered = sorted(entries, key=lambda entry: _order_key(entry, settings))
    return settings.separator.join(tag_text(entry.tag, settings) for entry in ordered)


def tag_text(tag: str, settings: OutputSettings) -> str:
    """Return a tag as it is written: with spaces or escaped parentheses where asked for.

    A kaomoji keeps its underscores, and is recognised by having no two letters in a row.
    """
    if settings.spaces and not is_kaomoji(tag):
        tag = tag.replace("_", " ")
    if settings.escape_parentheses:
        tag = tag.replace("(", r"\(").replace(")", r"\)")
    return tag


def is_kaomoji(tag: str) -> bool:
    """Return whether a tag is a drawn face such as ``0_0``, ``>_<``, ``o_o`` or ``(o)_(o)``.

    Examples
    --------
    >>> [tag for tag in ("^_^", "<o>_<o>", "u_u", "=_=", "x_(y)", "1girl") if is_kaomoji(tag)]
    ['^_^', '<o>_<o>', 'u_u', '=_=']
    """
    left, underscore, right = tag.partition("_")
    if not underscore or "_" in right or right.startswith("(") != left.startswith("("):
        return False  # words have several underscores or a qualifier in parentheses
    return _is_eye(left) and _is_eye(right)


def _is_eye(part: str) -> bool:
    """Tell an eye or mouth from a word: one character, or signs around at most one letter."""
    return len(part) == 1 or (0 < len(part) <= 3 and sum(map(str.isalnum, part)) <= 1)


def _order_key(entry: TagEntry, settings: OutputSettings) -> tuple[int, float, str]:
    if settings.order == "name":
        return 0, 0.0, entry.tag
    rank = 0
    if settings.order == "category":
        known = entry.category in settings.categories
        rank = settings.categories.index(entry.category) if known else len(settings.categories)
    return rank, -entry.proba, entry.tag


Write = Callable[[TaggedImage], None]
OutputFormat = Callable[["OutputFolder", OutputSettings], AbstractContextManager[Write]]
_MAX_NAME_BYTES = 255  # of one name, on every file system in common use


class OutputFolder:
    """The folder that results go to: names files, protects what is there, tells what it kept.

    Parameters
    ----------
    directory : Path
    images : sequence of str
        Every image of the run: two images of one stem (``1.png``, ``1.jpg``) must not share a
        sidecar, so both then keep their suffix (``1.png.txt``, ``1.jpg.txt``).
    overwrite : bool
        Whether existing files with other content are replaced.
    """

    def __init__(self, directory: Path, images: Sequence[str], *, overwrite: bool) -> None:
        self.directory = directory
        self.overwrite = overwrite
        self.kept: list[Path] = []
        self._too_long: dict[str, str] = {}
        stems = Counter(_stem(image) for image in images)
        # 1.png.png must not take the name that 1.png may need.
        stems.update(image for image in images if _stem(image) != image)
        self.collisions = tuple(image for image in images if stems[_stem(image)] > 1)
        self._full_names = frozenset(self.collisions)

    @property
    def failures(self) -> tuple[ImageFailure, ...]:
        """Images whose sidecar could not be written, and why."""
        return tuple(ImageFailure(name, reason) for name, reason in self._too_long.items())

    def sidecar(self, image: str, suffix: str) -> Path:
        """Return the path of an image's sidecar file."""
        name = image if image in self._full_names else _stem(image)
        return self.directory / f"{name}{suffix}"

    def publish(self, image: str, suffix: str, text: str) -> None:
        """Write an image's sidecar unless that would replace other content.

        A name that no file system takes costs that image alone: see `failures`.
        """
        target = self.sidecar(image, suffix)
        size = len(os.fsencode(target.name))
        if size > _MAX_NAME_BYTES:
            self._too_long[image] = (
                f"its sidecar would have a name of {size} bytes, over the limit of "
                f"{_MAX_NAME_BYTES}; shorten the image's name, or use --format jsonl"
            )
            return
        if os.path.lexists(target) and not self.overwrite:
            if _content(target) != text.encode("utf-8", "backslashreplace"):
                self.kept.append(target)
            return
        write_text(target, text)

    @contextmanager
    def table(self, name: str) -> Iterator[TextIO | None]:
        """Yield a stream for a file that appears when all is written; None if one is there."""
        target = self.directory / name
        if os.path.lexists(target) and not self.overwrite:
            self.kept.append(target)
            yield None
            return
        with written_whole(target) as temporary:
            with temporary.open("w", encoding="utf-8", newline="") as stream:
                yield stream


@contextmanager
def caption_files(folder: OutputFolder, settings: OutputSettings) -> Iterator[Write]:
    """``IMAGE.txt``: the tags in one line, as caption trainers and boorus read them."""

    def write(tagged: TaggedImage) -> None:
        folder.publish(
            tagged.image,
            ".txt",
            caption((entry for entry in tagged.tags if entry.in_caption), settings) + "\n",
        )

    yield write


@contextmanager
def json_files(folder: OutputFolder, settings: OutputSettings) -> Iterator[Write]:
    """``IMAGE.json``: tags, probabilities, thresholds, votes and the rules that changed them."""

    def write(tagged: TaggedImage) -> None:
        folder.publish(tagged.image, ".json", json.dumps(_record(tagged), indent=1) + "\n")

    yield write


@contextmanager
def json_lines(folder: OutputFolder, settings: OutputSettings) -> Iterator[Write]:
    """``tags.jsonl``: the same as the json files, a line an image."""
    with folder.table("tags.jsonl") as stream:

        def write(tagged: TaggedImage) -> None:
            if stream is not None:
                stream.write(json.dumps(_record(tagged)) + "\n")

        yield write


@contextmanager
def score_table(folder: OutputFolder, settings: OutputSettings) -> Iterator[Write]:
    """``tags.csv``: ``filename,tag,score`` of the final tags, as Danbooru's importer reads it."""
    with folder.table("tags.csv") as stream:
        table = csv.writer(io.StringIO() if stream is None else stream)
        table.writerow(("filename", "tag", "score"))

        def write(tagged: TaggedImage) -> None:
            name = _printable(tagged.image)
            table.writerows((name, entry.tag, f"{entry.proba:.4f}") for entry in tagged.tags)

        yield write


@contextmanager
def writer(name: str, folder: OutputFolder, settings: OutputSettings) -> Iterator[Write]:
    """Yield what writes one image's tags in a format; it is done when the context ends.

    Parameters
    ----------
    name : str
        Of `OUTPUT_FORMATS`, those of installed packages included.
    folder : OutputFolder
    settings : OutputSettings

    Raises
    ------
    TagstackError
        If there is no such format, or its package is broken.
    """
    offer = OUTPUT_FORMATS.offer(name)
    opened = cast(OutputFormat, offer.load())
    with ExitStack() as stack:
        with offer.blamed():
            write = stack.enter_context(opened(folder, settings))

        def blamed(tagged: TaggedImage) -> None:
            with offer.blamed():
                write(tagged)

        yield blamed


def _record(tagged: TaggedImage) -> dict[str, Any]:
    return {
        "image": tagged.image,
        "tags": [entry.tag for entry in tagged.tags],
        "candidates": [_candidate(entry) for entry in tagged.entries],
    }


def _candidate(entry: TagEntry) -> dict[str, Any]:
    votes = {m: None if vote is None else round(vote, 4) for m, vote in entry.votes.items()}
    return {
        "tag": entry.tag,
        "category": entry.category,
        "proba": round(entry.proba, 4),
        "threshold": round(entry.threshold, 4),
        "tagged": entry.tagged,
        "rule": entry.rule,
        "votes": votes,
    }


def _stem(image: str) -> str:
    return PurePosixPath(image).with_suffix("").as_posix()


def _content(path: Path) -> bytes | None:
    """Return a file's bytes; None for what is no readable file, a folder for one."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _printable(name: str) -> str:
    """Return a file name with bytes that are not UTF-8 written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
