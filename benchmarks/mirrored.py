"""What a mirrored pass gains: each tagger with and without it, and the stack with such members.

The folder is as `benchmarks/real.py` wants it; scores are made in ``--out`` unless they are there.
Taggers are judged by average precision of their raw scores over their own tags, on the third of
fold 3 that ``real.py`` leaves out; stacks are fitted as ``fit --quick`` does on the other two
thirds. Differences are paired, with intervals of 95 % over groups of images.

    python benchmarks/mirrored.py FOLDER --out real-results [--sets fashion,emoji] [--seed 0]
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from real import GROUPS, of_members, parser_of_sets, split, taggers
from scipy.special import expit
from stack_leads import QUICK, fitted, on_pairs, scorer

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.taggers.asked_names import MIRRORED
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import load_settings
from tagstack.configs.stack import Objective
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.console.console import stages
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.tasks.fit import fit_images
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.meta.metrics.fold_scores import FoldScorer
from tagstack.meta.metrics.leads import Lead

METRICS: tuple[Objective, ...] = ("macro_ap", "micro_ap")


def raw(scores: Level1Scores, member: str) -> PairProba:
    """Return a member's own probabilities of its own tags; no other tag is listed."""
    own = scores.members.index(member)
    base = np.where(scores.knows[own], expit(scores.floor[own]), np.nan).astype(np.float32)
    return PairProba(pairs=scores.pairs, proba=expit(scores.logit[own]), base=base)


def lead(judges: FoldScorer, ours: PairProba, theirs: PairProba) -> list[str]:
    """Return cells: both scores and the difference, of both metrics."""
    cells = []
    for metric in METRICS:
        mine, rival = judges.score(ours, metric), judges.score(theirs, metric)
        found = Lead.of(mine, rival)
        low, high = found.interval
        cells += [f"{rival.mean:.3f}", f"{mine.mean:.3f}"]
        cells.append(f"{found.value:+.4f} [{low:+.4f}, {high:+.4f}]")
    return cells


def run(root: Path, out: Path, name: str, seed: int) -> None:
    """Print one set's tables."""
    quick = {**QUICK, "member_worth": "logistic"}
    settings = load_settings(changes={"seed": seed, "stack": quick})
    data, labels = root / "data" / name, out / f"labels-{seed}.csv"
    images = split(data / "labels.csv", GROUPS[name], seed, labels)
    plain = taggers(root / "zoo" / name, out / "taggers")
    with stages() as progress:
        paths = [data / "images" / image for image in images]
        both = [one for folder in plain for one in (folder, folder + MIRRORED)]
        score_folder(paths, both, out / "scores", settings, progress)
    rules = load_rules(str(data / "tags.csv"))
    source = DatasetSource(scores=out / "scores", labels=labels, group=GROUPS[name])
    fit, test = (
        fit_images(replace(source, where=where), rules, settings, Silent())
        for where in ("part=fit", "part=test")
    )
    print(
        f"\n## {name}, seed {seed}: {fit.scores.n_images} to fit, {test.scores.n_images} left out"
    )
    print("\n| tagger | macro-AP | mirrored | lead | micro-AP | mirrored | lead |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    names = [folder.rsplit("/", 1)[-1] for folder in plain]
    for one in names:
        alone, mirrored = raw(test.scores, one), raw(test.scores, one + MIRRORED)
        print(f"| {one} | {' | '.join(lead(scorer(test, alone), mirrored, alone))} |", flush=True)
    members = {
        "plain": names,
        "mirrored instead": [one + MIRRORED for one in names],
        "both": [one + ending for one in names for ending in ("", MIRRORED)],
    }
    found = {}
    for title, chosen in members.items():
        began = time.process_time()
        stack, _ = fitted(of_members(fit, chosen), rules, settings)
        worth = stack.member_worth_
        found[title] = stack.predict_proba(of_members(test, chosen).scores)
        print(f"\n{title}: chose {stack.chosen_}, {time.process_time() - began:.0f} CPU s")
        for loss in () if worth is None or title == "plain" else worth.losses:
            if loss.member.endswith(MIRRORED):
                print(
                    f"lost without {loss.member}: macro-AP {loss.macro_ap:+.4f} "
                    f"[{loss.macro_low:+.4f}, {loss.macro_high:+.4f}], micro-AP "
                    f"{loss.micro_ap:+.4f} [{loss.micro_low:+.4f}, {loss.micro_high:+.4f}]"
                )
    print("\n| stack | macro-AP plain | with | lead | micro-AP plain | with | lead |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for title in ("mirrored instead", "both"):
        ours = found[title]
        cells = lead(scorer(test, ours), ours, on_pairs(found["plain"], ours))
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Run every set asked for."""
    let_idle_threads_sleep()
    parser = parser_of_sets(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        run(arguments.folder, arguments.out / name, name, arguments.seed)


if __name__ == "__main__":
    main()
