"""Runs of scoring, the stores that they leave, and files that none can read."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.scores.store_parts import part_paths
from tagstack.base_models.scoring.pipeline import ScoreProgress, ScoreSummary
from tagstack.base_models.scoring.sources import ImageSources, find_images
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.configs.level1 import ScoreSettings
from tests.base_models.scored import score_to_store


def pictures_in(folder: Path, settings: ScoreSettings) -> ImageSources:
    return find_images([folder], extensions=settings.extensions)


@dataclass
class Watched:
    """A session that tells of each call, as one of the device that it is said to run on."""

    session: Session
    device: str
    told: Callable[[int], None]
    calls: list[int] = field(default_factory=list)

    @property
    def info(self) -> Any:
        return replace(self.session.info, device=self.device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls.append(len(batch))
        self.told(len(self.calls))
        return self.session.run(batch)


def watched(
    taggers: Sequence[Tagger], *told: Callable[[int], None], device: str = "cuda:0 none"
) -> tuple[list[Tagger], list[Watched]]:
    sessions = [
        Watched(tagger.session, device, tell) for tagger, tell in zip(taggers, told, strict=True)
    ]
    return [replace(t, session=s) for t, s in zip(taggers, sessions, strict=True)], sessions


def threads_of_scoring() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("tagger", "decode", "store"))]


def interrupt_at(state: ScoreProgress, n_scored: int) -> None:
    if state.n_scored >= n_scored:
        raise KeyboardInterrupt


def score(
    folder: Path,
    taggers: Sequence[Tagger],
    store: Path,
    settings: ScoreSettings,
    *,
    threads: int = 2,
    **options: Any,
) -> ScoreSummary:
    sources = pictures_in(folder, settings)
    return score_to_store(sources, taggers, store, settings, threads=threads, **options)


def assert_equal(left: Level1Scores, right: Level1Scores) -> None:
    assert left.images == right.images
    assert left.members == right.members
    assert left.vocabulary == right.vocabulary
    np.testing.assert_array_equal(left.pairs.indptr, right.pairs.indptr)
    np.testing.assert_array_equal(left.pairs.tag, right.pairs.tag)
    np.testing.assert_array_equal(left.logit, right.logit)


def assert_nothing_twice(store: Path) -> None:
    for folder in [store / "images", store / "hashes", *(store / "members").iterdir()]:
        column = "path" if folder.name == "images" else "sha256"
        tables = [parquet.read_table(path, columns=[column]) for path in part_paths(folder)]
        values = [value for table in tables for value in table.column(column).to_pylist()]
        assert len(values) == len(set(values)), folder


def stored_parts(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("part-*")}


def add_hostile_files(folder: Path) -> dict[str, str]:
    """Add faulty files; return the reason that each must get."""
    whole = (folder / "d0" / "00.png").read_bytes()
    contents = {
        "empty.png": (b"", "empty"),
        "truncated.png": (whole[:-30], "truncated or damaged"),
        "text.jpg": (b"I am no picture", "unknown format"),
        "x" * 200 + ".png": (b"\x89PNG\r\n\x1a\n", "not an image"),
    }
    reasons = {}
    for name, (content, reason) in contents.items():
        (folder / name).write_bytes(content)
        reasons[name] = reason
    Image.new("L", (400, 300)).save(folder / "bomb.png")
    (folder / "gone.png").symlink_to(folder / "nothing")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    os.mkfifo(folder / "pipe.png")
    raw = os.fsencode(folder) + b"/caf\xe9.png"
    Path(os.fsdecode(raw)).write_bytes(b"no image either")
    (folder / "self").symlink_to(folder)
    return reasons | {
        "bomb.png": "120000 pixels are more than",
        "gone.png": "is gone",
        "loop.png": "cannot be read",
        "pipe.png": "not a regular file",
        os.fsdecode(b"caf\xe9.png"): "unknown format",
    }
