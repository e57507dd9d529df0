"""What it changes when a family of tags is unknown where absent, on real labelled images.

Reads the score stores that ``benchmarks/real.py`` leaves under its ``--out``. Half of the groups
of fold 3 are fitted on, once with a missing family as so many negatives and once as unknown; the
other half is judged on, in both cases on the images where the family is known.

    python benchmarks/partial_labels.py FOLDER --out real-results [--family gender:*]
"""

import argparse
from pathlib import Path

import numpy as np
from label_noise import GROUPS, parts, settings_with
from numpy.typing import NDArray

from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.ensemble.thresholds.deciding import decided_by
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import without_unknown
from tagstack.meta.metrics.ranking import average_precision, micro_average_precision
from tagstack.meta.stack.stacker import Stacker

RUNG = "lightgbm"
Values = NDArray[np.float64]


def f_scores(decided: NDArray[np.bool_], labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Return macro-F1 over tags with positives, and micro-F1."""
    hits, sizes = (decided & labels).sum(0), decided.sum(0) + labels.sum(0)
    present = labels.any(0)
    macro = float((2 * hits[present] / sizes[present]).mean())
    return macro, float(2 * hits.sum() / sizes.sum())


def row(name: str, fit: Dataset, test: Dataset, family: NDArray[np.int64]) -> str:
    """Return one line of the table: fitted as ``fit`` has it, judged where ``test`` is known."""
    settings = settings_with("negative")
    stacker = Stacker(settings.stack, seed=settings.seed, threads=1)
    relations = TagRelations.none(len(fit.scores.vocabulary))
    stacker.fit(fit.scores, fit.labels, fit.groups, relations, unknown=fit.unknown)
    thresholds = fit_thresholds(
        without_unknown(stacker.out_of_fold(RUNG), fit.unknown),
        fit.labels,
        fit.scores.vocabulary,
        stacker.folds_,
        settings.thresholds,
    ).value
    proba = stacker.predict_proba(test.scores, RUNG)
    known = without_unknown(proba, test.unknown)
    seen = np.diff(test.unknown.indptr) == 0
    p = proba.dense()[seen][:, family].astype(np.float64)
    labels = test.labels.toarray().astype(bool)
    own = labels[seen][:, family]
    loss = -np.log(np.clip(np.where(own, p, 1 - p), 1e-7, 1)).sum(axis=1).mean()
    decided = decided_by(proba, thresholds).toarray().astype(bool)
    judged = decided & ~test.unknown.toarray().astype(bool)
    figures = [
        np.nanmean(average_precision(known, test.labels)[family]),
        loss,
        p.sum(axis=1).mean(),
        *f_scores(decided[seen][:, family], own),
        decided[~seen][:, family].any(axis=1).mean(),
        np.nanmean(average_precision(known, test.labels)),
        micro_average_precision(known, test.labels),
        *f_scores(judged, labels),
    ]
    return f"| {name} | " + " | ".join(f"{value:.4f}" for value in figures) + " |"


def main() -> None:
    """Print the table."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("real-results"))
    parser.add_argument("--set", default="fashion")
    parser.add_argument("--family", default="gender:*")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    name = arguments.set
    source = DatasetSource(
        scores=arguments.out / name / "scores",
        labels=arguments.folder / "data" / name / "labels.csv",
        where="fold=3",
        group=GROUPS[name],
    )
    loaded = {
        way: load_dataset(
            source,
            aliases={},
            groups={},
            labels=load_settings(changes={"labels": {"unknown_if_absent": families}}).labels,
        )
        for way, families in (("negative", ()), ("unknown", (arguments.family,)))
    }
    split = {way: parts(dataset, arguments.seed) for way, dataset in loaded.items()}
    fit, test = split["unknown"]
    family = np.unique(fit.unknown.indices).astype(np.int64)
    shares = [float((np.diff(part.unknown.indptr) > 0).mean()) for part in (fit, test)]
    print(
        f"{fit.scores.n_images} images to fit ({shares[0]:.1%} without {arguments.family}), "
        f"{test.scores.n_images} to judge on ({shares[1]:.1%}), seed {arguments.seed}\n"
    )
    print(
        "| absent family is | family macro-AP | nats an image | expected tags | macro-F1 | "
        "micro-F1 | tagged where unknown | all: macro-AP | micro-AP | macro-F1 | micro-F1 |"
    )
    print("|---|" + "--:|" * 10)
    for way in ("negative", "unknown"):
        print(row(way, split[way][0], test, family), flush=True)


if __name__ == "__main__":
    main()
