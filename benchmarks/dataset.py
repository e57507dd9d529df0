"""What `tagstack dataset lint` costs: CPU seconds and memory for a folder of drawn captions.

    python benchmarks/dataset.py --captions 100000

Each caption has 30 tags from 5,000. There are no pictures: reading and checking alone count.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.dataset_lint import LintRequest, lint_captions


def main() -> None:
    """Draw captions, check them, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=100_000)
    n_captions = parser.parse_args().captions
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, 5001)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for i in range(n_captions):
            tags = rng.choice(5000, 30, p=chance / chance.sum())
            (root / f"{i}.txt").write_text(", ".join(f"tag {tag}" for tag in tags))
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.process_time()
        report = lint_captions(LintRequest(source=root), load_settings(), Silent())
        cpu_s = time.process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(
        f"{report.n_captions} captions: {cpu_s:.1f} CPU s, peak memory "
        f"{before.ru_maxrss / 1024:.0f} -> {after.ru_maxrss / 1024:.0f} MiB"
    )


if __name__ == "__main__":
    main()
