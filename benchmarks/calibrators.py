"""Compare every calibrator under every pool on real labelled images; prints Markdown tables.

Reads the score stores that ``benchmarks/real.py`` leaves under its ``--out``. Calibrators are
fitted on two thirds of the groups of fold 3 and judged on the rest; strengths are chosen on the
fit images alone. "members" is the mean over single taggers, "mean" their average.

    python benchmarks/calibrators.py FOLDER --out real-results [--sets fashion,emoji] [--seeds 0,1]
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.meta.calibrators.calibration import (
    MemberCalibration,
    MemberLogits,
    member_how,
    member_samples,
)
from tagstack.meta.calibrators.registry import fit_maps
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.labels.truth import Evidence, positives_per_tag
from tagstack.meta.learners.mean import mean_logit
from tagstack.meta.metrics.calibration_error import blocks_of, probability_scores
from tagstack.meta.metrics.ranking import average_precision, micro_average_precision
from tagstack.meta.stack.rungs import RungLogits
from tagstack.meta.stack.strengths import choose_strengths

GROUPS = {"fashion": "title", "emoji": "concept"}
KINDS = ("platt", "beta", "temperature", "isotonic", "venn_abers")
POOLS = ("tag", "category", "hierarchical")
COLUMNS = (
    "members log loss",
    "members ECE",
    "mean log loss",
    "mean Brier",
    "mean ECE",
    "mean macro-AP",
    "mean micro-AP",
)


def parts(dataset: Dataset, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the images to fit on, two thirds of the groups, and those to judge on."""
    names = np.unique(dataset.groups)
    order = np.random.default_rng(seed).permutation(len(names))
    fit = np.isin(dataset.groups, names[order[: 2 * len(names) // 3]])
    return np.flatnonzero(fit), np.flatnonzero(~fit)


def calibrated(fit: Dataset, test: Dataset, settings: Settings) -> MemberLogits:
    """Return the test images' logits, calibrated on the fit images."""
    stack, evidence = settings.stack, Evidence.of(fit.labels, fit.unknown)
    folds = stratified_group_folds(fit.labels, fit.groups, stack.folds, settings.seed)
    strengths = choose_strengths(fit.scores, evidence, folds, stack, settings.seed)
    how = member_how(stack, strengths.calibration)
    samples = member_samples(fit.scores, evidence.truth(fit.scores.pairs))
    return MemberCalibration(maps=tuple(fit_maps(one, how) for one in samples)).apply(test.scores)


def judged(proba: PairProba, test: Dataset, settings: Settings) -> tuple[float, float, float]:
    """Return log loss, Brier score and classwise calibration error."""
    compare = settings.compare
    scores = probability_scores(
        blocks_of(proba, test.labels),
        positives_per_tag(test.labels),
        n_bins=compare.calibration_bins,
        floor=compare.calibration_floor,
        min_positives=compare.min_positives,
    )
    return scores.log_loss, scores.brier, scores.classwise_ece


def row(fit: Dataset, test: Dataset, settings: Settings) -> list[float]:
    """Return the figures of one calibrator, in the order of `COLUMNS`."""
    members, pairs = calibrated(fit, test, settings), test.scores.pairs
    singles = [
        judged(RungLogits(listed=listed, base=base).proba(pairs), test, settings)
        for listed, base in zip(members.listed, members.base, strict=True)
    ]
    log_loss, _, ece = np.mean(singles, axis=0)
    averaged = RungLogits(listed=mean_logit(members.listed), base=mean_logit(members.base))
    mean = averaged.proba(pairs)
    macro = float(np.nanmean(average_precision(mean, test.labels)))
    micro = micro_average_precision(mean, test.labels)
    return [log_loss, ece, *judged(mean, test, settings), macro, micro]


def options() -> Iterator[tuple[str, str]]:
    """Yield every (calibrator, pool); without a calibrator there is nothing to pool."""
    yield "none", "hierarchical"
    yield from product(KINDS, POOLS)


def run(root: Path, out: Path, name: str, seeds: list[int]) -> None:
    """Print one set's table."""
    source = DatasetSource(
        scores=out / name / "scores",
        labels=root / "data" / name / "labels.csv",
        where="fold=3",
        group=GROUPS[name],
    )
    dataset = load_dataset(source, aliases={}, groups={}, labels=load_settings().labels)
    splits = [[dataset.take(part) for part in parts(dataset, seed)] for seed in seeds]
    sizes = ", ".join(f"{fit.scores.n_images} + {test.scores.n_images}" for fit, test in splits)
    print(f"\n## {name}: images to fit + to judge on: {sizes}; seeds {seeds}\n")
    print("| calibrator | pool | " + " | ".join(COLUMNS) + " | CPU s |")
    print("|---|---|" + "--:|" * (len(COLUMNS) + 1), flush=True)
    for kind, pool in options():
        began = process_time()
        settings = load_settings(changes={"stack": {"calibrator": kind, "calibration_pool": pool}})
        found = np.array([row(fit, test, settings) for fit, test in splits])
        cells = [f"{value:.4f}" for value in found.mean(axis=0)]
        cells.append(f"{(process_time() - began) / len(seeds):.1f}")
        label = "-" if kind == "none" else pool
        print(f"| {kind} | {label} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Run every set asked for."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("real-results"))
    parser.add_argument("--sets", default="fashion,emoji")
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
        run(arguments.folder, arguments.out, name, seeds)


if __name__ == "__main__":
    main()
