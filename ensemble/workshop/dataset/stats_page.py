"""The page of a training folder's counts: one file without scripts, in the look of the report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tagstack.configs.dataset import BucketSettings
from tagstack.ensemble.report.pictures import thumbnail
from tagstack.ensemble.report.rendering import rendered
from tagstack.ensemble.workshop.dataset.statistics import Stats

_TAGS, _PAIRS, _BUCKETS, _GROUPS, _ALIKE = 40, 24, 40, 24, 6  # shown of each list
_MOST_COLUMNS = 40  # of the picture of numbers of tags
_THUMBNAIL_PX = 112
# Pictures of a tag, from ... on: how long the tail of rare tags is.
_FREQUENCIES = (1, 2, 5, 10, 20, 50, 100, 600, 1000, 10_000, 100_000)


class Bar(NamedTuple):
    """One line of a list: its length is a share of the longest, in percent."""

    name: str
    n: int
    percent: float
    note: str = ""


class Cell(NamedTuple):
    """One field of the matrix: of the row's pictures, how many in a hundred have the column."""

    percent: int
    title: str


def render_stats(root: Path, stats: Stats, buckets: BucketSettings) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    root : Path
        Of the folder, for small pictures of near-duplicates.
    stats : Stats
    buckets : BucketSettings
    """
    return rendered(
        "stats.html",
        "tagstack.ensemble.workshop.dataset",
        name=root.name or str(root),
        stats=stats,
        buckets=buckets,
        tags=bars(stats.tags.items(), _TAGS, of=stats.n_images),
        frequencies=bars(frequencies(stats.tags)),
        pairs=stats.together[:_PAIRS],
        matrix=_matrix(stats),
        columns=columns(stats.tags_per_image),
        sides=bars(stats.shorter_sides.items(), of=stats.n_images),
        shapes=bars(stats.buckets.items(), _BUCKETS, of=stats.n_images, note=_aspect),
        groups=_groups(root, stats.near_duplicates or ()),
        n_copies=sum(len(own) - 1 for own in stats.near_duplicates or ()),
    )


def bars(
    counts: Iterable[tuple[str, int]],
    most: int | None = None,
    *,
    of: int = 0,
    note: Callable[[str], str] = lambda _: "",
) -> list[Bar]:
    """Return the first lines of a list, with a share of a whole (``of``) where there is one."""
    chosen = list(counts)[:most]
    longest = max((n for _, n in chosen), default=0) or 1
    return [
        Bar(name, n, round(100 * n / longest, 1), note(name) or (f"{n / of:.1%}" if of else ""))
        for name, n in chosen
    ]


def frequencies(tags: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return how many tags are on how many pictures, in bands; bands above the last go."""
    if not tags:
        return []
    most = max(tags.values())
    starts = [start for start in _FREQUENCIES if start <= most]
    found = []
    for start, end in zip(starts, [*starts[1:], most + 1], strict=True):
        name = f"{start:,}" if end == start + 1 else f"{start:,} to {end - 1:,}"
        found.append((name, sum(start <= n < end for n in tags.values())))
    return found


def columns(tags_per_image: Mapping[str, int]) -> list[Bar]:
    """Return the pictures by their number of tags, in bands of equal width where there are many."""
    counts = {int(number): n for number, n in tags_per_image.items()}
    last = max(counts, default=0)
    width = last // _MOST_COLUMNS + 1
    bands = [0] * (last // width + 1)
    for number, n in counts.items():
        bands[number // width] += n
    names = [
        f"{width * i}" if width == 1 else f"{width * i} to {width * (i + 1) - 1}"
        for i in range(len(bands))
    ]
    return bars(zip(names, bands, strict=True))


def _matrix(stats: Stats) -> list[tuple[str, list[Cell]]]:
    """Return each frequent tag with the share of its pictures that have each other one."""
    tags = list(stats.tags)[: len(stats.matrix)]
    return [
        (
            tag,
            [
                Cell(round(100 * n / row[i]), f"{n:,} of {row[i]:,} with {tag} have {other}")
                for other, n in zip(tags, row, strict=True)
            ],
        )
        for i, (tag, row) in enumerate(zip(tags, stats.matrix, strict=True))
    ]


def _aspect(size: str) -> str:
    width, height = map(int, size.split("x"))
    return f"{width / height:.2f}"


def _groups(root: Path, groups: Sequence[Sequence[str]]) -> list[Mapping[str, Any]]:
    return [
        {
            "n": len(own),
            "more": len(own) - _ALIKE,
            "pictures": [(name, thumbnail(root / name, _THUMBNAIL_PX)) for name in own[:_ALIKE]],
        }
        for own in groups[:_GROUPS]
    ]
