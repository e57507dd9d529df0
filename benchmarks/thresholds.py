"""Every threshold strategy on real labelled images, before and after the rules; prints tables.

The folder given and the results folder are those of ``benchmarks/real.py``, which must have scored
the images. The stack (without tuning) is fitted on two thirds of the groups of fold 3; thresholds
are fitted on its out-of-fold probabilities of those images, and judged on the other third, on which
nothing was fitted. ``benchmarks/threshold_costs.py`` measures time and memory of the fits.

    python benchmarks/thresholds.py FOLDER --out real-results [--sets fashion,emoji] [--seed 0]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import binom
from threshold_ground import STRATEGIES, Ground, chosen, cpu_s, ground_of

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.fitting import fit_thresholds


def scores(decided: sparse.csr_array, truth: sparse.csr_array) -> dict[str, float]:
    """Return macro and micro F1, precision and recall, and tags an image."""
    hits, predicted, positives = (
        np.asarray(m.sum(axis=0, dtype=np.int64)).ravel()
        for m in (decided.multiply(truth), decided, truth)
    )
    seen = positives > 0
    f1 = 2 * hits / np.maximum(predicted + positives, 1)
    return {
        "macro-F1": float(f1[seen].mean()),
        "micro-F1": 2 * hits.sum() / (predicted.sum() + positives.sum()),
        "precision": hits.sum() / max(predicted.sum(), 1),
        "recall": hits.sum() / positives.sum(),
        "tags": predicted.sum() / truth.shape[0],
    }


def table(ground: Ground, settings: ThresholdSettings, only: str) -> Iterator[str]:
    """Yield the lines of a Markdown table, one strategy after the other."""
    kinds = ("macro-F1", "micro-F1", "precision", "recall", "tags")
    yield "| strategy | rules | " + " | ".join(kinds) + " | broken | states | fit, CPU s |"
    yield "|---|---|" + "--:|" * (len(kinds) + 1) + "---|--:|"
    for name in (name for name in STRATEGIES if only in name):
        for decoder in (None, ground.decoder):
            began = cpu_s()
            found = fit_thresholds(
                ground.fit,
                ground.fit_labels,
                ground.vocabulary,
                ground.folds,
                chosen(name, settings),
                decoder,
                groups=ground.groups,
            )
            spent = cpu_s() - began
            decided = decide(found.cutting, ground.test, decoder)
            result = scores(decided, ground.test_labels)
            broken = ground.decoder.rules.violations(decided).per_image.mean()
            cells = [f"{result[kind]:.3f}" for kind in kinds[:-1]] + [f"{result['tags']:.1f}"]
            states = ", ".join(
                f"{found.state.count(s)} {s}"
                for s in ("certified", "tuned", "pooled", "fixed")
                if s in found.state
            )
            rules = "after" if decoder else "before"
            cells += [f"{broken:.2f}", states, f"{spent:.1f}"]
            yield f"| {name} | {rules} | {' | '.join(cells)} |"


def differences(ground: Ground, settings: ThresholdSettings, n_resamples: int) -> Iterator[str]:
    """Yield what the joint fit gains over others, with intervals, and what the rules remove."""
    decided = {}
    for name in ("joint_f f1", "plugin_f f1"):
        for decoder in (None, ground.decoder):
            found = fit_thresholds(
                ground.fit, ground.fit_labels, ground.vocabulary, ground.folds,
                chosen(name, settings), decoder, groups=ground.groups,
            )  # fmt: skip
            key = f"{name} {'after' if decoder else 'before'}"
            decided[key] = decide(found.cutting, ground.test, decoder).astype(np.int64)
    truth = ground.test_labels.astype(np.int64)
    _, group = np.unique(ground.test_groups, return_inverse=True)
    summed = sparse.csr_array((np.ones(len(group)), (group, np.arange(len(group)))))
    hits = {key: (summed @ own.multiply(truth)).toarray() for key, own in decided.items()}
    predicted = {key: (summed @ own).toarray() for key, own in decided.items()}
    positives = (summed @ truth).toarray()

    def f1(key: str, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        hit, own, due = weight @ hits[key], weight @ predicted[key], weight @ positives
        macro = (2 * hit / np.maximum(own + due, 1))[due > 0].mean()
        return np.array([macro, 2 * hit.sum() / (own.sum() + due.sum())])

    rng, n = np.random.default_rng(0), len(positives)
    draws = [
        np.bincount(rng.integers(0, n, n), minlength=n).astype(float) for _ in range(n_resamples)
    ]
    first, *others = (
        "joint_f f1 after",
        "plugin_f f1 after",
        "plugin_f f1 before",
        "joint_f f1 before",
    )
    for other in others:
        value = f1(first, np.ones(n)) - f1(other, np.ones(n))
        low, high = np.quantile(
            [f1(first, w) - f1(other, w) for w in draws], [0.025, 0.975], axis=0
        )
        cells = [f"{v:+.3f} [{a:+.3f}, {b:+.3f}]" for v, a, b in zip(value, low, high, strict=True)]
        yield f"{first} less {other}: macro-F1 {cells[0]}, micro-F1 {cells[1]}"
    raw, left = decided["joint_f f1 before"], decided["joint_f f1 after"]
    removed = raw - raw.multiply(left)
    right = removed.multiply(truth).sum() / removed.sum()
    broken = (ground.decoder.rules.violations(raw.astype(bool)).per_image > 0).mean()
    yield (
        f"Rules remove {removed.sum() / truth.shape[0]:.2f} tags an image of joint_f's, "
        f"{right:.0%} of them right; before, {broken:.0%} of the images contradict themselves."
    )


def shares(ground: Ground, settings: ThresholdSettings) -> Iterator[str]:
    """Yield F1 on left-out folds of the fit images, after the rules, by joint_f's share of macro.

    What the default is chosen by: no test image has a part in it.
    """
    yield "| strategy | macro-F1 | micro-F1 | sum | tags |"
    yield "|---|" + "--:|" * 4
    rows = {f"joint_f, share {share}": {"macro_share": share} for share in (0.5, 0.65, 0.8, 1.0)}
    for name, changes in ({"plugin_f": {"strategy": "plugin_f"}} | rows).items():
        chosen_settings = settings.model_copy(update=changes)
        images, parts = [], []
        for fold in np.unique(ground.folds):
            own, rest = (np.flatnonzero(where) for where in (ground.folds == fold,
                                                             ground.folds != fold))  # fmt: skip
            found = fit_thresholds(
                ground.fit.take(rest), ground.fit_labels[rest], ground.vocabulary,
                ground.folds[rest], chosen_settings, ground.decoder, groups=ground.groups[rest],
            )  # fmt: skip
            images.append(own)
            parts.append(decide(found.cutting, ground.fit.take(own), ground.decoder))
        decided = sparse.csr_array(sparse.vstack(parts)).astype(np.int64)
        truth = ground.fit_labels[np.concatenate(images)].astype(np.int64)
        result = scores(decided, truth)
        macro, micro = result["macro-F1"], result["micro-F1"]
        yield f"| {name} | {macro:.3f} | {micro:.3f} | {macro + micro:.3f} | {result['tags']:.1f} |"


def certificates(ground: Ground, settings: ThresholdSettings) -> Iterator[str]:
    """Yield how many certified tags keep to their target on the test images."""
    for decoder in (None, ground.decoder):
        found = fit_thresholds(
            ground.fit, ground.fit_labels, ground.vocabulary, ground.folds,
            chosen("precision>=0.9", settings), decoder, groups=ground.groups,
        )  # fmt: skip
        decided = decide(found.cutting, ground.test, decoder).astype(np.int64)
        hits = np.asarray(decided.multiply(ground.test_labels).sum(axis=0)).ravel()
        trials = np.asarray(decided.sum(axis=0)).ravel()
        sure = (np.array(found.state) == "certified") & (trials > 0)
        below = (hits[sure] / trials[sure] < 0.9).sum()
        clearly = (binom.cdf(hits[sure], trials[sure], 0.9) < 0.05).sum()
        yield (
            f"precision>=0.9 {'after' if decoder else 'before'}: {sure.sum()} certified tags, "
            f"{below} below on the test images, {clearly} of them significantly (5 %)."
        )


def decide(cutting: Cutting, proba: PairProba, decoder: Decoder | None) -> sparse.csr_array:
    """Return the tags, with or without the rules."""
    return cutting.decided(proba) if decoder is None else cutting.decoded(proba, decoder)


def main() -> None:
    """Run every set asked for."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("real-results"))
    parser.add_argument("--sets", default="fashion,emoji")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="strategies whose name contains this")
    arguments = parser.parse_args()
    changes = {"seed": arguments.seed, "stack": {"tuning": {"trials": 0}}}
    settings = load_settings(changes=changes)
    for name in arguments.sets.split(","):
        out = arguments.out / name
        ground = ground_of(arguments.folder, name, out, arguments.seed, settings)
        fitted, tested = ground.fit.pairs.n_images, ground.test.pairs.n_images
        print(f"\n## {name}, seed {arguments.seed}: {fitted} images to fit, {tested} to test\n")
        for line in table(ground, settings.thresholds, arguments.only):
            print(line, flush=True)
        print()
        for line in differences(ground, settings.thresholds, 1000):
            print(line, flush=True)
        for line in certificates(ground, settings.thresholds):
            print(line, flush=True)
        print()
        for line in shares(ground, settings.thresholds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
