"""Counts a training folder: tags, tags that come together, pictures by trainers' buckets."""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from tagstack.configs.settings import Settings
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.workshop.dataset.folder import CaptionFolder
from tagstack.ensemble.workshop.dataset.pictures import MeasuredPictures
from tagstack.ensemble.workshop.dataset.reading import tags_of_pictures, writing_of

_PAIRED = 200  # most frequent tags whose pairs are counted: bounds the memory


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
    tags_per_image : dict of str to int
        Pictures by their number of tags.
    buckets : dict of str to int
        Pictures by the size (``832x1216``) that a trainer would bring them to.
    """

    n_images: int
    n_tags: int
    n_without_caption: int
    n_unreadable: int
    tags: dict[str, int]
    pairs: tuple[tuple[str, str, int], ...]
    tags_per_image: dict[str, int]
    buckets: dict[str, int]


def count_pictures(
    source: Path, settings: Settings, progress: Progress, *, resolution: int = 1024
) -> Stats:
    """Return the counts of a training folder; captions are read twice, the second time for pairs.

    Parameters
    ----------
    source : Path
    settings : Settings
    progress : Progress
    resolution : int
        Side of the square whose area a bucket fills.
    """
    own = settings.dataset
    folder = CaptionFolder.of(
        source, extensions=settings.score.extensions, endings=own.caption_extensions
    )
    writing, measured = writing_of(folder), MeasuredPictures(folder, settings.score)
    tags, sizes, buckets = Counter[str](), Counter[int](), Counter[tuple[int, int]]()
    shapes, n_unreadable = bucket_sizes(resolution), 0
    for image, keys in tags_of_pictures(folder, writing, progress):
        tags.update(keys)
        sizes[len(keys)] += 1
        size = measured.size(image)
        if size is None:
            n_unreadable += 1
        else:
            buckets[bucket_of(size, shapes)] += 1
    frequent = {tag for tag, _ in tags.most_common(_PAIRED)}
    pairs = Counter[tuple[str, str]]()
    for _, keys in tags_of_pictures(folder, writing, progress):
        pairs.update(combinations(sorted(keys & frequent), 2))
    return Stats(
        n_images=len(folder.images),
        n_tags=len(tags),
        n_without_caption=sum(not found for found in folder.captions_of.values()),
        n_unreadable=n_unreadable,
        tags=dict(sorted(tags.items(), key=lambda item: (-item[1], item[0]))),
        pairs=tuple((a, b, n) for (a, b), n in pairs.most_common(_PAIRED)),
        tags_per_image={str(n): count for n, count in sorted(sizes.items())},
        buckets={f"{w}x{h}": n for (w, h), n in buckets.most_common()},
    )


def bucket_sizes(
    resolution: int, *, least: int = 256, most: int = 2048, step: int = 64
) -> tuple[tuple[int, int], ...]:
    """Return the sizes of sd-scripts' predefined buckets, sorted.

    Each has sides that ``step`` divides, between ``least`` and ``most``, and no larger area than
    the square of ``resolution``.
    """
    side = max(step, resolution // step * step)
    found = {(side, side)}
    for width in range(least, most + 1, step):
        height = min(most, resolution**2 // width // step * step)
        if height >= least:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def bucket_of(size: tuple[int, int], shapes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Return the bucket of a picture: its own size, or the one nearest in width by height."""
    if size in shapes:
        return size
    aspect = size[0] / size[1]
    return min(shapes, key=lambda shape: abs(shape[0] / shape[1] - aspect))
