"""What an audit says that its quick fits cost at most, beside what they cost.

    tagstack demo --out demo --images 1200
    python benchmarks/refit_costs.py demo [--settings defaults]

Of the images that a demonstration fits on, and of those that it tests on: the whole quick fit, and
the one without the first tagger, each with its thresholds on left-out folds. ``--settings
defaults`` fits as `tagstack fit` does, and not as the demonstration. CPU seconds of this process.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource, load_dataset
from tagstack.ensemble.bundle.files import load_bundle
from tagstack.ensemble.fitting.fit_stages import most_seconds
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.audit_refits import QuickFits


def main() -> None:
    """Fit and print."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="what `tagstack demo` wrote")
    parser.add_argument("--settings", choices=("demo", "defaults"), default="demo")
    own = parser.parse_args()
    bundle = load_bundle(own.demo / "bundle")
    if own.settings == "defaults":
        bundle = replace(bundle, settings=load_settings())
    print(
        "| images | pairs | said, CPU s | the whole fit | without a tagger |\n|--:|--:|--:|--:|--:|"
    )
    for part in ("test", "fit"):
        source = DatasetSource(
            scores=own.demo / "scores" / part,
            labels=own.demo / "images" / part / "labels.csv",
            group="series",
        )
        dataset = load_dataset(
            source,
            aliases={},
            groups=bundle.rules.groups,
            labels=bundle.settings.labels,
            near_duplicates=bundle.settings.score.near_duplicates,
            bundle=bundle,
        )
        fits, n_pairs = QuickFits(bundle, dataset, Silent()), len(dataset.scores.pairs)
        said = most_seconds(fits.settings, dataset.scores.n_images, n_pairs)
        took = []
        for fit in (fits.whole, lambda fits=fits: fits.without_member(fits.names[0], ())):
            began = time.process_time()
            fit()
            took.append(time.process_time() - began)
        cells = [
            f"{dataset.scores.n_images:,}",
            f"{n_pairs:,}",
            *(f"{s:.0f}" for s in (said, *took)),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
