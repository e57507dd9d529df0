"""Whether another colour order, range or framing would agree better with labelled pictures.

A wrong one of these gives scores that look almost right. `framing_search` scores the pictures in
every way that differs in one fact, `framing_verdict` says which is surely better. Nothing is ever
changed; labels that are themselves made with a tagger prove nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.pictures.images import (
    ImageError,
    decode,
    file_content,
    open_image,
    read_content,
)
from tagstack.base_models.runtimes.selection import REFERENCE
from tagstack.base_models.scoring.sources import find_images
from tagstack.base_models.taggers.check import Finding
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tagstack.ensemble.tasks.framing_search import (
    FEWEST_PICTURES,
    FramingSearch,
    Report,
    better_ways,
)
from tagstack.ensemble.tasks.framing_verdict import toml_of
from tagstack.meta.labels.label_files import read_labels
from tagstack.meta.labels.labels import align_labels

MOST_PICTURES = 200
FEWEST_POSITIVES = 100


@dataclass
class LabelledPictures:
    """Labelled pictures, decoded anew for each round; it keeps which of them cannot be read.

    Parameters
    ----------
    paths : sequence of Path
    truth : array of shape (n_pictures, n_tags), bool
        Each has at least one tag that the tagger knows.
    settings : ScoreSettings
    unreadable : dict of Path to str
        With the reason.
    """

    paths: Sequence[Path]
    truth: NDArray[np.bool_]
    settings: ScoreSettings
    unreadable: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, tagger: Tagger, images: Path, labels: Path, settings: ScoreSettings
    ) -> "LabelledPictures":
        """Return at most `MOST_PICTURES` of a folder, evenly spread.

        Raises
        ------
        TagstackError
            If a file cannot be read, or the labels are too few to tell.
        """
        sources = find_images([images], extensions=settings.extensions)
        aligned = align_labels(read_labels(labels), sources.names, tagger.vocabulary)
        truth = aligned.matrix.toarray()
        labelled = np.flatnonzero(truth.any(axis=1))
        chosen = labelled[:: -(-len(labelled) // MOST_PICTURES) or 1]
        _check_enough(truth[chosen], labels)
        paths = [sources.path(sources.names[aligned.rows[i]]) for i in chosen]
        return cls(paths, truth[chosen], settings)

    def pictures(self) -> Iterator[Image.Image | None]:
        """Yield the pictures; None for one that cannot be read."""
        for path in self.paths:
            try:
                content = file_content(path, max_bytes=self.settings.max_file_bytes)
                data = read_content(path, content)
                yield decode(open_image(data, max_pixels=self.settings.max_pixels))
            except ImageError as error:
                self.unreadable[path] = str(error)
                yield None

    def readable(self, labels: Path) -> NDArray[np.bool_]:
        """Return the truth of what could be read; ``labels`` names the file in messages.

        An array of shape (n_readable, n_tags), bool.

        Raises
        ------
        TagstackError
            If that is too little to tell.
        """
        truth = self.truth[[path not in self.unreadable for path in self.paths]]
        _check_enough(truth, labels, len(self.unreadable))
        return truth


def check_framing(
    folder: Path, images: Path, labels: Path, settings: ScoreSettings, report: Report
) -> Finding:
    """Return whether labelled pictures contradict a tagger's contract, and what would agree better.

    Parameters
    ----------
    folder : Path
        The tagger's; it passed its check.
    images, labels : Path
        A folder of pictures and their label file.
    settings : ScoreSettings
    report : callable
        Called with the pictures that are done and all of them.

    Raises
    ------
    TagstackError
        If a file cannot be read, or the labels are too few to tell.
    """
    tagger = load_tagger(folder, floor=settings.floor, threads=1, smoke=False, runtime=REFERENCE)
    try:
        shown = LabelledPictures.of(tagger, images, labels, settings)
        search = better_ways(tagger, shown.pictures, shown.truth, report)
    finally:
        tagger.close()
    return _finding(search, shown.readable(labels), shown.unreadable)


def _check_enough(truth: NDArray[np.bool_], labels: Path, n_unreadable: int = 0) -> None:
    n_pictures, n_positives = len(truth), int(np.count_nonzero(truth))
    if n_pictures < FEWEST_PICTURES or n_positives < FEWEST_POSITIVES:
        lost = f" ({n_unreadable} more cannot be read)" if n_unreadable else ""
        msg = (
            f"{labels}: {n_pictures} labelled pictures with {n_positives} tags that this tagger "
            f"knows{lost} are too few to tell one framing from another; expected at least "
            f"{FEWEST_PICTURES} with {FEWEST_POSITIVES}. Label more pictures."
        )
        raise TagstackError(msg)


def _finding(
    search: FramingSearch, truth: NDArray[np.bool_], unreadable: Mapping[Path, str]
) -> Finding:
    what = f"{len(truth)} labelled pictures with {int(np.count_nonzero(truth))} tags"
    if unreadable:
        path, reason = next(iter(unreadable.items()))
        what += f" ({len(unreadable)} more cannot be read: {path.name}: {reason})"
    if not search.found:
        detail = f"{what}: no other colour order, range or framing surely agrees better"
        for facts, needed in search.undecided:
            detail += (
                f"; {toml_of(facts)} may, which about {max(needed, len(truth) + 1)} pictures like "
                "these would show"
            )
        return Finding("labels", True, detail)
    lines = "; then ".join(
        f"{item.toml} (log-loss of a picture's tags lower by {item.gain:.3g}, {item.low:.3g} to "
        f"{item.high:.3g})"
        for item in search.found
    )
    detail = f"{what} agree better with other lines in [input]: {lines}. Nothing was changed"
    return Finding("labels", False, detail)
