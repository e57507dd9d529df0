"""Planted copies: they stay with their picture in the folds, and out of a comparison with it."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.zoo.gallery import draw_picture
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.ensemble.bundle.fitted_images import FittedImages
from tagstack.ensemble.bundle.overlaps import unseen
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.meta.labels.folds import stratified_group_folds

N_PICTURES = 24


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings()


def _copies(image: Image.Image) -> dict[str, Image.Image]:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=60)
    x, y = max(1, image.width // 100), max(1, image.height // 100)
    return {
        "jpeg": Image.open(stream).convert("RGB"),
        "large": image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
        "cut": image.crop((x, y, image.width - x, image.height - y)),
    }


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> DatasetSource:
    """Return drawn pictures, three planted copies of each of the first four, and blank pages."""
    root = tmp_path_factory.mktemp("planted")
    (root / "images").mkdir()
    rows = []

    def add(name: str, image: Image.Image, tags: str, part: str) -> None:
        image.save(root / "images" / f"{name}.png")
        rows.append({"image": f"{name}.png", "tags": tags, "part": part})

    for i in range(N_PICTURES):
        picture = draw_picture(5, i * 7)
        tags = " ".join(sorted(picture.clean))
        add(f"p{i:02d}", picture.image, tags, "fit")
        for kind, copy in _copies(picture.image).items() if i < 4 else ():
            add(f"p{i:02d}-{kind}", copy, tags, "test")
    for i, grey in enumerate((255, 254, 250, 128)):
        add(f"z-blank{i}", Image.new("RGB", (90 + i, 120), (grey,) * 3), "solo", "test")
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, ["image", "tags", "part"])
        table.writeheader()
        table.writerows(rows)
    score_folder([root / "images"], ["doll_resnet"], root / "scores", settings, Silent())
    return DatasetSource(scores=root / "scores", labels=root / "labels.csv")


def _loaded(source: DatasetSource, settings: Settings) -> Dataset:
    return load_dataset(
        source,
        aliases={},
        groups={},
        labels=settings.labels,
        near_duplicates=settings.score.near_duplicates,
    )


def test_copies_share_their_pictures_group_and_fold(
    planted: DatasetSource, settings: Settings
) -> None:
    dataset = _loaded(planted, settings)
    group = dict(zip(dataset.scores.images, dataset.groups.tolist(), strict=True))
    for i in range(4):
        own = {group[f"p{i:02d}{kind}.png"] for kind in ("", "-jpeg", "-large", "-cut")}
        assert len(own) == 1, i
    assert len(set(group.values())) == N_PICTURES + 4  # the blank pages are alone, each of them
    assert "16 images look like another one, in 4 groups of up to 4" in dataset.notices[-1]
    folds = stratified_group_folds(dataset.labels, dataset.groups, n_folds=3, seed=0)
    of = dict(zip(dataset.scores.images, np.asarray(folds).tolist(), strict=True))
    for i in range(4):
        assert of[f"p{i:02d}.png"] == of[f"p{i:02d}-cut.png"] == of[f"p{i:02d}-jpeg.png"]


def test_switched_off_only_equal_files_share_a_group(
    planted: DatasetSource, settings: Settings
) -> None:
    near = settings.score.near_duplicates.model_copy(update={"enabled": False})
    score = settings.score.model_copy(update={"near_duplicates": near})
    dataset = _loaded(planted, settings.model_copy(update={"score": score}))
    assert len(set(dataset.groups.tolist())) == len(dataset.groups)


def test_what_looks_like_a_fitted_picture_is_not_compared(
    planted: DatasetSource, settings: Settings
) -> None:
    dataset = _loaded(planted, settings)
    parts = np.array(dataset.columns["part"])
    fitted = dataset.take(np.flatnonzero(parts == "fit"))
    test = dataset.take(np.flatnonzero(parts == "test"))
    near = settings.score.near_duplicates
    first = FittedImages.of(fitted, near)
    seen = FittedImages.from_arrays(first.arrays(), near)  # as a bundle keeps it
    kept, notices = unseen(test, seen)
    assert kept.scores.images == tuple(f"z-blank{i}.png" for i in range(4))
    assert notices == (
        "12 images look like one that the bundle was fitted on, such as p00-cut.png; "
        "they are left out",
    )
    with pytest.raises(TagstackError, match="or look like one that was"):
        unseen(test.take(np.arange(12)), seen)


def test_a_bundle_from_before_hashes_leaves_out_equal_files_alone(
    planted: DatasetSource, settings: Settings
) -> None:
    dataset = _loaded(planted, settings)
    near = settings.score.near_duplicates
    arrays = FittedImages.of(dataset.take(np.arange(3)), near).arrays()
    old = FittedImages.from_arrays({key: arrays[key] for key in ("contents", "titles")}, near)
    kept, notices = unseen(dataset, old)
    assert len(kept.scores.images) == len(dataset.scores.images) - 3
    assert len(notices) == 1


def test_scores_from_before_hashes_say_what_is_missing(
    planted: DatasetSource, settings: Settings, tmp_path: Path
) -> None:

    assert isinstance(planted.scores, Path)
    shutil.copytree(planted.scores, tmp_path / "scores")
    shutil.rmtree(tmp_path / "scores" / "hashes")
    old = DatasetSource(scores=tmp_path / "scores", labels=planted.labels)
    dataset = _loaded(old, settings)
    assert len(set(dataset.groups.tolist())) == len(dataset.groups)
    assert "what 40 of 40 images look like is not known" in dataset.notices[-1]
