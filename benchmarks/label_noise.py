"""What incomplete and wrong labels cost, and what the remedies give back, on real images.

Reads the score stores that ``benchmarks/real.py`` leaves under its ``--out``. Half of the groups
of fold 3 are fitted on, after a share of their labels was deleted; the other half, with its labels
as they are, is judged on. Then errors are planted among the fit images' labels, and the lists of
probably missing and probably wrong labels are searched for them.

    python benchmarks/label_noise.py FOLDER --out real-results [--sets fashion,emoji] [--drop 0.3]
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.ensemble.thresholds.deciding import decided_by
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.meta.labels.label_noise import label_suspects
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import positives_per_tag
from tagstack.meta.metrics.calibration_error import blocks_of, probability_scores
from tagstack.meta.metrics.decision_scores import decision_scores
from tagstack.meta.metrics.ranking import average_precision, micro_average_precision
from tagstack.meta.stack.stacker import Stacker

GROUPS = {"fashion": "title", "emoji": "concept"}
RUNGS = ("calibrated_mean", "shrunken_logistic", "lightgbm")


def settings_with(missing_labels: str) -> Settings:
    """Return the defaults with LightGBM as the one learner and no search."""
    stack: dict[str, Any] = {
        "missing_labels": missing_labels,
        "learners": ["lightgbm"],
        "outer_fold": False,
        "member_worth": "none",
        "tuning": {"trials": 0},
    }
    return load_settings(changes={"stack": stack})


def parts(dataset: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Return the images to fit on, half of the groups, and those to judge on."""
    names = np.unique(dataset.groups)
    order = np.random.default_rng(seed).permutation(len(names))
    fit = np.isin(dataset.groups, names[order[: len(names) // 2]])
    return dataset.take(np.flatnonzero(fit)), dataset.take(np.flatnonzero(~fit))


def thinned(
    labels: sparse.csr_array, drop: float, rng: np.random.Generator
) -> tuple[sparse.csr_array, NDArray[np.bool_]]:
    """Return the labels without a random share of them, and which were dropped."""
    cells = labels.tocoo()
    dropped = rng.random(cells.nnz) < drop
    image, tag = (axis[~dropped] for axis in cells.coords)
    return sparse.csr_array((np.ones(len(tag), bool), (image, tag)), shape=labels.shape), dropped


def fitted(fit: Dataset, labels: sparse.csr_array, settings: Settings) -> Stacker:
    """Return a stack fitted on the images with these labels."""
    relations = TagRelations.none(labels.shape[1])
    stacker = Stacker(settings.stack, seed=settings.seed, threads=1)
    return stacker.fit(fit.scores, labels, fit.groups, relations)


def judged(
    proba: PairProba, thresholds: NDArray[np.float32], test: Dataset, settings: Settings
) -> list[float]:
    """Return macro-AP, micro-AP, log loss, calibration error, macro-F1, micro-F1, tags."""
    compare = settings.compare
    probable = probability_scores(
        blocks_of(proba, test.labels),
        positives_per_tag(test.labels),
        n_bins=compare.calibration_bins,
        floor=compare.calibration_floor,
        min_positives=compare.min_positives,
    )
    decided = decision_scores(decided_by(proba, thresholds), test.labels, beta=compare.beta)
    return [
        float(np.nanmean(average_precision(proba, test.labels))),
        micro_average_precision(proba, test.labels),
        probable.log_loss,
        probable.classwise_ece,
        decided.macro_f,
        decided.micro_f,
        decided.tags_per_image,
    ]


def incomplete(fit: Dataset, test: Dataset, drop: float, seed: int) -> None:
    """Print what deleting labels costs, and what reweighting gives back."""
    few, _ = thinned(fit.labels, drop, np.random.default_rng(seed))
    print(
        "| labels | missing_labels | rung | macro-AP | micro-AP | log loss | ECE | macro-F1 | "
        "micro-F1 | tags |\n|---|---|---|" + "--:|" * 7
    )
    cases = (
        ("all", fit.labels, "negative"),
        ("all", fit.labels, "reweighted"),
        (f"{drop:.0%} deleted", few, "negative"),
        (f"{drop:.0%} deleted", few, "reweighted"),
    )
    for name, labels, way in cases:
        settings = settings_with(way)
        stacker = fitted(fit, labels, settings)
        predicted = stacker.predict_rungs(test.scores, RUNGS)
        for rung in RUNGS:
            thresholds = fit_thresholds(
                stacker.out_of_fold(rung),
                labels,
                fit.scores.vocabulary,
                stacker.folds_,
                settings.thresholds,
            )
            found = judged(predicted[rung], thresholds.value, test, settings)
            cells = [f"{value:.4f}" for value in found[:-1]] + [f"{found[-1]:.2f}"]
            print(f"| {name} | {way} | {rung} | {' | '.join(cells)} |", flush=True)


def planted(fit: Dataset, share: float, seed: int) -> None:
    """Print how many planted errors head the lists of suspicious labels."""
    rng = np.random.default_rng(seed)
    few, dropped = thinned(fit.labels, share, rng)
    cells = fit.labels.tocoo()
    missing = set(zip(*(axis[dropped].tolist() for axis in cells.coords), strict=True))
    n_wrong = len(missing)
    image = rng.integers(0, fit.scores.n_images, 4 * n_wrong)
    tag = rng.choice(cells.coords[1], 4 * n_wrong)  # as often as it is used, like a slip of a hand
    slips = np.asarray(fit.labels[image, tag]).ravel() == 0
    wrong = set(list(zip(image[slips].tolist(), tag[slips].tolist(), strict=True))[:n_wrong])
    rows, columns = np.array(sorted(wrong)).T
    added = sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=few.shape)
    labels = sparse.csr_array((few.astype(int) + added.astype(int)) > 0)
    stacker = fitted(fit, labels, settings_with("negative"))
    suspects = label_suspects(
        stacker.out_of_fold("lightgbm"), labels, sparse.csr_array(labels.shape, dtype=bool)
    )
    print("| list | planted | suspects | recall@k, k = planted | recall@2k | recall of the list |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, truth, found in (
        ("missing", missing, suspects.missing),
        ("wrong", wrong, suspects.wrong),
    ):
        ranked = list(zip(found.image.tolist(), found.tag.tolist(), strict=True))
        recalls = [
            len(truth & set(ranked[:k])) / len(truth) for k in (len(truth), 2 * len(truth), None)
        ]
        cells_text = " | ".join(f"{recall:.3f}" for recall in recalls)
        print(f"| {name} | {len(truth)} | {len(found)} | {cells_text} |", flush=True)


def main() -> None:
    """Run every set asked for."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("real-results"))
    parser.add_argument("--sets", default="fashion,emoji")
    parser.add_argument("--drop", type=float, default=0.3)
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("planted", "incomplete"))
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        source = DatasetSource(
            scores=arguments.out / name / "scores",
            labels=arguments.folder / "data" / name / "labels.csv",
            where="fold=3",
            group=GROUPS[name],
        )
        dataset = load_dataset(source, aliases={}, groups={}, labels=load_settings().labels)
        fit, test = parts(dataset, arguments.seed)
        sizes = f"{fit.scores.n_images} images to fit, {test.scores.n_images} to judge on"
        print(f"\n## {name}: {sizes}, seed {arguments.seed}\n")
        if arguments.only != "incomplete":
            planted(fit, arguments.share, arguments.seed)
            print(flush=True)
        if arguments.only != "planted":
            incomplete(fit, test, arguments.drop, arguments.seed)


if __name__ == "__main__":
    main()
