"""Fit on few labels, and hold the fit against what needs none.

Takes the folder that ``benchmarks/real.py`` takes. Images are drawn from two thirds of fold 3's
groups; the other third judges: the fit with its rules, a start bundle that saw the same images
without their labels, the best tagger as published, and the calibrated mean with tuned thresholds.

    python benchmarks/few_labels.py FOLDER --out few-results [--sets fashion,emoji]
        [--labels 30,60,100,200,400] [--draws 5] [--thorough] [--threads 2]

Fits are those of ``fit --quick``; --thorough rehearses and tunes. Intervals are of paired resamples
of the judging groups, of the mean over the draws. Every draw is kept in the folder, and read where
the script is run again.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real import resampled
from start_bundle import parts

from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.quick import QUICK
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.bundle.start import start_bundle
from tagstack.ensemble.comparison.ladder import DECODED, climb
from tagstack.ensemble.comparison.rungs import Rung
from tagstack.ensemble.fitting.dataset_fit import fit_dataset
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.meta.metrics.bootstrap import Weightings, difference

RESAMPLES = 400
JUDGED = {"macro_f": "macro-F1", "micro_f": "micro-F1", "macro_ap": "macro-AP"}
RIVALS = ("start", "published", "calibrated_mean")

# A score by name: of the sample, then of its resamples, shape (1 + n_resamples,).
Scores = Mapping[str, NDArray[np.float64]]


class Draw:
    """What one draw's bundles give on the judging images.

    Parameters
    ----------
    chosen : str
        The rung that the fit answers with.
    tags : float
        An image, of the fit.
    scores : mapping of name to mapping of score to array of shape (1 + n_resamples,)
        Of the fit and each rival; "published" is the best tagger by each score.
    """

    def __init__(self, chosen: str, tags: float, scores: Mapping[str, Scores]) -> None:
        self.chosen, self.tags, self.scores = chosen, tags, scores

    def save(self, path: Path) -> None:
        """Write everything that the table needs."""
        about = np.array(json.dumps({"chosen": self.chosen, "tags": self.tags}))
        arrays = {f"{n} {key}": v for n, found in self.scores.items() for key, v in found.items()}
        np.savez(path, allow_pickle=False, about=about, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Draw":
        """Return what `save` wrote."""
        with np.load(path) as kept:
            about = json.loads(str(kept["about"]))
            scores = {
                name: {key: kept[f"{name} {key}"] for key in JUDGED} for name in ("fit", *RIVALS)
            }
        return cls(about["chosen"], about["tags"], scores)


def fitted(
    drawn: Dataset, judging: Dataset, rules: Rules, settings: Settings, weightings: Weightings
) -> Draw:
    """Return what a fit of the drawn images gives, and its rivals."""
    fit = fit_dataset(drawn, rules, settings, None, Silent())
    start = start_bundle(drawn.members, rules, settings, drawn.scores)

    def scored(rung: Rung) -> Scores:
        return resampled(rung.proba, rung.decided, judging.labels, weightings)

    rungs = {rung.name: rung for rung in climb(fit, judging)}
    singles = [scored(rung) for name, rung in rungs.items() if name.endswith("@ published")]
    final = rungs[DECODED]
    return Draw(
        fit.stacker.chosen_,
        final.decided.nnz / judging.scores.n_images,
        {
            "fit": scored(final),
            "start": scored(next(r for r in climb(start, judging) if r.name == DECODED)),
            "published": {
                key: max((single[key] for single in singles), key=lambda values: float(values[0]))
                for key in JUDGED
            },
            "calibrated_mean": scored(rungs["calibrated_mean"]),
        },
    )


def row(n_labels: int, draws: Sequence[Draw], true_tags: float) -> str:
    """Return a line of the table: the fit's means, and its leads over each rival."""

    def mean(name: str, key: str) -> NDArray[np.float64]:
        return np.asarray(np.mean([draw.scores[name][key] for draw in draws], axis=0))

    cells = [str(n_labels), f"{np.mean([d.tags for d in draws]) / true_tags:.2f}"]
    cells += [f"{mean('fit', key)[0]:.3f}" for key in JUDGED]
    for rival in RIVALS:
        for key in JUDGED:
            lead = difference(mean("fit", key), mean(rival, key), 0.95)
            cells.append(f"{lead.value:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}]")
    chosen = sorted({draw.chosen for draw in draws})
    return f"| {' | '.join(cells)} | {', '.join(chosen)} |"


def run(
    root: Path, name: str, out: Path, sizes: Sequence[int], n_draws: int, quick: bool, threads: int
) -> None:
    """Fit and judge one set; print the table line by line."""
    settings = load_settings(changes={**(QUICK if quick else {}), "threads": threads})
    pool, judging = parts(root, name, out, settings, seed=0)
    rules = load_rules(str(root / "data" / name / "tags.csv"))
    weightings = Weightings(judging.groups, resamples=RESAMPLES, seed=0)
    true_tags = judging.labels.nnz / judging.scores.n_images
    print(f"\n## {name}: {judging.scores.n_images} images judge, {n_draws} draws\n")
    leads = " | ".join(f"{title} over {rival}" for rival in RIVALS for title in JUDGED.values())
    print(f"| labels | tags / true | {' | '.join(JUDGED.values())} | {leads} | chosen |")
    print(f"|{'--:|' * (5 + 3 * len(RIVALS))}---|")
    for size in sizes:
        draws = []
        for seed in range(n_draws):
            images = np.random.default_rng(seed).choice(pool.scores.n_images, size, replace=False)
            kept = out / f"judged-{'quick' if quick else 'thorough'}-{size}-{seed}.npz"
            if not kept.is_file():
                drawn = pool.take(np.sort(images))
                fitted(drawn, judging, rules, settings, weightings).save(kept)
            draws.append(Draw.load(kept))
        print(row(size, draws, true_tags), flush=True)


def main() -> None:
    """Fit and judge every set asked for."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("few-results"))
    parser.add_argument("--sets", default="fashion,emoji")
    parser.add_argument("--labels", default="30,60,100,200,400")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    sizes = [int(size) for size in given.labels.split(",")]
    for name in given.sets.split(","):
        quick, out = not given.thorough, given.out / name
        run(given.folder, name, out, sizes, given.draws, quick, given.threads)


if __name__ == "__main__":
    main()
