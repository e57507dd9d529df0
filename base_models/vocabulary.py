"""The tags of a tagger or of an ensemble, with the category of each."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from tagstack.configs.errors import TagstackError


@dataclass(frozen=True)
class Vocabulary:
    """Tags in a fixed order; a tag's index is its position here, everywhere.

    Parameters
    ----------
    tags : tuple of str
        Unique tag names as published, underscores kept.
    categories : tuple of str
        Category name of each tag (``"general"``, ``"character"``, ``"rating"``, ...), parallel.

    Raises
    ------
    TagstackError
        If a tag occurs twice or the lengths differ.

    Examples
    --------
    >>> vocabulary = Vocabulary(("1girl", "solo"), ("general", "general"))
    >>> vocabulary.index["solo"]
    1
    """

    tags: tuple[str, ...]
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.tags) != len(self.categories):
            msg = f"{len(self.tags)} tags have {len(self.categories)} categories; one each is due."
            raise TagstackError(msg)
        if len(self.index) != len(self.tags):
            twice = sorted(tag for tag, count in Counter(self.tags).items() if count > 1)
            msg = (
                f"Tags occur more than once: {twice[:5]}. Remove the duplicates from the tag file."
            )
            raise TagstackError(msg)

    def __len__(self) -> int:
        return len(self.tags)

    @cached_property
    def index(self) -> dict[str, int]:
        """Index of each tag."""
        return {tag: i for i, tag in enumerate(self.tags)}

    @cached_property
    def category_of(self) -> dict[str, str]:
        """Category of each tag."""
        return dict(zip(self.tags, self.categories, strict=True))

    @classmethod
    def union(cls, vocabularies: Iterable["Vocabulary"]) -> "Vocabulary":
        """Return every tag of several vocabularies, sorted by name so that member order is moot.

        A tag takes its category from the first vocabulary that knows it.
        """
        category: dict[str, str] = {}
        for vocabulary in vocabularies:
            for tag, name in zip(vocabulary.tags, vocabulary.categories, strict=True):
                category.setdefault(tag, name)
        tags = tuple(sorted(category))
        return cls(tags, tuple(category[tag] for tag in tags))
