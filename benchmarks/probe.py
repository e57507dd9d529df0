"""What the probe gains: the same stack with and without it, on left-out pictures, paired.

The folder is as `benchmarks/real.py` wants it; scores with features are made in ``--out`` unless
they are there. Stacks are fitted as ``fit --quick`` does, and judged by average precision, which
needs no thresholds; ``real.py --features`` judges the whole, decisions included, and takes longer.

    python benchmarks/probe.py FOLDER --out real-results [--sets fashion,emoji] [--seeds 0,1,2]
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from real import GROUPS, parser_of_sets, split, taggers

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource
from tagstack.ensemble.console.console import stages
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.tasks.fit import fit_images
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.metrics.fold_scores import FoldScorer, Lead
from tagstack.meta.stack.stacker import Stacker

QUICK: dict[str, object] = {"outer_fold": False, "member_worth": "none", "tuning": {"trials": 0}}


def fitted(fit: Dataset, rules: Rules, settings: Settings) -> tuple[Stacker, float]:
    """Return a stack and the CPU seconds that fitting took."""
    began = time.process_time()
    relations = rules.within(fit.scores.vocabulary).bind(fit.scores.vocabulary).relations()
    stack = Stacker(settings.stack, seed=settings.seed, threads=1)
    stack.fit(fit.scores, fit.labels, fit.groups, relations, unknown=fit.unknown)
    return stack, time.process_time() - began


def on_pairs(proba: PairProba, wanted: PairProba) -> PairProba:
    """Return probabilities of the pairs that another lists, which hold all of their own."""
    value = proba.base[wanted.pairs.tag].copy()
    keys, own = wanted.pairs.keys(), proba.pairs.keys()
    value[np.searchsorted(keys, own)] = proba.proba
    return PairProba(pairs=wanted.pairs, proba=value, base=proba.base)


def scorer(test: Dataset, proba: PairProba) -> FoldScorer:
    """Return what judges probabilities of these pairs on left-out images."""
    evidence = Evidence.of(test.labels, test.unknown)
    folds = np.zeros(test.scores.n_images, np.int64)
    return FoldScorer(proba.pairs, evidence.truth(proba.pairs), evidence, folds, test.groups)


def run(root: Path, out: Path, name: str, seed: int) -> None:
    """Print what one seed gave."""
    changes: dict[str, object] = {"seed": seed, "stack": QUICK, "score": {"features": ["all"]}}
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
    with_it, spent = fitted(fit, rules, settings)
    plain = replace(fit, scores=replace(fit.scores, features=()))
    without, spent_without = fitted(plain, rules, settings)
    bare = replace(test.scores, features=())
    print(
        f"\n## {name}, seed {seed}: {fit.scores.n_images} to fit, {test.scores.n_images} left out"
    )
    print(
        f"chosen with the probe {with_it.chosen_}, without {without.chosen_}; fit {spent:.0f} and"
    )
    print(f"{spent_without:.0f} CPU s\n")
    print("| rung | macro-AP | without | lead | micro-AP | without | lead |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    full = with_it.completed(test.scores)
    ours, theirs = (
        with_it.predict_rungs(full, with_it.rungs_),
        without.predict_rungs(bare, without.rungs_),
    )
    for rung in ours:
        other = rung if rung in theirs else without.chosen_
        one = ours[rung]
        two = on_pairs(theirs[other], one)
        judges = scorer(test, one)
        cells = []
        for metric in ("macro_ap", "micro_ap"):
            mine, rival = judges.score(one, metric), judges.score(two, metric)
            lead = Lead.of(mine, rival)
            low, high = lead.interval
            cells += [f"{mine.mean:.3f}", f"{rival.mean:.3f}"]
            cells.append(f"{lead.value:+.4f} [{low:+.4f}, {high:+.4f}]")
        said = rung if other == rung else f"{rung} (against {other})"
        print(f"| {said} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Run every set and seed asked for."""
    let_idle_threads_sleep()
    parser = parser_of_sets(__doc__)
    parser.add_argument("--seeds", default="0")
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        for seed in arguments.seeds.split(","):
            run(arguments.folder, arguments.out / name, name, int(seed))


if __name__ == "__main__":
    main()
