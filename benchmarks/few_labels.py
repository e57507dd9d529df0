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
from start_bundle import parts

from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.bundle.start import start_bundle
from tagstack.ensemble.comparison.ladder import DECODED, climb
from tagstack.ensemble.console.options import QUICK
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.tasks.fit import fit_dataset
from tagstack.meta.metrics.bootstrap import Weightings
from tagstack.meta.metrics.ranking import average_precision

Floats = NDArray[np.float64]
RESAMPLES = 400
RIVALS = ("start", "published", "calibrated_mean")


def resampled_f1(decided: NDArray[np.float32], truth: NDArray[np.float32], w: Weightings) -> Floats:
    """Return macro-F1 and micro-F1 of the sample and its resamples, shape (2, n_samples)."""
    found = []
    for block in w.blocks():
        right, given, true = (block.T @ m for m in (decided * truth, decided, truth))
        by_tag = 2 * right / np.maximum(given + true, 1e-9)
        macro = np.where(true > 0, by_tag, 0).sum(1) / (true > 0).sum(1)
        found.append((macro, 2 * right.sum(1) / (given.sum(1) + true.sum(1))))
    return np.concatenate([np.stack(pair) for pair in found], axis=1)


class Draw:
    """What one draw's bundles give on the judging images.

    Parameters
    ----------
    chosen : str
        The rung that the fit answers with.
    tags : float
        An image, of the fit.
    f1 : mapping of name to array of shape (2, n_samples)
        Macro and micro F1, of the sample and its resamples.
    ap : mapping of name to float
    """

    def __init__(
        self, chosen: str, tags: float, f1: Mapping[str, Floats], ap: Mapping[str, float]
    ) -> None:
        self.chosen, self.tags, self.f1, self.ap = chosen, tags, f1, ap

    def save(self, path: Path) -> None:
        """Write everything that the table needs."""
        about = {"chosen": self.chosen, "tags": self.tags, "ap": dict(self.ap)}
        np.savez(path, about=np.array(json.dumps(about)), **self.f1)

    @classmethod
    def load(cls, path: Path) -> "Draw":
        """Return what `save` wrote."""
        with np.load(path) as kept:
            about = json.loads(str(kept["about"]))
            f1 = {name: kept[name] for name in kept.files if name != "about"}
        return cls(about["chosen"], about["tags"], f1, about["ap"])


class Fitted(Draw):
    """A draw that is fitted and judged now."""

    def __init__(
        self, drawn: Dataset, judging: Dataset, rules: Rules, settings: Settings, w: Weightings
    ) -> None:
        fitted = fit_dataset(drawn, rules, settings, None, Silent())
        start = start_bundle(drawn.members, rules, settings, drawn.scores)
        super().__init__(fitted.stacker.chosen_, 0.0, {}, {})
        truth = judging.labels.toarray().astype(np.float32)
        self.f1: dict[str, Floats]
        self.ap: dict[str, float]
        self._add("fit", fitted, DECODED, judging, truth, w)
        self._add("start", start, DECODED, judging, truth, w)
        rungs = {rung.name: rung for rung in climb(fitted, judging)}
        singles = [name for name in rungs if name.endswith("@ published")]
        for name in (*singles, "calibrated_mean"):
            self._keep(name, rungs[name], judging, truth, w)
        best = np.max([self.f1[name][:, 0] for name in singles], axis=0)
        rows = [
            next(self.f1[n][row] for n in singles if self.f1[n][row, 0] == best[row])
            for row in (0, 1)
        ]
        self.f1["published"] = np.stack(rows)
        self.ap["published"] = max(self.ap[name] for name in singles)

    def _add(
        self, name: str, bundle: Bundle, rung: str, judging: Dataset, truth: object, w: Weightings
    ) -> None:
        found = next(one for one in climb(bundle, judging) if one.name == rung)
        self._keep(name, found, judging, truth, w)

    def _keep(self, name, rung, judging, truth, w) -> None:  # type: ignore[no-untyped-def]
        decided = rung.decided.toarray().astype(np.float32)
        self.f1[name] = resampled_f1(decided, truth, w)
        self.ap[name] = float(np.nanmean(average_precision(rung.proba, judging.labels)))
        if name == "fit":
            self.tags = float(decided.sum() / len(decided))


def row(n_labels: int, draws: Sequence[Draw], true_tags: float) -> str:
    """Return a line of the table: the fit's means, and its leads over each rival."""
    fit = np.mean([draw.f1["fit"] for draw in draws], axis=0)
    cells = [str(n_labels), f"{np.mean([d.tags for d in draws]) / true_tags:.2f}"]
    cells += [f"{value:.3f}" for value in fit[:, 0]]
    cells.append(f"{np.mean([draw.ap['fit'] for draw in draws]):.3f}")
    for rival in RIVALS:
        lead = fit - np.mean([draw.f1[rival] for draw in draws], axis=0)
        for values in lead:
            centred = values[1:] - values[1:].mean() + values[0]
            low, high = np.percentile(centred, [2.5, 97.5])
            cells.append(f"{values[0]:+.3f} [{low:+.3f}, {high:+.3f}]")
        cells.append(f"{np.mean([d.ap['fit'] - d.ap[rival] for d in draws]):+.3f}")
    chosen = sorted({draw.chosen for draw in draws})
    return f"| {' | '.join(cells)} | {', '.join(chosen)} |"


def run(
    root: Path, name: str, out: Path, sizes: Sequence[int], n_draws: int, quick: bool, threads: int
) -> None:
    """Fit and judge one set; print the table line by line."""
    settings = load_settings(changes={**(QUICK if quick else {}), "threads": threads})
    pool, judging = parts(root, name, out, settings, seed=0)
    rules = load_rules(str(root / "data" / name / "tags.csv"))
    w = Weightings(judging.groups, resamples=RESAMPLES, seed=0)
    true_tags = judging.labels.nnz / judging.scores.n_images
    print(f"\n## {name}: {judging.scores.n_images} images judge, {n_draws} draws\n")
    leads = " | ".join(f"{m} over {r}" for r in RIVALS for m in ("macro-F1", "micro-F1", "AP"))
    print(f"| labels | tags / true | macro-F1 | micro-F1 | macro-AP | {leads} | chosen |")
    print(f"|{'--:|' * (5 + 3 * len(RIVALS))}---|")
    for size in sizes:
        draws = []
        for seed in range(n_draws):
            images = np.random.default_rng(seed).choice(pool.scores.n_images, size, replace=False)
            kept = out / f"draw-{'quick' if quick else 'thorough'}-{size}-{seed}.npz"
            if not kept.is_file():
                Fitted(pool.take(np.sort(images)), judging, rules, settings, w).save(kept)
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
