"""Drawn pictures with their labels: one by one, or as a folder that looks like a user's own."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tagstack.base_models.atomic import write_text, written_whole
from tagstack.base_models.zoo.drawing import draw_scene
from tagstack.base_models.zoo.noise import noisy_tags
from tagstack.base_models.zoo.scene import sample_scene
from tagstack.base_models.zoo.scene_tags import scene_tags
from tagstack.base_models.zoo.tags import RATINGS, VOCABULARY
from tagstack.configs.errors import TagstackError

LABELS_FILE = "labels.csv"
TRUTH_FILE = "truth.csv"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn picture with what it shows and what its uploader said.

    ``clean`` are the true tags, ``noisy`` the given ones; both hold the rating and are closed
    under implications. Pictures of one ``series`` show the same character.
    """

    index: int
    series: int
    image: Image.Image
    clean: frozenset[str]
    noisy: frozenset[str]

    @property
    def name(self) -> str:
        """File name of the picture in a gallery."""
        return f"doll_{self.index:06d}.png"


def draw_picture(seed: int, index: int) -> Picture:
    """Return picture ``index``; the same for the same seed, whatever was drawn before.

    Parameters
    ----------
    seed, index : int
        Not negative.
    """
    scene = sample_scene(seed, index)
    clean = scene_tags(scene)
    return Picture(
        index=index,
        series=scene.series,
        image=draw_scene(scene),
        clean=clean,
        noisy=noisy_tags(clean, np.random.default_rng([seed, index, 2])),
    )


def draw_pictures(*, n_images: int, seed: int, start: int = 0) -> Iterator[Picture]:
    """Yield pictures ``start`` to ``start + n_images - 1``, one at a time."""
    for index in range(start, start + n_images):
        yield draw_picture(seed, index)


def draw_gallery(folder: Path, *, n_images: int, seed: int, start: int = 0) -> Path:
    """Write pictures and their labels into a folder; files of the same names are replaced.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    n_images : int
        At least 1.
    seed, start : int
        Not negative; the pictures are ``start`` to ``start + n_images - 1`` of this seed. The
        shipped taggers were trained on seeds from ``recipes.FIRST_RESERVED_SEED`` on: stay below.

    Returns
    -------
    Path
        ``labels.csv`` with the columns ``image,tags,rating,series``: the noisy tags, separated by
        blanks, the rating among them. ``truth.csv`` beside it holds the true tags likewise.

    Raises
    ------
    TagstackError
        If a number is out of range.
    """
    if n_images < 1 or seed < 0 or start < 0:
        msg = (
            f"n_images, seed and start are {n_images}, {seed} and {start}; expected at least 1, "
            "0 and 0. Correct the number."
        )
        raise TagstackError(msg)
    labels, truth = [], []
    for picture in draw_pictures(n_images=n_images, seed=seed, start=start):
        with written_whole(folder / picture.name) as temporary:
            picture.image.save(temporary, "PNG", compress_level=1)
        labels.append(_row(picture, picture.noisy))
        truth.append(_row(picture, picture.clean))
    write_text(folder / TRUTH_FILE, _csv(truth))
    write_text(folder / LABELS_FILE, _csv(labels))
    return folder / LABELS_FILE


def _row(picture: Picture, tags: frozenset[str]) -> tuple[str, str, str, str]:
    ordered = sorted(tags, key=VOCABULARY.index.__getitem__)
    rating = next(tag for tag in RATINGS if tag in tags)
    return picture.name, " ".join(ordered), rating, f"s{picture.series:05d}"


def _csv(rows: list[tuple[str, str, str, str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("image", "tags", "rating", "series"))
    writer.writerows(rows)
    return stream.getvalue()
