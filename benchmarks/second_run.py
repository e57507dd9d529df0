"""What `tag` costs where nothing is new: ``python benchmarks/second_run.py [--images 10000]``.

Tiny random pictures are tagged with one embedded tagger and a bundle fitted on sixty drawings.
Then the same call is made again with nothing changed, with one picture added, and with a new
setting, and each is timed in CPU seconds (user and system) and on the clock. "start" is the same
call on a folder of one picture with nothing new: what is beyond it is the price of the pictures.
Everything runs in one process, so imports are paid before.

With ``--invented`` the pictures are a few bytes each, none of them an image, and their scores are
drawn at random into the store before: a hundred thousand take minutes instead of hours, and what
a second night costs is the same.
"""

import argparse
import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tagstack.base_models.pictures.picture_hash import PictureHash
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.scoring.taggers import loaded_taggers
from tagstack.ensemble.tasks.fit import FitRequest, fit_bundle
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.ensemble.tasks.tag import tag_images
from tagstack.ensemble.tasks.tag_request import TagRequest, TagSummary
from tagstack.ensemble.tasks.tag_scoring import SCORES

QUICK: dict[str, object] = {
    "stack": {"learners": [], "outer_fold": False, "member_worth": "none", "tuning": {"trials": 0}},
    "thresholds": {"strategy": "fixed", "guarantee": "none"},
}
FORMATS = ("txt", "csv", "jsonl")


def main() -> None:
    """Make the pictures, run each case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--invented", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{arguments.images} pictures, formats {','.join(FORMATS)}")
    with tempfile.TemporaryDirectory() as work:
        measure(Path(work), arguments.images, arguments.repeats, invented=arguments.invented)


def measure(work: Path, n_images: int, repeats: int, *, invented: bool) -> None:
    """Print the cost of each case."""
    settings = load_settings(changes=QUICK)
    bundle = fitted(work, settings)
    many, one = work / "many", work / "one"
    if invented:
        invent(many, n_images, work / "many-tags" / SCORES, settings)
    else:
        draw(many, n_images)
    draw(one, 1)

    def tag(folder: Path, settings: Settings = settings) -> TagSummary:
        out = work / f"{folder.name}-tags"
        request = TagRequest(images=(folder,), bundle=bundle, out=out, formats=FORMATS)
        return tag_images(request, settings, Silent())

    tag(one)
    time.sleep(2.1)  # pictures as new as that are read again, to be sure of them
    report("first run", lambda: tag(many), 1)
    tag(one)
    report("start", lambda: tag(one), repeats)
    tag(many)
    report("nothing new", lambda: tag(many), repeats)
    draw(many, 1, first=n_images)
    report("one picture more", lambda: tag(many), 1)
    changed = load_settings(changes={**QUICK, "output": {"first": ["mychar"]}})
    report("a new setting", lambda: tag(many, changed), 1)


def report(name: str, call: Callable[[], TagSummary], repeats: int) -> None:
    """Print the least CPU and clock seconds of some calls."""
    costs = []
    for _ in range(repeats):
        clock, cpu = time.perf_counter(), time.process_time()
        summary = call()
        costs.append((time.process_time() - cpu, time.perf_counter() - clock))
    cpu_s, clock_s = min(costs)
    print(
        f"{name:20} {cpu_s:8.2f} CPU s {clock_s:8.2f} s   "
        f"{summary.n_images} tagged, {summary.n_current} up to date",
        flush=True,
    )


def fitted(work: Path, settings: Settings) -> Path:
    """Return a bundle fitted on sixty drawings with one tagger."""
    labels = draw_gallery(work / "drawn", n_images=60, seed=5)
    score_folder([work / "drawn"], ["doll_resnet"], work / "scores", settings, Silent())
    source = DatasetSource(scores=work / "scores", labels=labels)
    fit_bundle(FitRequest(source=source, bundle=work / "bundle"), settings, Silent())
    return work / "bundle"


def invent(folder: Path, n_images: int, store: Path, settings: Settings) -> None:
    """Write files of sixteen bytes, and scores of them that the bundle's tagger might have given.

    Some six tags of a picture are probable.
    """
    rng = np.random.default_rng(0)
    with (
        loaded_taggers(["doll_resnet"], settings) as taggers,
        ScoreWriter(store, Members.of(taggers)) as writer,
    ):
        for low in range(0, n_images, 2000):
            n = min(2000, n_images - low)
            logits = rng.normal(-12, 0.5, (n, len(taggers[0].vocabulary))).astype(np.float32)
            logits[rng.random(logits.shape) < 6 / logits.shape[1]] += 14
            contents = []
            for path in places(folder, range(low, low + n)):
                data = rng.bytes(16)
                path.write_bytes(data)
                contents.append(hashlib.sha256(data).hexdigest())
                writer.add_image(
                    path=path.relative_to(folder).as_posix(), root=str(folder),
                    sha256=contents[-1], size_bytes=16,
                )  # fmt: skip
                writer.add_hash(contents[-1], PictureHash(0, bytes(192)))
            writer.add_scores(0, contents, logits)
            writer.commit()


def places(folder: Path, numbers: Iterable[int]) -> Iterator[Path]:
    """Yield the files of pictures, a thousand a folder, which are made."""
    for number in numbers:
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.png"
        if number % 1000 == 0 or not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        yield path


def draw(folder: Path, n_images: int, *, first: int = 0) -> None:
    """Write random pictures of 16 x 16 pixels."""
    numbers = range(first, first + n_images)
    for number, path in zip(numbers, places(folder, numbers), strict=True):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(path, compress_level=1)


if __name__ == "__main__":
    main()
