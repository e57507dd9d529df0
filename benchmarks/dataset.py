"""What `tagstack dataset lint` and `stats` cost: CPU seconds and memory for a drawn folder.

    python benchmarks/dataset.py --captions 100000
    python benchmarks/dataset.py --captions 100000 --stats

Each caption has 30 tags from 5,000. For `lint` there are no pictures: reading and checking alone
count. For `stats` each caption has a picture of 64 x 48 pixels, so that what is measured is the
work for each file, and large pictures cost their decoding on top; first without and then with
near-duplicates, which decode every picture.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.dataset_lint import LintRequest, lint_captions
from tagstack.ensemble.tasks.dataset_stats import StatsRequest, count_pictures

_TAGS, _EACH, _SIZE = 5000, 30, (48, 64)


def draw(root: Path, n_captions: int, *, pictures: bool) -> None:
    """Write captions of tags by Zipf's law, and a picture beside each where asked."""
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, _TAGS + 1)
    for i in range(n_captions):
        tags = rng.choice(_TAGS, _EACH, p=chance / chance.sum())
        (root / f"{i}.txt").write_text(", ".join(f"tag {tag}" for tag in tags))
        if pictures:
            coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            pixels = np.kron(coarse, np.ones((_SIZE[0] // 6, _SIZE[1] // 8, 1), np.uint8))
            Image.fromarray(pixels).save(root / f"{i}.jpg")


def measured(title: str, run: Callable[[], object]) -> None:
    """Print a job's CPU seconds, threads included, and the peak memory before and after it."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
    run()
    cpu_s = time.process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{title}: {cpu_s:.1f} CPU s, peak memory "
        f"{before.ru_maxrss / 1024:.0f} -> {after.ru_maxrss / 1024:.0f} MiB",
        flush=True,
    )


def main() -> None:
    """Draw a folder, look at it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--stats", action="store_true", help="measure stats, not lint")
    own = parser.parse_args()
    settings = load_settings()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        draw(root, own.captions, pictures=own.stats)
        what = f"{own.captions} captions"
        if not own.stats:
            request = LintRequest(source=root)
            measured(f"lint, {what}", lambda: lint_captions(request, settings, Silent()))
            return
        for alike in (False, True):
            asked = StatsRequest(folder=root, near_duplicates=alike)
            title = f"stats {'with' if alike else 'without'} near-duplicates, {what} and pictures"
            measured(title, partial(count_pictures, asked, settings, Silent()))


if __name__ == "__main__":
    main()
