"""What the probe gains: the same stack with and without it, on left-out pictures, paired.

The folder is as `benchmarks/real.py` wants it; scores with features are made in ``--out`` unless
they are there. Each seed parts fold 3 by groups, two thirds to fit as ``fit --quick`` does with one
thread, one third to judge: average precision of the answer, F1 with rules and fitted thresholds.

    python benchmarks/probe.py FOLDER --out real-results [--sets fashion,emoji] [--seeds 0,1,2]
    python benchmarks/probe.py FOLDER --out real-results --plain

``--plain`` leaves trees and SVM out of both stacks, which takes a quarter of the time.

Intervals are of 400 paired resamples of the groups. The last line's are of the mean over the
seeds: a resample weighs each group alike in all of them, for seeds share pictures. What a seed gave
is kept in the folder, and read where the script is run again.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real import GROUPS, KEYS, parser_of_sets, split, taggers

from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.quick import QUICK
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource
from tagstack.ensemble.comparison.evaluator import Evaluator, Scope
from tagstack.ensemble.console.console import stages
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.fitting.dataset_fit import fit_dataset
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.tasks.fit import fit_images
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.meta.labels.label_files import read_labels
from tagstack.meta.metrics.bootstrap import Weightings, difference

RESAMPLES = 400
TITLES = ("macro-AP", "micro-AP", "macro-F1", "micro-F1")

Floats = NDArray[np.float64]
"""Scores of `KEYS` of the pictures, then of their resamples: (4, 1 + n_resamples)."""


class Half:
    """One stack of the two.

    Parameters
    ----------
    scores : array of shape (4, 1 + n_resamples), float64
        Of `KEYS`: of the pictures, then of their resamples.
    chosen : str
    cpu_s : float
        Of the fit.
    probe_s : float
        Of these, of the probe itself.
    """

    def __init__(self, scores: Floats, chosen: str, cpu_s: float, probe_s: float) -> None:
        self.scores, self.chosen, self.cpu_s, self.probe_s = scores, chosen, cpu_s, probe_s

    def save(self, path: Path) -> None:
        """Write everything that the table needs."""
        about = json.dumps({"chosen": self.chosen, "cpu_s": self.cpu_s, "probe_s": self.probe_s})
        np.savez(path, scores=self.scores, about=np.array(about))

    @classmethod
    def load(cls, path: Path) -> "Half":
        """Return what `save` wrote."""
        with np.load(path) as kept:
            return cls(kept["scores"], **json.loads(str(kept["about"])))


class Watch(Silent):
    """Takes the time of the probe's stage."""

    def __init__(self) -> None:
        self.probe_s, self._since = 0.0, 0.0

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Note when the probe's stage begins and ends."""
        if not text.startswith("probe"):
            return
        if done == 0:
            self._since = time.process_time()
        self.probe_s = time.process_time() - self._since


def fitted(
    fit: Dataset, test: Dataset, rules: Rules, settings: Settings, weights: NDArray[np.float32]
) -> Half:
    """Fit one stack and judge it."""
    watch, began = Watch(), time.process_time()
    made = fit_dataset(fit, rules, settings, None, watch)
    spent = time.process_time() - began
    decoder = Decoder(made.rules.bind(made.vocabulary), settings.decoder)
    proba = made.stacker.predict_proba(made.stacker.completed(test.scores))
    decided = made.thresholds.cutting.decoded(proba, decoder)
    every = np.ones(test.labels.shape[1], bool)
    scope = Scope(key="all", kind="vocabulary", title="all", tags=every, whole=True)
    judge = Evaluator(proba, decided, test.labels, (scope,), 1.0)
    blocks = np.array_split(weights, max(1, weights.shape[1] // 100), axis=1)
    found = [judge.evaluate(block).scores for block in blocks]
    scores = np.stack([np.concatenate([own["all", key] for own in found]) for key in KEYS])
    return Half(scores, made.stacker.chosen_, spent, watch.probe_s)


def bare(dataset: Dataset) -> Dataset:
    """Return the same pictures without features."""
    return replace(dataset, scores=replace(dataset.scores, features=()))


def run(root: Path, out: Path, name: str, seed: int, *, plain: bool) -> tuple[Half, Half]:
    """Return the stacks of one seed, with the probe and without; what is kept is read."""
    kind = "plain" if plain else "probe"
    with_it, without = (out / f"{kind}-{seed}-{half}.npz" for half in ("with", "without"))
    if not (with_it.is_file() and without.is_file()):
        fit, test, rules, settings, weights = _material(root, out, name, seed, plain=plain)
        if not with_it.is_file():
            fitted(fit, test, rules, settings, weights).save(with_it)
        if not without.is_file():
            fitted(bare(fit), bare(test), rules, settings, weights).save(without)
    return Half.load(with_it), Half.load(without)


def _material(
    root: Path, out: Path, name: str, seed: int, *, plain: bool
) -> tuple[Dataset, Dataset, Rules, Settings, NDArray[np.float32]]:
    changes: dict[str, Any] = {**QUICK, "seed": seed, "threads": 1, "score": {"features": ["all"]}}
    if plain:
        changes["stack"] = {**changes["stack"], "learners": []}
    settings = load_settings(changes=changes)
    data, labels = root / "data" / name, out / f"labels-{seed}.csv"
    images = split(data / "labels.csv", GROUPS[name], seed, labels)
    with stages() as progress:
        paths = [data / "images" / image for image in images]
        folders = taggers(root / "zoo" / name, out / "taggers")
        score_folder(paths, folders, out / "scores", settings, progress)
    rules = load_rules(str(data / "tags.csv"))
    source = DatasetSource(scores=out / "scores", labels=labels, group=GROUPS[name])
    fit, test = (
        fit_images(replace(source, where=where), rules, settings, Silent())
        for where in ("part=fit", "part=test")
    )
    return fit, test, rules, settings, _weights(labels, GROUPS[name], test.scores.images)


def _weights(labels: Path, group: str, images: Sequence[str]) -> NDArray[np.float32]:
    """Return how often each picture counts in each resample of all the set's groups."""
    table = read_labels(labels)
    names = {row.image: number for number, row in enumerate(table.rows)}
    _, groups = np.unique(np.array(table.column(group)), return_inverse=True)
    every = Weightings(groups.astype(np.int64), resamples=RESAMPLES, seed=0)
    rows = [names[image] for image in images]
    return np.concatenate([block[rows] for block in every.blocks()], axis=1)


def line(title: str, halves: Sequence[tuple[Half, Half]]) -> str:
    """Return a row of the table: the means over some seeds, and the leads."""
    one, other = (np.mean([pair[i].scores for pair in halves], axis=0) for i in (0, 1))
    cells = [title]
    for ours, theirs in zip(one, other, strict=True):
        lead = difference(ours, theirs, 0.95)
        cells += [
            f"{ours[0]:.3f}",
            f"{theirs[0]:.3f}",
            f"{lead.value:+.4f} [{lead.low:+.4f}, {lead.high:+.4f}]",
        ]
    spent, bare_s = (np.mean([pair[i].cpu_s for pair in halves]) for i in (0, 1))
    own = np.mean([with_it.probe_s for with_it, _ in halves])
    cells += [f"{spent:.0f} / {bare_s:.0f} / {own:.0f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run every set and seed asked for."""
    let_idle_threads_sleep()
    parser = parser_of_sets(__doc__)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--plain", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        found = [
            run(arguments.folder, arguments.out / name, name, int(seed), plain=arguments.plain)
            for seed in arguments.seeds.split(",")
        ]
        print(f"\n## {name}\n")
        heads = " | ".join(f"{title} | without | lead" for title in TITLES)
        print(f"| seed | {heads} | CPU s with / without / probe |")
        print(f"|---|{'--:|' * 13}")
        for seed, pair in zip(arguments.seeds.split(","), found, strict=True):
            print(line(f"{seed} ({pair[0].chosen}, {pair[1].chosen})", [pair]))
        print(line("mean", found), flush=True)


if __name__ == "__main__":
    main()
