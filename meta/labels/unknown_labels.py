"""Partial labels: which (image, tag) pairs nobody has looked at.

A word marks a family of tags: a tag's own name, a pattern such as ``gender:*``, the name of an
exclusive group, or a category. What a family is unknown for is said image by image, or follows
from none of its tags being there.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import translate
from re import compile as compiled

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError

Tags = NDArray[np.int64]

_NO_TAGS: Tags = np.zeros(0, np.int64)


class TagFamilies:
    """Turns words into the tags they stand for; a word is looked up once.

    Parameters
    ----------
    vocabulary : Vocabulary
    groups : mapping of name to tag names
        Exclusive groups; tags outside the vocabulary are passed over.
    aliases : mapping of str to str
        Outdated tag names to current ones.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        groups: Mapping[str, Sequence[str]],
        aliases: Mapping[str, str],
    ) -> None:
        self.vocabulary, self.groups, self.aliases = vocabulary, groups, aliases
        self._found: dict[str, Tags] = {}

    def tags(self, word: str) -> Tags:
        """Return the indices of a word's tags, ascending; empty where it stands for none.

        Shape (n_found,).

        A tag's own name comes before a group's, that before a category's, that before a pattern.
        """
        if word not in self._found:
            self._found[word] = np.array(sorted(set(self._look_up(word))), np.int64)
        return self._found[word]

    def of_pattern(self, word: str) -> Tags:
        """Return the tags of a word that a setting names. Shape (n_found,).

        Raises
        ------
        TagstackError
            If it stands for fewer than two tags: a tag whose absence is never a negative has no
            negatives to learn from.
        """
        found = self.tags(word)
        if len(found) < 2:
            msg = (
                f"unknown_if_absent names {word!r}, which stands for {len(found)} of the taggers' "
                f"{len(self.vocabulary)} tags; expected two or more, for a tag on its own would "
                "have no negatives. Name a pattern such as gender:*, an exclusive group or a "
                f"category ({', '.join(sorted(set(self.vocabulary.categories))[:5])})."
            )
            raise TagstackError(msg)
        return found

    def _look_up(self, word: str) -> Iterable[int]:
        index = self.vocabulary.index
        name = self.aliases.get(word, word)
        if name in index:
            return [index[name]]
        if word in self.groups:
            current = (self.aliases.get(tag, tag) for tag in self.groups[word])
            return [index[tag] for tag in current if tag in index]
        if word in self.vocabulary.categories:
            return [i for i, own in enumerate(self.vocabulary.categories) if own == word]
        if not any(sign in word for sign in "*?["):
            return []
        matches = compiled(translate(word)).match
        return [i for i, tag in enumerate(self.vocabulary.tags) if matches(tag)]


def unknown_pairs(
    labels: sparse.csr_array,
    words: Sequence[Sequence[str]],
    unknown_if_absent: Sequence[str],
    families: TagFamilies,
    known: Sequence[Sequence[str]] = (),
) -> tuple[sparse.csr_array, Counter[str]]:
    """Return the pairs that are unknown, and the words that stand for no tag, with counts.

    Parameters
    ----------
    labels : csr_array of shape (n_images, n_tags), bool
    words : sequence of n_images sequences of str
        What each image's label row calls unknown.
    unknown_if_absent : sequence of str
        Families that are unknown for an image that has none of their tags.
    families : TagFamilies
    known : sequence of n_images sequences of str
        What each row calls known, whatever else makes it unknown; nothing by default.

    Raises
    ------
    TagstackError
        If one of ``unknown_if_absent`` stands for fewer than two tags.
    """
    idle: Counter[str] = Counter()
    named = _matrix(_rows(words, families, idle), labels.shape)
    absent = [_absent(labels, families.of_pattern(word)) for word in unknown_if_absent]
    unknown = sparse.csr_array(sum(absent, named)).astype(bool)
    if any(known):
        looked_at = _matrix(_rows(known, families, idle), labels.shape)
        unknown = sparse.csr_array(unknown > unknown.multiply(looked_at))
    return unknown, idle


def _rows(words: Sequence[Sequence[str]], families: TagFamilies, idle: Counter[str]) -> list[Tags]:
    return [_joined(list(_named(own, families, idle))) for own in words]


def _named(words: Sequence[str], families: TagFamilies, idle: Counter[str]) -> Iterator[Tags]:
    """Yield the tags of each word; one that means nothing may be several joined by semicolons."""
    for word in words:
        # A tag such as ;d holds a semicolon itself, so the whole word is looked up first.
        parts = [word] if len(families.tags(word)) else [p for p in word.split(";") if p]
        for part in parts or [word]:
            found = families.tags(part)
            idle.update([] if len(found) else [part])
            yield found


def _absent(labels: sparse.csr_array, family: Tags) -> sparse.csr_array:
    """Return the family's pairs of the images that have none of its tags."""
    carries = np.diff(sparse.csr_array(labels[:, family]).indptr) > 0
    rows = [_NO_TAGS if has else family for has in carries]
    return _matrix(rows, labels.shape)


def _joined(parts: list[Tags]) -> Tags:
    return np.unique(np.concatenate(parts)) if parts else _NO_TAGS


def _matrix(rows: Sequence[Tags], shape: tuple[int, int]) -> sparse.csr_array:
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    indices = np.concatenate([_NO_TAGS, *rows])
    return sparse.csr_array((np.ones(len(indices), bool), indices, indptr), shape=shape)
