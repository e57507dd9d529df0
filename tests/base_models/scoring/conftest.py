"""Pictures and two taggers that the tests of scoring share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.taggers.tagger import Tagger, load_tagger

Folder = Callable[..., Path]


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Twenty-three small pictures of different shapes."""
    folder = tmp_path / "images"
    for i in range(23):
        height, width = rng.integers(3, 30, 2)
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        path = folder / f"d{i % 3}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)
    return folder


@pytest.fixture
def folders(make_tagger_folder: Folder) -> list[Path]:
    return [
        make_tagger_folder(name="nhwc"),
        make_tagger_folder(
            name="nchw", layout="NCHW", colour="RGB", range="-1-1", kind="logits", batch=1, seed=1
        ),
    ]


@pytest.fixture
def taggers(folders: list[Path]) -> Iterator[list[Tagger]]:
    loaded = [load_tagger(folder, floor=1e-4, threads=2) for folder in folders]
    yield loaded
    for tagger in loaded:
        tagger.close()
