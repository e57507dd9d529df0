"""Every threshold strategy on real labelled images, before and after the rules; prints tables.

The folder given and the results folder are those of ``benchmarks/real.py``, which must have scored
the images. The stack (without tuning) is fitted on two thirds of the groups of fold 3; thresholds
are fitted on its out-of-fold probabilities of those images, and judged on the other third, on which
nothing was fitted. ``--synthetic TAGS,IMAGES`` measures time and memory of the fits instead.

    python benchmarks/thresholds.py FOLDER --out real-results [--sets fashion,emoji] [--seed 0]
    python benchmarks/thresholds.py --synthetic 10861,20000
    python benchmarks/thresholds.py --synthetic 10861,100000 --pairs 200 --rungs 13

``--rungs`` measures what `fit` does: tables of so many rungs over the same pairs, without rules and
with them, the last rung's with its estimates.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy import sparse
from scipy.stats import binom

from tagstack.base_models.orders import distinct
from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.threads import let_idle_threads_sleep, thread_count
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.thresholds.curves import Sorted
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.fitting import fit_thresholds, settle_thresholds
from tagstack.ensemble.thresholds.objectives import parse_objective
from tagstack.meta.labels.truth import pair_labels

GROUPS = {"fashion": "title", "emoji": "concept"}

STRATEGIES = (
    "fixed:0.35", "fixed:0.5", "one_threshold micro-f1", "one_threshold macro-f1", "category f1",
    "scut f1", "scut f1 fbr=0.1", "scut f1, each by itself", "plugin_f f1", "joint_f f1",
    "joint_f macro-f1", "p=r", "utility:tp=1,fp=-0.5", "precision>=0.9", "recall>=0.8", "mcut",
    "rcut:6",
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """What thresholds are fitted and judged on."""

    vocabulary: Vocabulary
    decoder: Decoder
    fit: PairProba
    fit_labels: sparse.csr_array
    folds: NDArray[np.int64]
    groups: NDArray[np.int64]
    test: PairProba
    test_labels: sparse.csr_array
    test_groups: NDArray[np.int64]


def chosen(name: str, settings: ThresholdSettings) -> ThresholdSettings:
    """Return the settings that a name of the table means."""
    strategy, _, text = name.rpartition(" ") if name.count(" ") == 1 else ("", "", name)
    changes: dict[str, Any] = {"strategy": strategy} if strategy else {}
    if name.startswith("scut f1"):
        changes, text = {"strategy": "scut"}, "f1"
        if "fbr" in name:
            changes["fbr"] = 0.1
        if "itself" in name:
            changes |= {"shrinkage": (0.0,), "cv": False}
    return parse_objective(text, settings.model_copy(update=changes))


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


def cpu_s() -> float:
    """Return the CPU seconds of this process so far."""
    return time.process_time()


def ground_of(root: Path, name: str, out: Path, seed: int, settings: Settings) -> Ground:
    """Return a set's probabilities, fitted now or kept from an earlier run."""
    from tagstack.ensemble.bundle.dataset import DatasetSource, load_dataset
    from tagstack.ensemble.bundle.fitted_images import FittedImages
    from tagstack.ensemble.bundle.overlaps import unseen
    from tagstack.meta.stack.stacker import Stacker

    rules = load_rules(str(root / "data" / name / "tags.csv"))
    parts = []
    for part in ("fit", "test"):
        source = DatasetSource(
            scores=out / "scores",
            labels=out / f"labels-{seed}.csv",
            where=f"part={part}",
            group=GROUPS[name],
        )
        parts.append(
            load_dataset(
                source,
                aliases={},
                groups=rules.groups,
                labels=settings.labels,
                near_duplicates=settings.score.near_duplicates,
            )
        )
    fit = parts[0]
    test, _ = unseen(parts[1], FittedImages.of(fit, settings.score.near_duplicates))
    bound = rules.bind(fit.scores.vocabulary)
    kept = out / f"thresholds-{seed}.safetensors"
    if not kept.is_file():
        stacker = Stacker(settings.stack, seed=seed, threads=thread_count(settings.threads))
        stacker.fit(fit.scores, fit.labels, fit.groups, bound.relations(), unknown=fit.unknown)
        keep(kept, stacker.out_of_fold(stacker.chosen_), stacker.predict_proba(test.scores),
             stacker.folds_)  # fmt: skip
    arrays = load_file(kept)
    return Ground(
        vocabulary=fit.scores.vocabulary,
        decoder=Decoder(bound, settings.decoder),
        fit=proba_from(arrays, "fit"),
        fit_labels=fit.labels,
        folds=arrays["folds"],
        groups=fit.groups,
        test=proba_from(arrays, "test"),
        test_labels=test.labels,
        test_groups=test.groups,
    )


def keep(path: Path, fit: PairProba, test: PairProba, folds: NDArray[np.int64]) -> None:
    """Write probabilities for the next run."""
    arrays: dict[str, NDArray[Any]] = {"folds": folds}
    for part, proba in (("fit", fit), ("test", test)):
        arrays |= {f"{part}.indptr": proba.pairs.indptr, f"{part}.tag": proba.pairs.tag}
        arrays |= {f"{part}.proba": proba.proba, f"{part}.base": proba.base}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def proba_from(arrays: dict[str, Any], part: str) -> PairProba:
    """Return what `keep` wrote of one part."""
    base = arrays[f"{part}.base"]
    pairs = Pairs(indptr=arrays[f"{part}.indptr"], tag=arrays[f"{part}.tag"], n_tags=len(base))
    return PairProba(pairs=pairs, proba=arrays[f"{part}.proba"], base=base)


def synthetic(n_tags: int, n_images: int, per_image: int, seed: int) -> Ground:
    """Return calibrated probabilities of Zipf-distributed tags, with groups and implications."""
    rng = np.random.default_rng(seed)
    weight = 1 / np.arange(1, n_tags + 1) ** 0.8
    cumulative = np.cumsum(weight / weight.sum())
    drawn = np.searchsorted(cumulative, rng.random((n_images, per_image)))
    key = distinct((np.arange(n_images)[:, None] * n_tags + np.minimum(drawn, n_tags - 1)).ravel())
    tag = (key % n_tags).astype(np.int32)
    proba = (1 / (1 + np.exp(-(rng.normal(size=len(key)) * 2.2 - 2.5)))).astype(np.float32)
    indptr = np.searchsorted(key, np.arange(n_images + 1) * n_tags).astype(np.int64)
    pairs = Pairs(indptr=indptr, tag=tag, n_tags=n_tags)
    true = rng.random(len(key)) < proba
    counts = np.bincount(key[true] // n_tags, minlength=n_images)
    labels = sparse.csr_array(
        (np.ones(true.sum(), bool), tag[true], np.concatenate([[0], np.cumsum(counts)])),
        shape=(n_images, n_tags),
    )
    names = tuple(f"t{i:05d}" for i in range(n_tags))
    vocabulary = Vocabulary(names, tuple("abcd"[i % 4] for i in range(n_tags)))
    order = rng.permutation(n_tags)
    groups = order[: n_tags // 4].reshape(-1, 5) if n_tags >= 20 else order[:0].reshape(0, 5)
    edges = order[n_tags // 4 : n_tags // 2]
    rules = Rules(
        implications=tuple(
            Implication(
                id=f"i{c}", tags=(names[max(c, p)],), implies=(names[min(c, p)],), source="s"
            )
            for c, p in zip(edges[::2], edges[1::2], strict=False)
        ),
        exclusives=tuple(
            Exclusive(id=f"x{i}", tags=tuple(names[j] for j in own), source="s")
            for i, own in enumerate(groups)
        ),
    )
    proba_all = PairProba(pairs=pairs, proba=proba, base=np.full(n_tags, 1e-4, np.float32))
    return Ground(
        vocabulary, Decoder(rules.bind(vocabulary), load_settings().decoder), proba_all, labels,
        np.arange(n_images) % 5, np.arange(n_images), proba_all, labels, np.arange(n_images),
    )  # fmt: skip


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


def peak_since() -> float:
    """Return the most MiB that lay in memory since this was asked last (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(peak.split()[1]) / 1024


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


def main() -> None:
    """Run every set asked for."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("real-results"))
    parser.add_argument("--sets", default="fashion,emoji")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="strategies whose name contains this")
    parser.add_argument("--synthetic", default=None, metavar="TAGS,IMAGES")
    parser.add_argument("--pairs", type=int, default=60, help="listed pairs of a synthetic image")
    parser.add_argument("--rungs", type=int, default=0, help="measure tables of so many rungs")
    arguments = parser.parse_args()
    changes = {"seed": arguments.seed, "stack": {"tuning": {"trials": 0}}}
    settings = load_settings(changes=changes)
    if arguments.synthetic is not None:
        n_tags, n_images = map(int, arguments.synthetic.split(","))
        ground = synthetic(n_tags, n_images, arguments.pairs, arguments.seed)
        if arguments.rungs:
            print_tables(ground, settings.thresholds, arguments.rungs, arguments.seed)
        else:
            print_costs(ground, settings.thresholds, arguments.only)
        return
    if arguments.folder is None:
        parser.error("give FOLDER or --synthetic TAGS,IMAGES")
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
