"""What a table of values is worth: thresholds by it against thresholds for F1, on left-out images.

    python benchmarks/utility.py BUNDLE --scores SCORES --labels LABELS [--group COLUMN]

The bundle must have been fitted on the label rows ``part=fit``; rows ``part=test`` judge. Each
tag gets worths drawn by the seed: a right tag 1, a wrong one -0.2, -0.5, -1 or -2, a missed one 0,
-1 or -4. Thresholds are fitted on the bundle's own out-of-fold probabilities, three times: for F1,
for the mean of the drawn worths, and for the table. Prints what the tags that the rules leave are
worth an image, and the gain over F1 with a paired bootstrap over groups of images.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import changed_settings, load_settings
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.bundle.dataset import DatasetSource, load_dataset
from tagstack.ensemble.bundle.files import load_bundle, out_of_fold_of
from tagstack.ensemble.bundle.honest_ground import honest_ground
from tagstack.ensemble.console.options import utility_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.hygiene import canonical_names
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.ensemble.thresholds.objectives import parse_objective
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.labels.truth import without_unknown

WRONG, MISSED = (-0.2, -0.5, -1.0, -2.0), (0.0, -1.0, -4.0)
RESAMPLES = 2000


def drawn_table(path: Path, vocabulary: Vocabulary, rng: np.random.Generator) -> np.ndarray:
    """Write worths for every tag; return them, shape (4, n_tags)."""
    n = len(vocabulary)
    worth = np.stack([np.ones(n), rng.choice(WRONG, n), rng.choice(MISSED, n), np.zeros(n)])
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = TableWriter(stream)
        table.writerow(("tag", "tp", "fp", "fn", "tn"))
        table.writerows(zip(vocabulary.tags, *worth.tolist(), strict=True))
    return worth


def by_image(decided: sparse.csr_array, labels: sparse.csr_array, worth: np.ndarray) -> np.ndarray:
    """Return what each image's decisions are worth; one rightly left out is worth nothing here."""
    hits, ours = decided.multiply(labels), decided.astype(float)
    true = labels.astype(float)
    tp, fp, fn, _ = worth
    return np.asarray((ours @ fp) + (hits @ (tp - fp - fn)) + (true @ fn)).ravel()


def interval(values: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> tuple[float, ...]:
    """Return the mean of values by image and its 95 % interval over groups."""
    _, number = np.unique(groups, return_inverse=True)
    total, n = np.bincount(number, values), np.bincount(number)
    drawn = rng.integers(0, len(n), (RESAMPLES, len(n)))
    means = total[drawn].sum(axis=1) / n[drawn].sum(axis=1)
    return (float(values.mean()), *np.quantile(means, [0.025, 0.975]).tolist())


def main() -> None:
    """Print one row a goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--group")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    bundle = load_bundle(args.bundle)

    def source(part: str) -> DatasetSource:
        return DatasetSource(
            scores=args.scores, labels=args.labels, where=f"part={part}", group=args.group
        )

    test = load_dataset(
        source("test"),
        aliases=canonical_names(bundle.rules.aliases),
        groups=bundle.rules.groups,
        labels=bundle.settings.labels,
        bundle=bundle,
    )
    proba = bundle.stacker.predict_proba(test.scores)
    fit = honest_ground(bundle, out_of_fold_of(args.bundle), source("fit"), Silent())
    seen = without_unknown(fit.proba, fit.dataset.unknown)
    folds = stratified_group_folds(fit.dataset.labels, fit.dataset.groups, 5, args.seed)
    decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "utility.csv"
        worth = drawn_table(table, bundle.vocabulary, rng)
        _, fp, fn, _ = worth.mean(axis=1)
        goals = {
            "F1": (load_settings(), "f1"),
            "the mean worths": (load_settings(), f"utility:tp=1,fp={fp:.3f},fn={fn:.3f},tn=0"),
            "the table": (changed_settings(load_settings(), utility_settings(table)), None),
        }
        values = {}
        for title, (settings, text) in goals.items():
            own = (
                settings.thresholds if text is None else parse_objective(text, settings.thresholds)
            )
            found = fit_thresholds(
                seen, fit.dataset.labels, bundle.vocabulary, folds, own, decoder,
                groups=fit.dataset.groups,
            )  # fmt: skip
            decided = found.cutting.decoded(proba, decoder)
            values[title] = by_image(decided, test.labels, worth)
    print(f"{test.scores.n_images} images in {len(np.unique(test.groups))} groups, "
          f"{len(bundle.vocabulary)} tags, seed {args.seed}")  # fmt: skip
    for title, worths in values.items():
        low, high = interval(worths - values["F1"], test.groups, rng)[1:]
        gain, mean = (worths - values["F1"]).mean(), worths.mean()
        print(f"{title:<16} {mean:8.3f} an image, over F1 {gain:+.3f} [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
