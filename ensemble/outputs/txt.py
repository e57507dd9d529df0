"""``IMAGE.txt``: the tags in one line, as caption trainers and boorus read them."""

from collections.abc import Sequence, Set
from typing import ClassVar, Literal

from tagstack.ensemble.outputs.captions import CaptionTag, TaggedFile
from tagstack.ensemble.outputs.format import Sidecar
from tagstack.ensemble.outputs.tag_text import same_tag, unparted


class Caption(Sidecar):
    """A line of tags; ``output.extension`` gives it another suffix."""

    suffix = ".txt"
    detailed = False
    merges: ClassVar[Literal["asked"]] = "asked"

    @property
    def ending(self) -> str:
        """What the names of this run's files end in."""
        return self.captions.settings.extension

    def render(self, file: TaggedFile) -> str:
        """Return the line, with a line break at its end."""
        return self.captions.text(file) + "\n"

    def parse(self, text: str) -> tuple[str, ...]:
        """Return the tags of the line."""
        return self.captions.parted(text)

    def key(self, name: str) -> str:
        """Return what a tag has in common with its other spellings in a caption."""
        return same_tag(unparted(name, self.captions.settings.separator))

    def merged(self, text: str, tags: Sequence[CaptionTag], dropped: Set[str]) -> str:
        """Return the line with other tags; where none goes, what was there stays to the letter."""
        names = tuple(tag.name for tag in tags)
        present = self.parse(text)
        if names[: len(present)] != present:
            return self.captions.joined(names) + "\n"
        new = self.captions.joined(names[len(present) :])
        pieces = filter(None, (text.strip(), new))
        return text if not new else self.captions.settings.separator.join(pieces) + "\n"
