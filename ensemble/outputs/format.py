"""What an output format is: a sidecar for each image, or one table of a run.

To add a format, derive a class from `Sidecar`, `TextTable` or `Table` and name it in
`tagstack.configs.hooks.OUTPUT_FORMATS`, or in another package under the entry point group
``tagstack.output_formats``. A format says what is in a file and how it is read back; when and where
it is written, and what becomes of files that others made, is decided for all of them in `folder`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar, Literal

from tagstack.ensemble.outputs.captions import Captions, CaptionTag, TaggedFile
from tagstack.ensemble.outputs.tag_text import same_tag

Add = Callable[[TaggedFile], None]


class Sidecar(ABC):
    """A format with one text file for each image.

    Parameters
    ----------
    captions : Captions
        Chooses and orders tags; ``captions.settings`` has the settings of ``[output]``.

    Attributes
    ----------
    suffix : str
        What the file's name ends in.
    name : {"stem", "full"}
        Whether the format's readers look for ``1.txt`` or ``1.png.txt``.
    merges : {"never", "asked", "always"}
        Whether a file that was there before can take up tags: never (``output.existing`` append
        and merge keep it), where these ask for it, or always, because other programs keep other
        things in it.
    detailed : bool
        Whether files tell more than the final tags: other candidates, votes, the rules' names.
        Where no format of a run does, ``file.tagged`` holds the final tags alone.
    """

    suffix: ClassVar[str]
    name: ClassVar[Literal["stem", "full"]] = "stem"
    merges: ClassVar[Literal["never", "asked", "always"]] = "never"
    detailed: ClassVar[bool] = True

    def __init__(self, captions: Captions) -> None:
        self.captions = captions

    @property
    def ending(self) -> str:
        """What the names of this run's files end in."""
        return self.suffix

    @abstractmethod
    def render(self, file: TaggedFile) -> str:
        """Return the content of an image's file."""

    @abstractmethod
    def parse(self, text: str) -> tuple[str, ...]:
        """Return the tags that a file holds, each once, in their order.

        Raises
        ------
        ValueError
            If it is no file of this format.
        """

    def tags(self, file: TaggedFile) -> tuple[CaptionTag, ...]:
        """Return the tags that `render` writes; what is merged into a file is of these."""
        return self.captions.tags(file)

    def key(self, name: str) -> str:
        """Return what a tag has in common with its other spellings in such a file."""
        return same_tag(name)

    def merged(self, text: str, tags: Sequence[CaptionTag], dropped: Set[str]) -> str:
        """Return a file that was there before with tags added and others taken out.

        Parameters
        ----------
        text : str
            What the file holds.
        tags : sequence of CaptionTag
            All that it shall hold, in their order; those of the file in its own spelling.
        dropped : set of str
            Keys of tags of the file that shall go.

        Raises
        ------
        ValueError
            If the text is no file of this format.
        """
        raise NotImplementedError


class Table(ABC):
    """A format with one file for all images.

    Parameters
    ----------
    captions : Captions

    Attributes
    ----------
    file_name : str
    detailed : bool
        As of a `Sidecar`.
    """

    file_name: ClassVar[str]
    detailed: ClassVar[bool] = True

    def __init__(self, captions: Captions) -> None:
        self.captions = captions

    @abstractmethod
    def opened(self, path: Path) -> AbstractContextManager[Add]:
        """Open a new file and give what adds an image to it; whole when the context ends."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each image's name and tags."""


class TextTable(Table):
    """A table that is text with a block of rows for each image.

    A block depends on its image, the captions' settings and nothing else, so that those of images
    that have not changed are taken over from the table before. Between the first two blocks, and
    so on, stands ``between``; a table without images is ``nothing``.
    """

    head: ClassVar[str] = ""
    between: ClassVar[str] = ""
    foot: ClassVar[str] = ""
    nothing: ClassVar[str] = ""

    @abstractmethod
    def block(self, file: TaggedFile) -> str:
        """Return the rows of an image, with what ends the last of them."""

    @contextmanager
    def opened(self, path: Path) -> Iterator[Add]:
        """Open a new file and give what adds an image to it; whole when the context ends."""
        with path.open("w", encoding="utf-8", newline="") as stream:
            n_blocks = 0

            def add(file: TaggedFile) -> None:
                nonlocal n_blocks
                stream.write((self.between if n_blocks else self.head) + self.block(file))
                n_blocks += 1

            yield add
            stream.write(self.foot if n_blocks else self.nothing)


def printable(name: str) -> str:
    """Return a file name with bytes that are not UTF-8 written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
