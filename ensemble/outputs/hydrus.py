"""``IMAGE.EXT.txt``: one tag a line with its namespace, as hydrus imports sidecars.

Hydrus takes what stands before the first colon for a namespace and keeps tags in lower case with
spaces. See https://hydrusnetwork.github.io/hydrus/advanced_sidecars.html.
"""

from collections.abc import Sequence, Set
from typing import ClassVar, Literal

from tagstack.ensemble.outputs.captions import CaptionTag, TaggedFile
from tagstack.ensemble.outputs.format import Sidecar
from tagstack.ensemble.outputs.tag_text import same_tag, spaced

# Category here -> namespace there. General tags have none.
NAMESPACES = {
    "character": "character",
    "copyright": "series",
    "artist": "creator",
    "rating": "rating",
    "species": "species",
    "meta": "meta",
}


class Hydrus(Sidecar):
    """A tag a line; the tags' own spelling is kept, underscores become spaces where asked for."""

    suffix = ".txt"
    detailed = False
    name: ClassVar[Literal["full"]] = "full"
    merges: ClassVar[Literal["asked"]] = "asked"

    def render(self, file: TaggedFile) -> str:
        """Return the lines."""
        return "".join(f"{self._line(tag)}\n" for tag in self.tags(file))

    def parse(self, text: str) -> tuple[str, ...]:
        """Return the lines as they stand, namespaces included."""
        return tuple(dict.fromkeys(filter(None, map(str.strip, text.splitlines()))))

    def key(self, name: str) -> str:
        """Return a tag without a namespace of `NAMESPACES`, spaces and capitals aside."""
        namespace, colon, rest = name.partition(":")
        known = bool(colon and rest.strip()) and namespace.lower() in NAMESPACES.values()
        return same_tag(rest if known else name)

    def merged(self, text: str, tags: Sequence[CaptionTag], dropped: Set[str]) -> str:
        """Return the lines with those of other tags; lines of kept tags stay as they are."""
        lines = {self.key(line): line for line in self.parse(text)}
        return "".join(f"{lines.get(self.key(tag.name), self._line(tag))}\n" for tag in tags)

    def _line(self, tag: CaptionTag) -> str:
        name = " ".join(tag.name.split())  # a line break would begin another tag
        name = spaced(name) if self.captions.settings.spaces else name
        name = name.removeprefix("rating:") if tag.category == "rating" else name
        namespace = NAMESPACES.get(tag.category)
        return f"{namespace}:{name}" if namespace else name
