"""Fit under hard conditions; print the final output against the best rung and the calibrated mean.

The claim tested: the final output is never significantly below the best rung, whichever that turns
out to be on the test images (picked in hindsight, per metric, which favours it). Cases:

    plain   as it is
    noise   one more tagger, whose scores are another's dealt out to the wrong images
    copies  two more taggers that are copies of the first
    small   300 labelled images
    rare    a third of the tags with 5 to 30 positives keep two; the other images with them go
    style   one drawing style in the test images alone (sets with a column "style")

In the last one, tags that name a style (nine tenths of their positives in one) are unknown
everywhere: no labels of other styles can say anything about them.

The folder is that of real.py. Scores are taken from --out and made where they are missing; fit
and test images share no group. Level-1 scores are changed in memory only.

    python benchmarks/robustness.py FOLDER --out real-results [--cases noise,small] [--seeds 0,1,2]
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real import GROUPS, resampled, split, taggers
from scipy import sparse

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.threads import let_idle_threads_sleep, thread_count
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource, load_dataset
from tagstack.ensemble.console.console import stages
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import known_labels, without_unknown
from tagstack.meta.metrics.bootstrap import Difference, Weightings, difference
from tagstack.meta.stack.stacker import Stacker

CASES = ("plain", "noise", "copies", "small", "rare", "style")
METRICS = ("macro_ap", "micro_ap")
SMALL = 300
RARE = range(5, 31)
NAMING = 50  # positives from which a tag can be said to name a style


@dataclass(frozen=True, kw_only=True)
class Images:
    """Scores, labels and groups of some images, and their style where there is one."""

    scores: Level1Scores
    labels: sparse.csr_array
    groups: NDArray[np.int64]
    styles: NDArray[np.str_]
    unknown: sparse.csr_array

    def take(self, images: NDArray[np.intp]) -> "Images":
        """Return the images at these indices."""
        return Images(
            scores=self.scores.take(images),
            labels=self.labels[images],
            groups=self.groups[images],
            styles=self.styles[images],
            unknown=self.unknown[images],
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One fit: what was chosen and where it stands on the test images."""

    chosen: str
    n_fit: int
    n_test: int
    scores: dict[str, float]
    best: dict[str, str]
    against_best: dict[str, Difference]
    against_mean: dict[str, Difference]
    cpu_s: float

    @property
    def holds(self) -> bool:
        """Whether no difference to the best rung is significantly below 0."""
        return all(found.high >= 0 for found in self.against_best.values())


def load(root: Path, name: str, out: Path, settings: Settings) -> tuple[Images, TagRelations]:
    """Score fold 3 where that is not done, and return it with the relations of its tags."""
    data, labels = root / "data" / name, out / "labels-robustness.csv"
    images = split(data / "labels.csv", GROUPS[name], 0, labels)
    with stages() as progress:
        score_folder(
            [data / "images" / image for image in images],
            taggers(root / "zoo" / name, out / "taggers"),
            out / "scores",
            settings,
            progress,
        )
    source = DatasetSource(scores=out / "scores", labels=labels, group=GROUPS[name])
    rules = load_rules(str(data / "tags.csv"))
    found = load_dataset(
        source,
        aliases={},
        groups=rules.groups,
        labels=settings.labels,
        near_duplicates=settings.score.near_duplicates,
    )
    relations = rules.bind(found.scores.vocabulary).relations()
    everything = Images(
        scores=found.scores,
        labels=sparse.csr_array(found.labels),
        groups=found.groups,
        styles=np.array(found.columns.get("style", ("",) * found.scores.n_images)),
        unknown=sparse.csr_array(found.labels.shape, dtype=bool),
    )
    return everything, relations


def parts(
    images: Images, case: str, seed: int, caps: tuple[int, int]
) -> tuple[Images, Images] | None:
    """Return the images to fit and to test; None where the set has no such case."""
    names = np.unique(images.groups)
    order = np.random.default_rng(seed).permutation(len(names))
    of_fit = np.isin(images.groups, names[order[: 2 * len(names) // 3]])
    to_fit, to_test = of_fit, ~of_fit
    if case == "style":
        styles = np.unique(images.styles)
        if len(styles) < 2:
            return None
        images = _without_names_of_styles(images)
        held = images.styles == styles[seed % len(styles)]
        to_fit, to_test = of_fit & ~held, ~of_fit & held
    if case == "rare":
        to_fit = to_fit & ~_beyond_two(images, to_fit, seed)
    cap = SMALL if case == "small" else caps[0]
    fit = _whole_groups(images, to_fit, names[order], cap)
    test = _whole_groups(images, to_test, names, caps[1])
    return changed(images.take(fit), images.take(test), case, seed)


def _without_names_of_styles(images: Images) -> Images:
    """Mark the tags that name a style as unknown."""
    of_style = np.unique(images.styles, return_inverse=True)[1]
    ones = np.ones(len(of_style), np.int64)
    member = sparse.csr_array((ones, (of_style, np.arange(len(of_style)))))
    counts = (member @ images.labels.astype(np.int64)).toarray()
    naming = counts.max(axis=0) >= 0.9 * np.maximum(counts.sum(axis=0), 1)
    naming &= counts.sum(axis=0) >= NAMING
    unknown = np.zeros(images.labels.shape, bool)
    unknown[:, naming] = True
    return replace(images, unknown=sparse.csr_array(unknown))


def _beyond_two(images: Images, to_fit: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Return the fit images that carry a tag which is to keep two positives, but for those two."""
    rng = np.random.default_rng(seed)
    labels = sparse.csc_array(images.labels * to_fit[:, None])
    counts = np.asarray(labels.sum(axis=0)).ravel()
    gone = np.zeros(len(to_fit), bool)
    for tag in np.flatnonzero(np.isin(counts, RARE))[::3]:
        carriers = np.flatnonzero(labels[:, [tag]].toarray().ravel() & ~gone)
        gone[rng.permutation(carriers)[2:]] = True
    return gone


def _whole_groups(
    images: Images, wanted: NDArray[np.bool_], order: NDArray[np.int64], cap: int
) -> NDArray[np.intp]:
    """Return at most about ``cap`` of the wanted images, whole groups in this order; 0 = all."""
    if not cap or wanted.sum() <= cap:
        return np.flatnonzero(wanted)
    counts = np.bincount(images.groups[wanted], minlength=int(images.groups.max()) + 1)[order]
    kept = order[: int(np.searchsorted(np.cumsum(counts), cap)) + 1]
    return np.flatnonzero(wanted & np.isin(images.groups, kept))


def changed(fit: Images, test: Images, case: str, seed: int) -> tuple[Images, Images]:
    """Return both parts with the taggers that a case adds."""
    if case == "noise":
        fit, test = (_with_noise(part, seed + i) for i, part in enumerate((fit, test)))
    if case == "copies":
        fit, test = (_with_member(_with_member(p, "copy_1"), "copy_2") for p in (fit, test))
    return fit, test


def _with_noise(images: Images, seed: int) -> Images:
    """Add the first tagger again, its scores of each tag dealt out to the tag's pairs by chance."""
    scores = images.scores
    rng = np.random.default_rng(seed)
    by_tag = np.argsort(scores.pairs.tag, kind="stable")
    drawn = np.lexsort((rng.random(len(scores.pairs)), scores.pairs.tag))
    logit = np.empty_like(scores.logit[0])
    logit[by_tag] = scores.logit[0, drawn]
    return _with_member(images, "noise", logit)


def _with_member(images: Images, name: str, logit: NDArray[np.float32] | None = None) -> Images:
    """Add a member that knows what the first one knows; with its scores if none are given."""
    scores = images.scores
    own = scores.logit[0] if logit is None else logit
    return replace(
        images,
        scores=replace(
            scores,
            members=(*scores.members, name),
            knows=np.vstack([scores.knows, scores.knows[:1]]),
            floor=np.append(scores.floor, scores.floor[0]),
            logit=np.vstack([scores.logit, own[None]]),
        ),
    )


def judged(
    fit: Images, test: Images, relations: TagRelations, settings: Settings, resamples: int
) -> Outcome:
    """Fit on one part and compare the rungs on the other."""
    began = time.process_time()
    stacker = Stacker(
        settings.stack, seed=settings.seed, threads=thread_count(settings.threads)
    ).fit(fit.scores, fit.labels, fit.groups, relations, unknown=fit.unknown)
    probas = stacker.predict_rungs(test.scores, stacker.rungs_)
    cpu_s = time.process_time() - began
    samples = {
        rung: _resampled(proba, test, resamples, settings.seed) for rung, proba in probas.items()
    }
    ours = samples[stacker.chosen_]
    best = {m: max(samples, key=lambda rung: samples[rung][m][0]) for m in METRICS}
    return Outcome(
        chosen=stacker.chosen_,
        n_fit=fit.scores.n_images,
        n_test=test.scores.n_images,
        scores={m: float(ours[m][0]) for m in METRICS},
        best=best,
        against_best={m: difference(ours[m], samples[best[m]][m], 0.95) for m in METRICS},
        against_mean={m: difference(ours[m], samples["calibrated_mean"][m], 0.95) for m in METRICS},
        cpu_s=cpu_s,
    )


def _resampled(
    proba: PairProba, test: Images, resamples: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return each metric on the test images and on resamples of their groups."""
    nothing = sparse.csr_array(test.labels.shape, dtype=bool)
    labels = known_labels(test.labels, test.unknown)
    weightings = Weightings(test.groups, resamples=resamples, seed=seed)
    return resampled(without_unknown(proba, test.unknown), nothing, labels, weightings)


def line(name: str, case: str, seed: int, found: Outcome) -> str:
    """Return one outcome as a row of the Markdown table."""
    cells = [name, case, str(seed), f"{found.n_fit}/{found.n_test}", found.chosen]
    for metric in METRICS:
        cells.append(f"{found.scores[metric]:.3f}")
        cells.append(f"{found.best[metric]} {_signed(found.against_best[metric])}")
        cells.append(_signed(found.against_mean[metric]))
    return f"| {' | '.join((*cells, 'yes' if found.holds else '**no**', f'{found.cpu_s:.0f}'))} |"


def _signed(found: Difference) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


HEADER = (
    "| set | case | seed | fit/test | chosen | macro-AP | minus best | minus calibrated mean | "
    "micro-AP | minus best | minus calibrated mean | holds | CPU s |\n"
    "|---|---|--:|--:|---|--:|---|---|--:|---|---|---|--:|"
)


def main() -> None:
    """Run every set, case and seed asked for."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("real-results"))
    parser.add_argument("--sets", default="fashion,emoji")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--trials", type=int, default=0, help="tuning trials of each fit")
    parser.add_argument("--max-fit", type=int, default=2000, help="images to fit on; 0 = all")
    parser.add_argument("--max-test", type=int, default=0, help="images to test on; 0 = all")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--objective", default=None)
    arguments = parser.parse_args()
    stack: dict[str, object] = {"tuning": {"trials": arguments.trials}, "member_worth": "none"}
    if arguments.objective is not None:
        stack["objective"] = arguments.objective
    caps, kept = (arguments.max_fit, arguments.max_test), []
    print(HEADER, flush=True)
    for name in arguments.sets.split(","):
        settings = load_settings(changes={"stack": stack})
        images, relations = load(arguments.folder, name, arguments.out / name, settings)
        for case in arguments.cases.split(","):
            for seed in map(int, arguments.seeds.split(",")):
                made = parts(images, case, seed, caps)
                if made is None:
                    continue
                own = load_settings(changes={"seed": seed, "stack": stack})
                found = judged(*made, relations, own, arguments.resamples)
                kept.append(found)
                print(line(name, case, seed, found), flush=True)
    fell = sum(not found.holds for found in kept)
    ahead = sum(all(d.low > 0 for d in found.against_mean.values()) for found in kept)
    behind = sum(any(d.high < 0 for d in found.against_mean.values()) for found in kept)
    print(
        f"\n{len(kept)} fits: significantly below the best rung in {fell}; above the calibrated "
        f"mean in both metrics in {ahead}, below it in one in {behind}."
    )


if __name__ == "__main__":
    main()
