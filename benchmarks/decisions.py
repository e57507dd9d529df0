"""What decisions could still gain: the frontier of both F1, hopeless tags, and rivals of a group.

    python benchmarks/decisions.py BUNDLE --scores SCORES --labels LABELS [--group COLUMN]
        [--shares 0,.1,.2,.3,.4,.5,.65,.8,1] [--fbr 0,.05,.1,.2] [--seed 0]

The bundle must have been fitted on the label rows ``part=fit``; rows ``part=test`` judge. Printed,
all after the rules on those:

- macro- and micro-F1 of ``joint_f`` thresholds from the bundle's out-of-fold probabilities, for
  every share that macro-F1 has (``thresholds.macro_share``);
- the same for floors of hopeless tags (``thresholds.fbr``) at the default share;
- a bound of what is left among rivals of plain groups (at most one of them, no condition): a cut
  for every tag, and where tags compete a step for every tag as well, are raised by coordinate
  ascent on one half of the judging groups and judged on the other. Once all tags above their cuts
  stay ("free"), once the best of a group alone ("exclusive"). It fits hundreds of numbers to a few
  hundred images: it is what labels of the judging kind would give, not what a fit can promise.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.ensemble.bundle.files import load_bundle, out_of_fold_of
from tagstack.ensemble.bundle.honest_ground import HonestGround, honest_ground
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.ensemble.rules.hygiene import canonical_names
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.labels.truth import without_unknown
from tagstack.meta.metrics.decision_scores import decision_scores

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STEPS = np.arange(-2.0, 2.01, 0.25)  # log-odds that a cut or a step is moved by
PASSES = 3


class Judged:
    """The judging images, and thresholds fitted on the bundle's own."""

    def __init__(self, bundle: Bundle, test: Dataset, fit: HonestGround, seed: int) -> None:
        self.bundle, self.test, self.fit = bundle, test, fit
        self.proba = bundle.stacker.predict_proba(test.scores)
        self._seen = without_unknown(fit.proba, fit.dataset.unknown)
        labels, groups = fit.dataset.labels, fit.dataset.groups
        self._folds = stratified_group_folds(labels, groups, 5, seed)
        self.rules = bundle.rules.bind(bundle.vocabulary)
        self.decoder = Decoder(self.rules, bundle.settings.decoder)

    def row(self, title: str, settings: ThresholdSettings) -> None:
        """Print what thresholds of some settings give."""
        found = fit_thresholds(
            self._seen, self.fit.dataset.labels, self.bundle.vocabulary, self._folds, settings,
            self.decoder, groups=self.fit.dataset.groups,
        )  # fmt: skip
        decided = found.cutting.decoded(self.proba, self.decoder)
        score = decision_scores(decided, self.test.labels, beta=1.0)
        never = int(np.isinf(found.value).sum())
        each = decided.nnz / self.test.scores.n_images
        print(
            f"| {title} | {float(score.macro_f):.3f} | {float(score.micro_f):.3f} | {each:.2f} "
            f"| {never} |",
            flush=True,
        )


class Rivals:
    """Tags of plain groups on some images, decided by cuts and steps of each tag.

    Parameters
    ----------
    margin : array of shape (n_images, n_tags), float64
        Log-odds of the probability less those of the fitted threshold.
    labels : array of shape (n_images, n_tags), bool
    groups : sequence of arrays of int
        Tags of which one stays; none is in two.
    exclusive : bool
    """

    def __init__(
        self, margin: Floats, labels: Bools, groups: Sequence[NDArray[np.intp]], *, exclusive: bool
    ) -> None:
        self.margin, self.labels, self.exclusive = margin, labels, exclusive
        n_tags = margin.shape[1]
        alone = np.setdiff1d(np.arange(n_tags), np.concatenate([*groups, []]).astype(int))
        self.parts = [*groups, *(np.array([tag]) for tag in alone)]
        self.cut, self.step = np.zeros(n_tags), np.zeros(n_tags)

    def decided(self, images: NDArray[np.intp], tags: NDArray[np.intp]) -> Bools:
        """Return what some images get of the tags of one part, shape (n_images, n_own)."""
        margin = self.margin[np.ix_(images, tags)] - self.cut[tags]
        passing = margin >= 0
        if not self.exclusive or len(tags) == 1:
            return np.asarray(passing)
        rank = np.where(passing, margin + self.step[tags], -np.inf)
        best = rank.argmax(axis=1)[:, None] == np.arange(len(tags))
        return np.asarray(best & passing)

    def raise_on(self, images: NDArray[np.intp]) -> None:
        """Raise the sum of both F1 on some images, one number after the other."""
        counts = self._counts(images)
        for _ in range(PASSES):
            for tags in self.parts:
                part = self.margin[np.ix_(images, tags)], self.labels[np.ix_(images, tags)]
                alone = len(tags) == 1 or not self.exclusive
                for number in range(len(tags)):
                    for knob in (self.cut,) if alone else (self.cut, self.step):
                        self._move(knob, number, tags, *part, counts)

    def _move(
        self,
        knob: Floats,
        number: int,
        tags: NDArray[np.intp],
        margin: Floats,
        true: Bools,
        counts: Floats,
    ) -> None:
        """Move one number of one tag of a part to where the sum of both F1 is highest.

        Only whether this tag stays changes, and where it does, the best of the others goes.
        """
        tag, before, best = tags[number], knob[tags[number]], -np.inf
        found = (0.0, counts[:, tags])
        strongest, its_rank = self._others(number, tags, margin)
        # Nothing moved comes first: a tie keeps it.
        for step in sorted(STEPS, key=abs):
            knob[tag] = before + step
            own = counts[:, tags].copy()
            above = margin[:, number] - self.cut[tag]
            stays = above >= 0
            if len(tags) > 1 and self.exclusive:
                rank = above + self.step[tag]
                stays &= (rank > its_rank) | ((rank == its_rank) & (number < strongest))
                kept = ~stays & np.isfinite(its_rank)
                given = strongest[kept]
                own[1] = np.bincount(given, minlength=len(tags))
                own[0] = np.bincount(given[true[kept, given]], minlength=len(tags))
            own[:2, number] = (stays & true[:, number]).sum(), stays.sum()
            trial = counts.copy()
            trial[:, tags] = own
            score = sum(f_scores(trial))
            if score > best + 1e-9:
                best, found = score, (step, own)
        knob[tag] = before + found[0]
        counts[:, tags] = found[1]

    def _others(
        self, number: int, tags: NDArray[np.intp], margin: Floats
    ) -> tuple[NDArray[np.intp], Floats]:
        """Return the best of a part's other tags in each image and its rank, -inf for none."""
        above = margin - self.cut[tags]
        rank = np.where(above >= 0, above + self.step[tags], -np.inf)
        rank[:, number] = -np.inf
        strongest = rank.argmax(axis=1)
        return strongest, rank[np.arange(len(rank)), strongest]

    def _of(self, images: NDArray[np.intp], tags: NDArray[np.intp]) -> Floats:
        """Return hits, predicted and positives of the tags of one part, shape (3, n_own)."""
        given, true = self.decided(images, tags), self.labels[np.ix_(images, tags)]
        return np.stack([(given & true).sum(0), given.sum(0), true.sum(0)]).astype(float)

    def _counts(self, images: NDArray[np.intp]) -> Floats:
        counts = np.zeros((3, self.margin.shape[1]))
        for tags in self.parts:
            counts[:, tags] = self._of(images, tags)
        return counts

    def counts(self, images: NDArray[np.intp]) -> Floats:
        """Return hits, predicted and positives of every tag, shape (3, n_tags)."""
        return self._counts(images)


def f_scores(counts: Floats) -> tuple[float, float]:
    """Return macro-F1, of tags with a positive, and micro-F1."""
    hits, given, true = counts
    each = 2 * hits / np.maximum(given + true, 1)
    micro = 2 * hits.sum() / max(given.sum() + true.sum(), 1)
    return float(each[true > 0].mean()), float(micro)


def plain_groups(rules: BoundRules) -> Iterator[NDArray[np.intp]]:
    """Yield the tags of hard groups without conditions, the largest first, each tag once."""
    taken: set[int] = set()
    for rule in sorted(rules.exclusives, key=lambda one: -len(one.tags)):
        tags = [tag for tag in rule.tags if tag not in taken]
        plain = not rule.when and not rule.unless and np.isinf(rule.penalty)
        if plain and len(tags) > 1:
            taken.update(tags)
            yield np.array(tags)


def bound(judged: Judged, seed: int) -> None:
    """Print what cuts and steps of one half of the groups give on the other, both ways."""
    shape = judged.test.labels.shape
    proba = np.broadcast_to(judged.proba.base, shape).astype(np.float64)
    pairs = judged.proba.pairs
    proba[pairs.image, pairs.tag] = judged.proba.proba
    proba = np.clip(np.nan_to_num(proba), 1e-9, 1 - 1e-9)
    value = np.clip(judged.bundle.thresholds.value.astype(np.float64), 1e-9, 1 - 1e-9)
    margin, labels = logit(proba) - logit(value), judged.test.labels.toarray()
    names, number = np.unique(judged.test.groups, return_inverse=True)
    half = np.random.default_rng(seed).permutation(len(names)) % 2
    halves = [np.flatnonzero(half[number] == side) for side in (0, 1)]
    groups = list(plain_groups(judged.rules))
    print(f"\n{len(groups)} plain groups of {sum(map(len, groups))} tags; halves of the judging "
          f"groups, seed {seed}\n")  # fmt: skip
    print("| | macro-F1 | micro-F1 |\n|---|--:|--:|")
    for title, exclusive in (("free", False), ("exclusive", True)):
        for raised in (False, True):
            total = np.zeros((3, shape[1]))
            for own, other in (halves, halves[::-1]):
                rivals = Rivals(margin, labels, groups, exclusive=exclusive)
                if raised:
                    rivals.raise_on(own)
                total += rivals.counts(other)
            macro, micro = f_scores(total)
            how = "raised on the other half" if raised else "as fitted"
            print(f"| {title}, {how} | {macro:.3f} | {micro:.3f} |", flush=True)


def numbers(text: str) -> list[float]:
    """Return the numbers of a list with commas."""
    return [float(one) for one in text.split(",") if one]


def main() -> None:
    """Print three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--group")
    parser.add_argument("--shares", type=numbers, default="0,.1,.2,.3,.4,.5,.65,.8,1")
    parser.add_argument("--fbr", type=numbers, default="0,.05,.1,.2")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bundle = load_bundle(args.bundle)

    def source(part: str) -> DatasetSource:
        where = f"part={part}"
        return DatasetSource(scores=args.scores, labels=args.labels, where=where, group=args.group)

    test = load_dataset(
        source("test"),
        aliases=canonical_names(bundle.rules.aliases),
        groups=bundle.rules.groups,
        labels=bundle.settings.labels,
        bundle=bundle,
    )
    fit = honest_ground(bundle, out_of_fold_of(args.bundle), source("fit"), Silent())
    judged = Judged(bundle, test, fit, args.seed)
    plain = load_settings().thresholds
    true = test.labels.nnz / test.scores.n_images
    print(f"{test.scores.n_images} images in {len(np.unique(test.groups))} groups, "
          f"{len(bundle.vocabulary)} tags, {true:.2f} true an image, rung "
          f"{bundle.stacker.chosen_}\n")  # fmt: skip
    head = "macro-F1 | micro-F1 | tags an image | never given |\n|---|--:|--:|--:|--:|"
    if args.shares:
        print(f"| macro_share | {head}")
        for share in args.shares:
            changes = {"strategy": "joint_f", "macro_share": share}
            judged.row(f"{share:g}", plain.model_copy(update=changes))
    if args.fbr:
        print(f"\n| fbr | {head}")
        for floor in args.fbr:
            judged.row(f"{floor:g}", plain.model_copy(update={"strategy": "joint_f", "fbr": floor}))
    bound(judged, args.seed)


if __name__ == "__main__":
    main()
