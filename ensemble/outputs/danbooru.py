"""``danbooru.jsonl``: the tag fields of a Danbooru post, a line an image.

The keys are those of a post in Danbooru's API: ``tag_string`` as its upload form and API take it,
the same by category, and the rating's letter. See https://danbooru.donmai.us/wiki_pages/api:posts.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tagstack.ensemble.outputs.captions import RATING, CaptionTag, TaggedFile
from tagstack.ensemble.outputs.format import TextTable

_CATEGORIES = ("general", "character", "copyright", "artist", "meta")
_LETTERS = {
    "general": "g",
    "safe": "g",
    "sensitive": "s",
    "questionable": "q",
    "explicit": "e",
}


class DanbooruPosts(TextTable):
    """One object a line; tags have no spaces there, whatever the settings say of captions."""

    file_name = "danbooru.jsonl"
    detailed = False

    def block(self, file: TaggedFile) -> str:
        """Return an image's line."""
        return json.dumps(post(file, self.captions.tags(file))) + "\n"

    def read(self, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each image's name and its tags but for the rating."""
        with path.open(encoding="utf-8") as stream:
            for line in map(json.loads, stream):
                yield line["filename"], tuple(line["tag_string"].split())


def post(file: TaggedFile, tags: Sequence[CaptionTag]) -> dict[str, str | None]:
    """Return an image's tags as the fields of a post; a category unknown there is general."""
    own = [tag for tag in tags if tag.category != RATING]
    fields: dict[str, str | None] = {
        "filename": file.tagged.image,
        "rating": _rating(tags),
        "tag_string": _joined(own),
    }
    for category in _CATEGORIES:
        fields[f"tag_string_{category}"] = _joined(
            tag
            for tag in own
            if (tag.category if tag.category in _CATEGORIES else "general") == category
        )
    return fields


def _joined(tags: "Sequence[CaptionTag] | Iterator[CaptionTag]") -> str:
    return " ".join("_".join(tag.name.split()) for tag in tags)


def _rating(tags: Sequence[CaptionTag]) -> str | None:
    """Return the letter of the most probable rating; None where there is none that it knows."""
    names = (
        tag.name.removeprefix("rating:").lower()
        for tag in sorted(tags, key=lambda tag: -tag.proba)
        if tag.category == RATING
    )
    letters = (_LETTERS.get(name, name if name in _LETTERS.values() else None) for name in names)
    return next((letter for letter in letters if letter), None)
