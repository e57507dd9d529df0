"""The stack at the size of a booru vocabulary: cost, memory and quality against rivals.

    python benchmarks/stack.py [--vocabulary selected_tags.csv] [--tags 1000] [--images 20000]
        [--members 5] [--seed 0] [--threads 1] [--judged-tags 100] [--sklearn-tags 1]
    python benchmarks/stack.py --scaling | --folds | --whole | --predict | --features | --probe
        [the same options]

Scores are synthetic (see `stack_scores.py`): the vocabulary and counts of the given file, or a Zipf
vocabulary. Every contender runs alone in a process of its own with fixed threads; CPU seconds are
of that process and its children, without drawing the data or importing the libraries; peak memory
is of the process, data included. Quality is average precision on images that nobody was fitted on,
over ``--judged-tags`` tags evenly spread over the frequencies (0 = all): the per-tag loop fits only
these, and its cost is multiplied to all tags, which are independent of each other. scikit-learn's
own combination fits ``--sklearn-tags`` tags on 2,000 images, multiplied by the tags alone; the last
two columns are the contenders' quality on just these tags, its other quality means nothing.

- mean, caruana: averages of the members
- loop: for each tag LightGBM and a linear SVM out of fold, XGBoost on top, on the tag's own columns
- scikit-learn: MultiOutputClassifier(StackingClassifier(...)) as documented, on all tags' columns
- tagstack: the default stack without the search, the rehearsal and the worth of members
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# As on a user's machine: modules that were compiled once are kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
from memory import Watch, held_mib
from scipy import sparse
from stack_rivals import CONTENDERS, Job, few_tags, stack_settings
from stack_scores import (
    N_TAGS,
    LabelledScores,
    ScoreDrawer,
    vocabulary_and_shares,
    with_features,
)

from tagstack.base_models.spill import Spill
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.metrics.ranking import Rankings, area_of
from tagstack.meta.probe.fitting import with_probe
from tagstack.meta.stack.stacker import Stacker

N_TEST = 2_000
LIBRARIES = (
    "lightgbm",
    "xgboost",
    "sklearn.svm",
    "sklearn.ensemble",
    "sklearn.multioutput",
    "joblib",
)
Options = argparse.Namespace


def drawn(options: Options, n_images: int) -> LabelledScores:
    """Return the data of a run: images to fit on first, then those to judge on."""
    vocabulary, shares = vocabulary_and_shares(options.vocabulary, options.tags)
    drawer = ScoreDrawer(vocabulary, shares, options.members, options.seed, options.pairs)
    data = drawer.draw(n_images, Spill(options.scratch))
    return with_features(data, options.columns, options.seed) if options.columns else data


def cpu_seconds() -> float:
    """Return user and system time of this process and its ended children."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))


def peak_mib() -> int:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def contend(options: Options) -> dict[str, Any]:
    """Fit and judge one contender in this process."""
    data = drawn(options, options.images + N_TEST)
    fit, test = (
        data.take(np.arange(options.images)),
        data.take(np.arange(options.images, options.images + N_TEST)),
    )
    tags = judged_tags(fit.labels, options.judged_tags)
    job = Job(fit, test.scores, tags, options.threads, options.sklearn_tags)
    for library in LIBRARIES:
        import_module(library)
    began, cpu = time.perf_counter(), cpu_seconds()
    said = CONTENDERS[options.contender](job)
    spent = cpu_seconds() - cpu
    macro, micro = quality(said.proba, test.labels[:, tags])
    few = np.searchsorted(tags, few_tags(job))
    macro_few, micro_few = quality(said.proba[:, few], test.labels[:, tags[few]])
    return {
        "cpu_s": spent * said.factor,
        "factor": said.factor,
        "wall_s": time.perf_counter() - began,
        "peak_mib": peak_mib(),
        "macro_ap": macro,
        "micro_ap": micro,
        "macro_few": macro_few,
        "micro_few": micro_few,
        "pairs": len(fit.scores.pairs),
    }


def judged_tags(labels: sparse.csr_array, n: int) -> np.ndarray[Any, Any]:
    """Return ``n`` tags evenly spread over the frequencies, all if 0."""
    n_tags = labels.shape[1]
    by_count = np.argsort(-np.asarray(labels.sum(axis=0)).ravel(), kind="stable")
    places = np.linspace(0, n_tags - 1, n or n_tags).astype(int)
    return np.sort(by_count[places])


def quality(proba: np.ndarray[Any, Any], labels: sparse.csr_array) -> tuple[float, float]:
    """Return macro- and micro-AP of dense probabilities, NaN columns left out."""
    true, known = labels.toarray(), ~np.isnan(proba[0])
    proba, true = proba[:, known], true[:, known]
    tag = np.broadcast_to(np.arange(proba.shape[1]), proba.shape).ravel()
    one, hit = np.ones(proba.size, np.int64), true.ravel().astype(np.int64)
    value = np.ascontiguousarray(proba.ravel(), np.float32)
    macro = area_of(Rankings.of(tag, value, one, hit, proba.shape[1]))
    return float(np.nanmean(macro)), float(area_of(Rankings.of(0 * tag, value, one, hit, 1))[0])


def alone(options: Options, **changes: object) -> dict[str, Any]:
    """Return what this script reports with changed options, run in a process of its own."""
    arguments = vars(options) | changes
    command = [sys.executable, __file__]
    for name, value in arguments.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            command.append(flag)
        elif value not in (None, False):
            command += [flag, str(value)]
    limits = {n: str(options.threads) for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(command, env=os.environ | limits, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(options: Options) -> None:
    """Print the contenders' table."""
    found = {name: alone(options, contender=name) for name in options.contenders.split(",")}
    own = found["tagstack"]["cpu_s"] if "tagstack" in found else float("nan")
    n_pairs = next(iter(found.values()))["pairs"]
    print(
        f"{options.tags} tags x {options.images} images x {options.members} members, "
        f"{n_pairs} listed pairs, {options.threads} thread(s), seed {options.seed}"
    )
    print(
        "| contender | CPU s | times tagstack | peak MiB | macro-AP | micro-AP | "
        f"macro-AP of {options.sklearn_tags} | micro-AP of {options.sklearn_tags} |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, row in found.items():
        said = f"{row['cpu_s']:,.1f}" + (f" (x{row['factor']:.0f})" if row["factor"] > 1 else "")
        print(
            f"| {name} | {said} | {row['cpu_s'] / own:.2f} | {row['peak_mib']:,} | "
            f"{row['macro_ap']:.4f} | {row['micro_ap']:.4f} | "
            f"{row['macro_few']:.4f} | {row['micro_few']:.4f} |",
            flush=True,
        )


def fit_once(options: Options) -> dict[str, Any]:
    """Fit the stack once and say what it cost, stage by stage."""
    data = drawn(options, options.images)
    print(f"drawn: peak {peak_mib():,} MiB", file=sys.stderr, flush=True)
    began, cpu, watch = time.perf_counter(), cpu_seconds(), Watch()
    probed: list[float] = []

    def told(stage: str, done: int, total: int) -> None:
        if stage == "probe":
            probed.append(cpu_seconds() - cpu)
        spent = f"{cpu_seconds() - cpu:7.1f} CPU s {time.perf_counter() - began:6.0f} s"
        memory = (
            f"peak {watch.resident_mib:6,} held {held_mib():6,}, at most {watch.held_mib:6,} MiB"
        )
        print(f"{spent} {memory} {stage} {done}/{total}", file=sys.stderr, flush=True)

    stacker = Stacker(stack_settings(), seed=0, threads=options.threads)
    groups = np.arange(options.images)
    with watch:
        stacker.fit(
            data.scores,
            data.labels,
            groups,
            data.relations,
            scratch_dir=options.scratch,
            progress=told,
        )
    told("end", 1, 1)
    return {
        "probe_s": probed[-1] - probed[0] if probed else 0.0,
        "cpu_s": cpu_seconds() - cpu,
        "wall_s": time.perf_counter() - began,
        "peak_mib": peak_mib(),
        "held_mib": watch.held_mib,
        "held_at": watch.held_at,
        "fit_peak_mib": watch.resident_mib,
        "fit_peak_at": watch.resident_at,
        "pairs": len(data.scores.pairs),
        "chosen": stacker.chosen_,
        "candidate_recall": stacker.candidate_recall_,
    }


def features(options: Options) -> None:
    """Print what a fit costs without features and with them, and the probe's own share of it."""
    columns = options.columns or 2_048
    rows = {n: alone(options, fit_only=True, features=False, columns=n) for n in (0, columns)}
    bare, full = rows[0], rows[columns]
    print(
        f"{options.tags} tags x {options.images} images x {options.members} members, "
        f"{bare['pairs']:,} listed pairs, {columns} features: {bare['cpu_s']:.0f} CPU s without, "
        f"{full['cpu_s']:.0f} with them ({full['cpu_s'] / bare['cpu_s'] - 1:+.0%}), of which the "
        f"probe itself {full['probe_s']:.0f} ({full['probe_s'] / bare['cpu_s']:.0%}); peak "
        f"{bare['peak_mib']:,} and {full['peak_mib']:,} MiB"
    )


def probe(options: Options) -> None:
    """Print what the probe costs by itself: scores out of fold, and the heads of new pictures."""
    options.columns = options.columns or 2_048
    data = drawn(options, options.images)
    groups, evidence = np.arange(options.images), Evidence.of(data.labels)
    settings = stack_settings()
    labelled = Labelled(
        scores=data.scores,
        evidence=evidence,
        folds=stratified_group_folds(data.labels, groups, settings.folds, options.seed),
        groups=groups,
        relations=data.relations,
    )
    began = cpu_seconds()
    with_probe(
        labelled, settings, seed=options.seed, threads=options.threads, progress=lambda *_: None
    )
    print(
        f"{options.tags} tags x {options.images} images x {options.members} members, "
        f"{len(data.scores.pairs):,} listed pairs, {options.columns} features: "
        f"{cpu_seconds() - began:.1f} CPU s for the probe, peak {peak_mib():,} MiB"
    )


def scaling(options: Options) -> None:
    """Print the cost at growing numbers of pairs, and at both vocabularies with equal pairs."""
    runs = [(N_TAGS, options.images // 4), (N_TAGS, options.images // 2)]
    runs += [(N_TAGS, options.images), (1_000, options.images)]
    print("| tags | images | listed pairs | CPU s | us a pair | peak MiB |")
    print("|---|---|---|---|---|---|")
    for tags, images in runs:
        row = alone(options, fit_only=True, tags=tags, images=images, scaling=False)
        print(
            f"| {tags} | {images} | {row['pairs']:,} | {row['cpu_s']:.1f} | "
            f"{row['cpu_s'] / row['pairs'] * 1e6:.1f} | {row['peak_mib']:,} |",
            flush=True,
        )


def whole(options: Options) -> None:
    """Print what one whole fit at the full vocabulary costs."""
    row = alone(options, fit_only=True, tags=N_TAGS, whole=False)
    print(
        f"{N_TAGS} tags x {options.images} images x {options.members} members, "
        f"{options.threads} threads: {row['wall_s'] / 60:.1f} min, {row['cpu_s']:.0f} CPU s, "
        f"peak {row['peak_mib']:,} MiB, {row['pairs']:,} pairs, chose {row['chosen']}, "
        f"candidate recall {row['candidate_recall']:.3f}"
    )


def folds(options: Options) -> None:
    """Print how long folds of many images take."""
    vocabulary, shares = vocabulary_and_shares(options.vocabulary, N_TAGS)
    rng = np.random.default_rng(options.seed)
    rows = [np.flatnonzero(rng.random(N_TAGS, np.float32) < shares) for _ in range(50_000)]
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    data = (np.ones(indptr[-1], bool), np.concatenate(rows), indptr)
    labels = sparse.csr_array(data, shape=(len(rows), len(vocabulary)))
    cpu = cpu_seconds()
    stratified_group_folds(labels, np.arange(len(rows)), 5, options.seed)
    spent = cpu_seconds() - cpu
    size = f"{len(rows):,} images x {N_TAGS} tags ({labels.nnz:,} labels)"
    print(f"folds of {size}: {spent:.2f} CPU s")


def predict(options: Options) -> None:
    """Print the time from level-1 scores to final probabilities on one thread."""
    options.tags = N_TAGS
    data = drawn(options, options.images + N_TEST)
    fit, test = (
        data.take(np.arange(options.images)),
        data.take(np.arange(options.images, options.images + N_TEST)),
    )
    stacker = Stacker(stack_settings(), seed=0, threads=1)
    stacker.fit(fit.scores, fit.labels, np.arange(options.images), fit.relations)
    for rung in dict.fromkeys((stacker.chosen_, "blend")):
        for size in (1, 64, N_TEST):
            parts = [
                test.scores.take(np.arange(i, i + size))
                for i in range(0, 256 if size < 256 else N_TEST, size)
            ]
            cpu = cpu_seconds()
            for part in parts:
                stacker.predict_proba(part, rung)
            per_image = (cpu_seconds() - cpu) / sum(p.n_images for p in parts) * 1e3
            print(
                f"{rung}, {size} image(s) at a time: {per_image:.2f} CPU ms an image on one thread"
            )


def main() -> None:
    """Run what was asked for."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=Path)
    parser.add_argument("--tags", type=int, default=1_000)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--pairs", type=float, default=300.0, help="listed pairs an image, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--judged-tags", type=int, default=100)
    parser.add_argument("--sklearn-tags", type=int, default=1)
    parser.add_argument("--columns", type=int, default=0, help="features of all members together")
    parser.add_argument("--scratch", type=Path, help="keep a fit's columns in files there")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--contender", choices=sorted(CONTENDERS), help="run this one in here")
    parser.add_argument("--fit-only", action="store_true", help="fit the stack once in here")
    modes: dict[str, Callable[[Options], None]] = {
        "scaling": scaling,
        "whole": whole,
        "folds": folds,
        "features": features,
        "probe": probe,
        "predict": predict,
    }
    for mode in modes:
        parser.add_argument(f"--{mode}", action="store_true")
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(contend(options)))
    elif options.fit_only:
        print(json.dumps(fit_once(options)))
    else:
        asked = [run for mode, run in modes.items() if getattr(options, mode)]
        for run in asked or [compare]:
            run(options)


if __name__ == "__main__":
    main()
