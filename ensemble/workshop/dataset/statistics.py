"""What a training folder holds, counted: tags, tags that come together, sizes, near-duplicates."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from tagstack.ensemble.workshop.dataset.buckets import Buckets, Size

PAIRED = 200  # most frequent tags whose pairs are counted: bounds the memory
MATRIX = 16  # of those shown each with each
_SIDES = (256, 512, 768, 1024, 1536, 2048)  # of pictures, in pixels: what trainers work at


class Pair(NamedTuple):
    """On how many pictures two tags are, and that share of the pictures with either."""

    a: str
    b: str
    n: int
    overlap: float


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What a training folder holds.

    Parameters
    ----------
    n_images, n_tags, n_without_caption, n_unreadable : int
    tags : dict of str to int
        Pictures of each tag, the most frequent first.
    pairs : tuple of (str, str, int)
        Pictures of two of the most frequent tags, the most frequent pair first.
    together : tuple of Pair
        Pairs of the most frequent tags that are hardly ever apart, the closest first.
    matrix : tuple of tuple of int
        Pictures of each two of the most frequent tags, in their order.
    tags_per_image : dict of str to int
        Pictures by their number of tags.
    shorter_sides : dict of str to int
        Pictures by the pixels of their shorter side, from ... up to below the next.
    buckets : dict of str to int
        Pictures by the size (``832x1216``) that a trainer would bring them to.
    n_enlarged, n_no_bucket : int
        Pictures smaller than their bucket, and those too narrow for any.
    near_duplicates : tuple of tuple of str, or None
        Groups of pictures that look alike, the largest first; None where nobody looked.
    """

    n_images: int
    n_tags: int
    n_without_caption: int
    n_unreadable: int
    tags: dict[str, int]
    pairs: tuple[tuple[str, str, int], ...]
    together: tuple[Pair, ...]
    matrix: tuple[tuple[int, ...], ...]
    tags_per_image: dict[str, int]
    shorter_sides: dict[str, int]
    buckets: dict[str, int]
    n_enlarged: int
    n_no_bucket: int
    near_duplicates: tuple[tuple[str, ...], ...] | None


@dataclass
class TagCounts:
    """Counts tags, and pictures by their number of tags."""

    tags: Counter[str] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)

    def add(self, keys: frozenset[str]) -> None:
        """Count one picture's tags."""
        self.tags.update(keys)
        self.sizes[len(keys)] += 1

    def by_frequency(self) -> dict[str, int]:
        """Return the pictures of each tag, the most frequent first, equals by name."""
        return dict(sorted(self.tags.items(), key=lambda item: (-item[1], item[0])))


class PairCounts:
    """Counts pairs of the most frequent tags.

    Parameters
    ----------
    tags : mapping of str to int
        Pictures of each tag, the most frequent first.
    """

    def __init__(self, tags: Mapping[str, int]) -> None:
        self.tags = tags
        self.frequent = list(tags)[:PAIRED]
        self._chosen = frozenset(self.frequent)
        self.pairs = Counter[tuple[str, str]]()

    def add(self, keys: frozenset[str]) -> None:
        """Count one picture's pairs."""
        self.pairs.update(combinations(sorted(keys & self._chosen), 2))

    def most(self) -> tuple[tuple[str, str, int], ...]:
        """Return the most frequent pairs."""
        found = sorted(self.pairs.items(), key=lambda item: (-item[1], item[0]))
        return tuple((a, b, n) for (a, b), n in found[:PAIRED])

    def closest(self) -> tuple[Pair, ...]:
        """Return the pairs that share most of their pictures, the closest first."""
        found = [
            Pair(a, b, n, n / (self.tags[a] + self.tags[b] - n))
            for (a, b), n in self.pairs.items()
            if n > 1
        ]
        return tuple(sorted(found, key=lambda p: (-p.overlap, -p.n, p.a, p.b))[:PAIRED])

    def matrix(self) -> tuple[tuple[int, ...], ...]:
        """Return the pictures of each two of the most frequent tags, in their order."""
        shown = self.frequent[:MATRIX]
        return tuple(
            tuple(self.tags[a] if a == b else self.pairs[min(a, b), max(a, b)] for b in shown)
            for a in shown
        )


@dataclass
class SizeCounts:
    """Counts pictures by size and by the bucket that a trainer brings them to."""

    buckets: Buckets
    sides: Counter[int] = field(default_factory=Counter)
    counts: Counter[Size] = field(default_factory=Counter)
    n_enlarged: int = 0
    n_no_bucket: int = 0
    n_unreadable: int = 0

    def add(self, size: Size | None) -> None:
        """Count one picture; None for one that cannot be read."""
        if size is None:
            self.n_unreadable += 1
            return
        self.sides[sum(min(size) >= side for side in _SIDES)] += 1
        bucket = self.buckets.bucket_of(size)
        if bucket is None:
            self.n_no_bucket += 1
            return
        self.counts[bucket] += 1
        self.n_enlarged += bucket[0] > size[0] or bucket[1] > size[1]

    def shorter_sides(self) -> dict[str, int]:
        """Return the pictures by shorter side, the smallest first, without what is not there."""
        names = [f"under {_SIDES[0]}", *(f"from {side}" for side in _SIDES)]
        return {name: self.sides[i] for i, name in enumerate(names) if self.sides[i]}

    def by_bucket(self) -> dict[str, int]:
        """Return the pictures of each bucket, the fullest first."""
        found = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return {f"{width}x{height}": n for (width, height), n in found}


def groups_of(names: Sequence[str], numbers: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of two pictures or more, the largest first.

    Parameters
    ----------
    names : sequence of str
    numbers : sequence of int
        Equal for pictures of one group.
    """
    found: defaultdict[int, list[str]] = defaultdict(list)
    for name, number in zip(names, numbers, strict=True):
        found[number].append(name)
    several = [tuple(sorted(own)) for own in found.values() if len(own) > 1]
    return tuple(sorted(several, key=lambda own: (-len(own), own)))
