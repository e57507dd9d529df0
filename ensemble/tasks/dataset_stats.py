"""Counts a training folder, and draws what it found as a page where that is asked for."""

from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.files import refuse_existing
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.workshop.dataset.buckets import Buckets
from tagstack.ensemble.workshop.dataset.folder import CaptionFolder
from tagstack.ensemble.workshop.dataset.pictures import MeasuredPictures
from tagstack.ensemble.workshop.dataset.reading import tags_of_pictures, writing_of
from tagstack.ensemble.workshop.dataset.statistics import (
    PairCounts,
    SizeCounts,
    Stats,
    TagCounts,
    groups_of,
)
from tagstack.ensemble.workshop.dataset.stats_page import render_stats


@dataclass(frozen=True, kw_only=True)
class StatsRequest:
    """What is asked.

    Parameters
    ----------
    folder : Path
    near_duplicates : bool
        Whether pictures are compared, which decodes every one.
    out : Path, optional
        HTML page.
    overwrite : bool
    """

    folder: Path
    near_duplicates: bool = True
    out: Path | None = None
    overwrite: bool = False


def count_pictures(request: StatsRequest, settings: Settings, progress: Progress) -> Stats:
    """Return the counts of a training folder; captions are read twice, the second time for pairs.

    Raises
    ------
    TagstackError
        If the folder cannot be used, or something is in the page's place.
    """
    if request.out is not None:
        refuse_existing(request.out, overwrite=request.overwrite)
    own = settings.dataset
    folder = CaptionFolder.of(
        request.folder, extensions=settings.score.extensions, endings=own.caption_extensions
    )
    found = _counted(folder, settings, progress, near_duplicates=request.near_duplicates)
    if request.out is not None:
        progress.stage("drawing the page")
        write_text(request.out, render_stats(folder.root, found, own.buckets))
    return found


def _counted(
    folder: CaptionFolder, settings: Settings, progress: Progress, *, near_duplicates: bool
) -> Stats:
    writing = writing_of(folder)
    measured = MeasuredPictures(folder, settings.score, hashing=near_duplicates)
    tags, sizes = TagCounts(), SizeCounts(Buckets(settings.dataset.buckets))
    for image, keys in tags_of_pictures(folder, writing, progress, "reading captions and pictures"):
        tags.add(keys)
        sizes.add(measured.size(image))
    by_frequency = tags.by_frequency()
    pairs = PairCounts(by_frequency)
    for _, keys in tags_of_pictures(
        folder, writing, progress, "counting pairs of tags", again=True
    ):
        pairs.add(keys)
    numbers = measured.groups(folder.images, progress).tolist() if near_duplicates else []
    return Stats(
        n_images=len(folder.images),
        n_tags=len(by_frequency),
        n_without_caption=sum(not found for found in folder.captions_of.values()),
        n_unreadable=sizes.n_unreadable,
        tags=by_frequency,
        pairs=pairs.most(),
        together=pairs.closest(),
        matrix=pairs.matrix(),
        tags_per_image={str(n): count for n, count in sorted(tags.sizes.items())},
        shorter_sides=sizes.shorter_sides(),
        buckets=sizes.by_bucket(),
        n_enlarged=sizes.n_enlarged,
        n_no_bucket=sizes.n_no_bucket,
        near_duplicates=groups_of(folder.images, numbers) if near_duplicates else None,
    )
