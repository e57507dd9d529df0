"""Where captions come from: texts beside pictures, or a table of labels."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.workshop.dataset.caption_text import Writing, read_caption
from tagstack.ensemble.workshop.dataset.folder import CaptionFolder
from tagstack.ensemble.workshop.dataset.lint import Finding
from tagstack.ensemble.workshop.dataset.reading import writing_of
from tagstack.meta.labels.label_files import label_texts


class CaptionSource(Protocol):
    """Captions by name, in a fixed order."""

    @property
    def root(self) -> Path:
        """The folder whose files may be rewritten."""

    @property
    def n_images(self) -> int:
        """Number of pictures."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the captions: files below the root, or the images of a table."""

    @property
    def writing(self) -> Writing:
        """How the captions are written."""

    def text(self, name: str) -> str:
        """Return a caption's text.

        Raises
        ------
        TagstackError
            If it cannot be read.
        """

    def findings(self) -> Iterator[Finding]:
        """Yield what names alone show to be wrong."""


class FolderCaptions:
    """Captions beside pictures.

    Parameters
    ----------
    folder : CaptionFolder
    """

    def __init__(self, folder: CaptionFolder) -> None:
        self.folder = folder
        self.root, self.names = folder.root, folder.of_pictures
        self.n_images = len(folder.images)

    @cached_property
    def writing(self) -> Writing:
        """How the captions are written."""
        return writing_of(self.folder)

    def text(self, name: str) -> str:
        """Return a caption's text."""
        return read_caption(self.folder.path(name))

    def findings(self) -> Iterator[Finding]:
        """Yield pictures with no caption or several, captions of no picture, closed folders."""
        for image, captions in self.folder.captions_of.items():
            if not captions:
                yield Finding("no-caption", image)
            elif len(captions) > 1:
                yield Finding("several", image, "", " and ".join(captions))
        if self.folder.images:
            yield from (Finding("no-image", name) for name in self.folder.alone)
        for name, reason in self.folder.unlisted:
            yield Finding("unreadable", name, "", reason)


class LabelCaptions:
    """The tags of a label file, a caption for each image; nothing of it is ever rewritten.

    Parameters
    ----------
    source : Path
        CSV or JSONL, or a format from elsewhere.
    """

    def __init__(self, source: Path) -> None:
        self.root, self._texts = source.parent, label_texts(source)
        if not self._texts:
            msg = f"{source} holds no labels. Expected at least one image with its tags."
            raise TagstackError(msg)
        self.names, self.n_images = tuple(self._texts), len(self._texts)

    @cached_property
    def writing(self) -> Writing:
        """How the tags are written."""
        return Writing.of(list(self._texts.values()))

    def text(self, name: str) -> str:
        """Return an image's tags as they are written."""
        return self._texts[name]

    def findings(self) -> Iterator[Finding]:
        """Yield nothing: a row is picture and caption in one."""
        yield from ()


def captions_from(source: Path, settings: Settings, *, fix: bool) -> CaptionSource:
    """Return the captions of a folder, or of a label file.

    Raises
    ------
    TagstackError
        If there is nothing to read, or ``fix`` asks for a table to be rewritten.
    """
    if not source.is_file():
        endings = settings.dataset.caption_extensions
        extensions = settings.score.extensions
        return FolderCaptions(CaptionFolder.of(source, extensions=extensions, endings=endings))
    if fix:
        msg = (
            f"--fix rewrites captions in a folder, and {source} is a table of labels, which is "
            "only checked. Leave --fix out, or give the folder with the captions."
        )
        raise TagstackError(msg)
    return LabelCaptions(source)
