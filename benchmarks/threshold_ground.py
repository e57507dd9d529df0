"""What the benchmarks of thresholds fit and judge on: real probabilities or drawn ones; no command.

Strategies have names here: `chosen` turns one into settings.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy import sparse

from tagstack.base_models.orders import distinct
from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.threads import thread_count
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.thresholds.objectives import parse_objective

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
