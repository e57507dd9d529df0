"""What a picture costs from Python: the first one, and each next one in an open `Stack`.

Fits a small stack in memory, opens it and tags pictures one by one, so that nothing of a command's
start counts. CPU seconds (user and system) of all threads of the process: other load on the
machine lengthens the wall clock, and these by its caches alone. With nothing given, drawn pictures
and the three embedded taggers; with a folder as benchmarks/real.py wants it, the five networks and
real photographs of its set ``fashion``.

    python benchmarks/python_face.py [--folder FOLDER] [--images 40] [--rounds 3]

Also printed: what of a picture's cost are the models alone (their sessions on pixels that are
framed already), which is the floor, and the same pictures through `Stack.tag_many`.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import real

import tagstack
from tagstack.base_models.pictures.framed_pixels import framed_picture
from tagstack.base_models.pictures.images import DecodingBudget
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.settings import load_settings

EMBEDDED = ("doll_resnet", "doll_convnext", "doll_vit")
N_FIT = 150
LIMIT = 1 << 28
SETTINGS: dict[str, Any] = {"stack": {"tuning": {"trials": 0}, "outer_fold": False}}


def drawn(scratch: Path) -> tuple[list[Path], list[str], tagstack.Labels, str]:
    """Return drawn pictures, the embedded taggers, labels and rules."""
    table = draw_gallery(scratch / "images", n_images=N_FIT, seed=9)
    labels = tagstack.Labels.read(table)
    return sorted((scratch / "images").glob("*.png")), list(EMBEDDED), labels, "danbooru"


def photographs(folder: Path, scratch: Path) -> tuple[list[Path], list[str], tagstack.Labels, str]:
    """Return photographs of fold 3, on which no tagger was trained, and the five networks."""
    data = folder / "data" / "fashion"
    with (data / "labels.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["fold"] == "3"][:N_FIT]
    labels = tagstack.Labels({row["image"]: row["tags"].split() for row in rows})
    images = [data / "images" / row["image"] for row in rows]
    models = real.taggers(folder / "zoo" / "fashion", scratch / "taggers")
    return images, models, labels, str(data / "tags.csv")


@contextmanager
def cpu(what: str, n_images: int = 1) -> Iterator[None]:
    """Print the CPU and wall-clock milliseconds an image of a block."""
    began, wall = time.process_time(), time.perf_counter()
    yield
    seconds, waited = time.process_time() - began, time.perf_counter() - wall
    print(
        f"{what:<34} {1000 * seconds / n_images:8.1f} ms CPU"
        f" {1000 * waited / n_images:8.1f} ms wall"
    )


def models_alone(taggers: Sequence[Tagger], images: Sequence[Path]) -> Callable[[], None]:
    """Return what runs every model on every picture, framed beforehand, one at a time."""
    budget = DecodingBudget(LIMIT)
    framings = {tagger.framing for tagger in taggers}
    pictures = [
        framed_picture(path.read_bytes(), framings, max_pixels=LIMIT, budget=budget, hashed=False)
        for path in images
    ]

    def run() -> None:
        for picture in pictures:
            for tagger in taggers:
                tagger.logits(picture.pixels[tagger.framing][np.newaxis])

    return run


def main() -> None:
    """Fit, then tag one picture after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        made = photographs(arguments.folder, scratch) if arguments.folder else drawn(scratch)
        images, models, labels, rules = made
        stack = tagstack.fit(tagstack.score(images, models), labels, rules, settings=SETTINGS)
        print(f"{len(models)} taggers, {len(stack.tags)} tags, rung {stack.bundle.stacker.chosen_}")
        some = images[: arguments.images]
        with cpu("open, first picture"):
            stack.tag(some[0])
        for number in range(arguments.rounds):
            with cpu(f"next pictures, round {number}", len(some)):
                for path in some:
                    stack.tag(path)
        with cpu("tag_many", len(some)):
            list(stack.tag_many(some))
        stack.close()
        settings = load_settings().score
        taggers = load_taggers(tuple(models), settings, threads=2)
        run = models_alone(taggers, some)
        with cpu("models alone (the floor)", len(some)):
            run()
        for tagger in taggers:
            tagger.close()


if __name__ == "__main__":
    main()
