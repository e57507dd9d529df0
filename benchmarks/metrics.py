"""Cost of a whole comparison at full size: 10,000 images, 10,861 tags, ten rungs, 1,000 resamples.

The data are synthetic and sparse: tag frequencies fall by a power law, an image has about 25 true
tags and 150 listed pairs, as public taggers leave them above a floor of 1 %. What is measured is
cost alone. Each stage's CPU seconds and the peak memory of the process are printed.

    python benchmarks/metrics.py [--images 10000] [--tags 10861] [--rungs 10] [--resamples 1000]
"""

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.ensemble.comparison.comparing import Rung, compare
from tagstack.ensemble.thresholds.deciding import decided_by
from tagstack.meta.labels.truth import positives_per_tag
from tagstack.meta.metrics.calibration_error import blocks_of, probability_scores
from tagstack.meta.metrics.decision_scores import decision_scores
from tagstack.meta.metrics.label_ranking import label_ranking
from tagstack.meta.metrics.ranking import average_precision, micro_average_precision
from tagstack.meta.stack.rung_spec import RungSpec

TRUE_PER_IMAGE, LISTED_PER_IMAGE = 25, 150
THRESHOLD = np.float32(0.4)


def synthetic(
    n_images: int, n_tags: int, rng: np.random.Generator
) -> tuple[sparse.csr_array, Pairs]:
    """Return labels and listed pairs; most true pairs are listed."""
    share = 1 / (np.arange(n_tags) + 10.0)
    rate = np.minimum(share / share.sum() * TRUE_PER_IMAGE, 0.6)
    true = _drawn(rate, n_images, rng)
    also = _drawn(np.minimum(rate * LISTED_PER_IMAGE / TRUE_PER_IMAGE, 0.9), n_images, rng)
    missed = rng.random(true.nnz) < 0.03
    found = true.copy()
    found.data = ~missed
    listed = sparse.csr_array(found + also)
    listed.eliminate_zeros()
    listed.sort_indices()
    pairs = Pairs(
        indptr=listed.indptr.astype(np.int64), tag=listed.indices.astype(np.int32), n_tags=n_tags
    )
    return true, pairs


def _drawn(rate: NDArray[np.float64], n_images: int, rng: np.random.Generator) -> sparse.csr_array:
    images = [rng.choice(n_images, rng.binomial(n_images, p), replace=False) for p in rate]
    tag = np.repeat(np.arange(len(rate)), [len(chosen) for chosen in images])
    image = np.concatenate(images)
    ones = np.ones(len(tag), bool)
    return sparse.csr_array(sparse.coo_array((ones, (image, tag)), shape=(n_images, len(rate))))


def rung(number: int, labels: sparse.csr_array, pairs: Pairs, rng: np.random.Generator) -> Rung:
    """Return a rung that errs in its own way; a higher number errs less."""
    true = np.asarray(labels[pairs.image, pairs.tag]).ravel()
    logit = np.where(true, 1.5, -2.0) + rng.normal(size=len(pairs)) * (1.8 - 0.08 * number)
    proba = PairProba(
        pairs=pairs,
        proba=(1 / (1 + np.exp(-logit))).astype(np.float32),
        base=np.full(pairs.n_tags, 1e-4, np.float32),
    )
    thresholds = np.full(pairs.n_tags, THRESHOLD)
    return Rung(
        spec=RungSpec(
            name=f"rung {number}",
            title=f"Rung {number}",
            kind="member" if number < 3 else "average",
        ),
        proba=proba,
        decided=decided_by(proba, thresholds),
        thresholds=thresholds,
        note="synthetic",
    )


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Print a stage's CPU seconds and the process's peak memory so far."""
    begin = time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:<44} {time.process_time() - begin:8.2f} s CPU {peak:7.2f} GiB peak", flush=True)


def main() -> None:
    """Measure every metric of one rung, then a whole comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--tags", type=int, default=10_861)
    parser.add_argument("--rungs", type=int, default=10)
    parser.add_argument("--resamples", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    with stage("making the data"):
        labels, pairs = synthetic(arguments.images, arguments.tags, rng)
        rungs = [rung(number, labels, pairs, rng) for number in range(arguments.rungs)]
    print(f"{labels.nnz:,} labels, {len(pairs):,} pairs, {rungs[0].decided.nnz:,} decided")
    first = rungs[0]
    positives = positives_per_tag(labels)
    with stage("decisions of one rung"):
        decision_scores(first.decided, labels, beta=1.0)
    with stage("macro- and micro-AP of one rung"):
        average_precision(first.proba, labels)
        micro_average_precision(first.proba, labels)
    with stage("LRAP and coverage of one rung"):
        label_ranking(first.proba, labels)
    with stage("Brier, log loss, ECE of one rung"):
        blocks = blocks_of(first.proba, labels)
        probability_scores(blocks, positives, n_bins=15, floor=0.01, min_positives=10)
    settings = load_settings().compare.model_copy(
        update={"resamples": arguments.resamples, "seeds": 1}
    )
    vocabulary = Vocabulary(
        tuple(f"tag_{j}" for j in range(arguments.tags)), ("general",) * arguments.tags
    )
    with stage(f"whole comparison of {len(rungs)} rungs"):
        compare(
            rungs,
            labels,
            vocabulary,
            np.arange(arguments.images) // 2,
            reference=rungs[-1].name,
            settings=settings,
            seed=arguments.seed,
            images=[f"{i}.png" for i in range(arguments.images)],
        )


if __name__ == "__main__":
    main()
