"""Time and memory of fits of thresholds on drawn probabilities; prints a table.

    python benchmarks/threshold_costs.py --tags 10861 --images 20000
    python benchmarks/threshold_costs.py --tags 10861 --images 100000 --pairs 200 --rungs 13

Every strategy by itself; with ``--rungs`` what `fit` does: tables of so many rungs over the same
pairs, without rules and with them, the last rung's with its estimates.
"""

import argparse
import resource
from pathlib import Path
from typing import Any

import numpy as np
from threshold_ground import STRATEGIES, Ground, chosen, cpu_s, synthetic

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.settings import load_settings
from tagstack.ensemble.thresholds.curves import Sorted
from tagstack.ensemble.thresholds.fitting import fit_thresholds, settle_thresholds
from tagstack.meta.labels.truth import pair_labels


def main() -> None:
    """Draw, fit and print."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tags", type=int, default=10_861)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=60, help="listed pairs an image")
    parser.add_argument("--rungs", type=int, default=0, help="measure tables of so many rungs")
    parser.add_argument("--only", default="", help="strategies whose name contains this")
    parser.add_argument("--seed", type=int, default=0)
    own = parser.parse_args()
    settings = load_settings(changes={"seed": own.seed}).thresholds
    ground = synthetic(own.tags, own.images, own.pairs, own.seed)
    if own.rungs:
        print_tables(ground, settings, own.rungs, own.seed)
    else:
        print_costs(ground, settings, own.only)


def print_costs(ground: Ground, settings: ThresholdSettings, only: str) -> None:
    """Print CPU seconds and peak memory of every strategy's fit, with and without rules."""
    n = ground.fit.pairs
    print(f"{n.n_tags} tags, {n.n_images} images, {len(n)} pairs")
    print("| strategy | before the rules, CPU s | after, CPU s | peak so far, MiB |")
    print("|---|--:|--:|--:|")
    for name in (name for name in STRATEGIES if only in name):
        spent = []
        for decoder in (None, ground.decoder):
            began = cpu_s()
            fit_thresholds(
                ground.fit, ground.fit_labels, ground.vocabulary, ground.folds,
                chosen(name, settings), decoder, groups=ground.groups,
            )  # fmt: skip
            spent.append(cpu_s() - began)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {name} | {spent[0]:.1f} | {spent[1]:.1f} | {peak:.0f} |", flush=True)


def print_tables(ground: Ground, settings: ThresholdSettings, n_rungs: int, seed: int) -> None:
    """Print CPU seconds and peak memory of the thresholds of every rung, as `fit` finds them."""
    pairs, true = ground.fit.pairs, pair_labels(ground.fit.pairs, ground.fit_labels)
    print(f"{pairs.n_tags} tags, {pairs.n_images} images, {len(pairs)} pairs, {n_rungs} rungs")
    print("| table | CPU s | peak, MiB |")
    print("|---|--:|--:|")

    def told(what: str, began: float) -> None:
        print(f"| {what} | {cpu_s() - began:.1f} | {peak_since():.0f} |", flush=True)

    peak_since()
    told("none yet", began := cpu_s())
    for rung in range(n_rungs):
        noise = np.random.default_rng(seed + rung).normal(0, 0.3, len(pairs)).astype(np.float32)
        values = (1 / (1 + (1 / ground.fit.proba - 1) * np.exp(noise))).astype(np.float32)
        proba = PairProba(pairs=pairs, proba=values, base=ground.fit.base)
        began = cpu_s()
        how: dict[str, Any] = {
            "by_tag": (), "groups": None, "anchor": None, "image_weight": None,
            "ordered": Sorted.from_pairs(proba, ground.fit_labels, true=true),
        }  # fmt: skip
        what = (proba, ground.fit_labels, ground.vocabulary, ground.folds, settings)
        settle_thresholds(*what, None, **how)
        told(f"rung {rung}", began)
        began = cpu_s()
        if rung < n_rungs - 1:
            settle_thresholds(*what, ground.decoder, **how)
        else:
            fit_thresholds(*what, ground.decoder, **how)
        told(f"rung {rung} with rules", began)


def peak_since() -> float:
    """Return the most MiB that lay in memory since this was asked last (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(peak.split()[1]) / 1024


if __name__ == "__main__":
    main()
