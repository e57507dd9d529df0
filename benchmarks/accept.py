"""Hold `tagstack accept` to its promise: how many accepted tags are wrong, and how many qualify.

Takes the folder that ``benchmarks/real.py`` takes, and its scores if they are there. A stack is
fitted on two thirds of fold 3's groups (as by ``fit --quick``); the other third is what it never
saw. Each draw parts these groups anew: one half is labelled, the other is the batch. Beside that,
the batch of all of them against the images of the fit, which is what a bundle does by itself.

    python benchmarks/accept.py FOLDER --out accept-results [--sets fashion,emoji] [--draws 200]

Prints Markdown tables; nothing is promised of a single draw, so the mean over the draws is what
has to keep within the rate, give or take its standard error.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from start_bundle import parts

from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.quick import QUICK
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.acceptance.conformal import accepted, p_values
from tagstack.ensemble.acceptance.evidence import LabelledProposals
from tagstack.ensemble.acceptance.proposals import Proposals
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.bundle.files import load_bundle, out_of_fold_of, save_bundle
from tagstack.ensemble.bundle.fitted_labels import FittedLabels
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.fitting.dataset_fit import fit_dataset
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.sources import load_rules

RATES = (0.01, 0.02, 0.05, 0.1)
Bools = NDArray[np.bool_]


def truth_of(dataset: Dataset) -> FittedLabels:
    """Return a dataset's labels."""
    return FittedLabels(labels=dataset.labels, unknown=dataset.unknown, groups=dataset.groups)


class Judged:
    """The batch's proposals with what is wrong of them; unknown ones count as neither."""

    def __init__(self, bundle: Bundle, dataset: Dataset) -> None:
        self.decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)
        self.cutting, self.truth = bundle.thresholds.cutting, truth_of(dataset)
        proba = bundle.stacker.predict_proba(dataset.scores)
        self.all = Proposals.of(proba, self.cutting, self.decoder)
        self.right = self.all.holds(dataset.labels)
        self.unknown = self.all.holds(dataset.unknown)

    def accept(self, labelled: LabelledProposals, images: Bools, rate: float) -> Bools:
        """Return which proposals are accepted when some images are the batch."""
        free = images[self.all.image] & labelled.judged[self.all.tag]
        own = self.all.take(free)
        p_value = p_values(labelled.wrongs, own.sureness, own.image, int(images.sum()))
        found = np.zeros(len(self.all), bool)
        found[free] = accepted(p_value, rate)
        return found

    def shares(self, found: Bools, images: Bools) -> tuple[float, float, int]:
        """Return the share that is wrong of what is known, the share accepted, and tags."""
        known = found & ~self.unknown
        wrong = (~self.right[known]).mean() if known.any() else 0.0
        n_tags = len(np.unique(self.all.tag[found]))
        return float(wrong), float(found.sum() / images[self.all.image].sum()), n_tags

    def interval(self, found: Bools, seed: int) -> NDArray[np.float64]:
        """Return what the wrong share may be by resamples of groups, 2.5 and 97.5 percent."""
        _, own = np.unique(self.truth.groups, return_inverse=True)
        n_groups, known = int(own.max()) + 1, found & ~self.unknown
        group = own[self.all.image[known]]
        wrong = np.bincount(group, ~self.right[known], n_groups)
        given = np.bincount(group, minlength=n_groups)
        drawn = np.random.default_rng(seed).multinomial(
            n_groups, np.full(n_groups, 1 / n_groups), 1000
        )
        shares = (drawn @ wrong) / np.maximum(drawn @ given, 1)
        return np.asarray(np.percentile(shares, [2.5, 97.5]))


def labelled_half(judged: Judged, images: Bools, rate: float) -> LabelledProposals:
    """Return what the images that are not the batch say."""
    rows = np.flatnonzero(~images)
    place = np.cumsum(~images) - 1
    own = judged.all.take(~images[judged.all.image])
    moved = Proposals(
        image=place[own.image], tag=own.tag, proba=own.proba, sureness=own.sureness,
        n_images=len(rows),
    )  # fmt: skip
    ancestors = judged.decoder.rules.ancestors
    return LabelledProposals.of(moved, judged.truth.take(rows), ancestors, rate)


def draws(judged: Judged, rate: float, n_draws: int, seed: int) -> NDArray[np.float64]:
    """Return wrong share, accepted share and tags of each draw, shape (n_draws, 3)."""
    rng, groups = np.random.default_rng(seed), judged.truth.groups
    names, own = np.unique(groups, return_inverse=True)
    found = []
    for _ in range(n_draws):
        images = (rng.permutation(len(names)) < len(names) // 2)[own]
        labelled = labelled_half(judged, images, rate)
        found.append(judged.shares(judged.accept(labelled, images, rate), images))
    return np.array(found)


def fitted(
    fit: Dataset, rules: Path, folder: Path, settings: Settings
) -> tuple[Bundle, OutOfFold | None]:
    """Return the fitted bundle; one that an earlier run left is taken again."""
    if not folder.exists():
        save_bundle(fit_dataset(fit, load_rules(str(rules)), settings, None, Silent()), folder)
    return load_bundle(folder), out_of_fold_of(folder)


def run(root: Path, name: str, out: Path, n_draws: int, seed: int) -> None:
    """Judge one set and print its tables."""
    settings = load_settings(changes={"seed": seed, **QUICK})
    fit, judging = parts(root, name, out, settings, seed)
    bundle, kept = fitted(fit, root / "data" / name / "tags.csv", out / "accept-bundle", settings)
    judged = Judged(bundle, judging)
    n_tags = len(np.unique(judged.all.tag))
    wrong = (~judged.right)[~judged.unknown].mean()
    print(
        f"\n## {name}, seed {seed}: {judging.scores.n_images} images in "
        f"{len(np.unique(judging.groups))} groups, {len(judged.all)} tags given ({n_tags} "
        f"different), {wrong:.1%} of them wrong, {judged.unknown.mean():.1%} unknown\n"
    )
    print("| rate | wrong, mean of draws | error | accepted | different tags | of the fit: wrong |")
    print("|--:|--:|--:|--:|--:|--:|")
    assert kept is not None
    assert kept.truth is not None
    of_fit = Proposals.of(kept.proba, judged.cutting, judged.decoder)
    everything = np.ones(judging.scores.n_images, bool)
    for rate in RATES:
        rows = draws(judged, rate, n_draws, seed)
        labelled = LabelledProposals.of(of_fit, kept.truth, judged.decoder.rules.ancestors, rate)
        found = judged.accept(labelled, everything, rate)
        own, (low, high) = judged.shares(found, everything), judged.interval(found, seed)
        mean, error = rows.mean(0), rows[:, 0].std() / np.sqrt(len(rows))
        print(
            f"| {rate:g} | {mean[0]:.4f} | {error:.4f} | {mean[1]:.1%} | {mean[2]:.0f} | "
            f"{own[0]:.4f} [{low:.4f}, {high:.4f}] ({own[1]:.1%}, {own[2]} tags) |",
            flush=True,
        )
    n_groups, n_fitted = (len(np.unique(own)) for own in (judging.groups, kept.truth.groups))
    print(f"\nLabelled groups of a draw: {n_groups - n_groups // 2}; of the fit: {n_fitted}.")


def main() -> None:
    """Judge every set asked for."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("accept-results"))
    parser.add_argument("--sets", default="fashion,emoji")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        out = arguments.out / name
        run(arguments.folder, name, out, arguments.draws, arguments.seed)


if __name__ == "__main__":
    main()
