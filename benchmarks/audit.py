r"""Hold `tagstack audit` to its promise on images of one's own: false alarms, and what it finds.

Slices that mean nothing are drawn (groups, or single images, get a value by lot), and biases of
known size are planted into one of them; both many times, on the tags that a bundle gives.

    python benchmarks/audit.py --bundle B --scores S --labels L.csv --group title \
        [--where part=test] [--draws 200] [--seed 0]

Prints Markdown tables. A draw is a false alarm if anything at all in it is called sure; at a false
discovery rate of 5 % that should come in no more than 5 of 100 draws.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, logit

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.threads import let_idle_threads_sleep
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.audit.companions import STACK, Companions, companions_of
from tagstack.ensemble.audit.counts import JudgedPairs
from tagstack.ensemble.audit.looks import Resampled
from tagstack.ensemble.audit.shifts import Judging, ShiftedCounts, shifts_of
from tagstack.ensemble.audit.slices import COLUMN, Slice
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import load_bundle
from tagstack.ensemble.bundle.honest_ground import HonestGround, ground_of
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.progress import Silent
from tagstack.meta.metrics.bootstrap import Weightings
from tagstack.meta.metrics.counts import canonical

SHARES = (0.4, 0.3, 0.2, 0.1)  # of the values that are drawn
LOSSES, MOVES, COMPANY = (0.05, 0.1, 0.2), (0.25, 0.5, 1.0), (0.1, 0.3, 0.6)
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What is audited over and over."""

    bundle: Bundle
    ground: HonestGround
    decided: sparse.csr_array
    settings: Settings

    @property
    def groups(self) -> NDArray[np.int64]:
        """Group of each image."""
        return self.ground.dataset.groups

    def judged(self, decided: sparse.csr_array, proba: PairProba | None = None) -> JudgedPairs:
        """Return the judged pairs of some decisions."""
        own = self.ground.dataset
        return JudgedPairs.of(proba or self.ground.proba, decided, own.labels, own.unknown)

    def resampled(self, slices: tuple[Slice, ...], judged: JudgedPairs, seed: int) -> Resampled:
        """Return the slices' figures on resamples of this seed."""
        resamples = self.settings.compare.resamples
        weightings = Weightings(self.groups, resamples=resamples, seed=seed)
        return Resampled.of(slices, judged, self.groups, weightings)

    def steps(self, proba: PairProba, *, ruled: bool) -> ShiftedCounts:
        """Return what each step of the thresholds gives."""
        own, cutting = self.ground.dataset, self.bundle.thresholds.cutting
        decoder = decoder_of(self.bundle)
        return ShiftedCounts.of(
            cutting,
            proba,
            lambda cut: cut.decoded(proba, decoder) if ruled else cut.decided(proba),
            own.labels,
            own.unknown,
            shifts=self.settings.audit.shifts,
            told=lambda done, total: None,
        )

    def judging(self, seed: int) -> Judging:
        """Return how steps are judged."""
        compare = self.settings.compare
        return Judging(
            folds=self.settings.audit.folds,
            resamples=compare.resamples,
            seed=seed,
            beta=compare.beta,
            confidence=compare.confidence,
            false_discovery_rate=compare.false_discovery_rate,
        )

    def companions(self, given: sparse.csr_array) -> Companions:
        """Return the companions among some decisions."""
        own, compare = self.ground.dataset, self.settings.compare
        return companions_of(
            {STACK: given},
            own.labels,
            own.unknown,
            own.groups,
            own.scores.vocabulary,
            fewest_wrong=self.settings.audit.fewest_wrong,
            confidence=compare.confidence,
            false_discovery_rate=compare.false_discovery_rate,
        )


def decoder_of(bundle: Bundle) -> Decoder:
    """Return the decoder of a bundle's rules."""
    return Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)


def drawn_slices(groups: NDArray[np.int64], seed: int, *, whole: bool) -> tuple[Slice, ...]:
    """Return slices by lot: of whole groups, or of images whatever their group."""
    own = np.unique(groups, return_inverse=True)[1] if whole else np.arange(len(groups))
    rng = np.random.default_rng(seed)
    values = rng.choice(len(SHARES), size=int(own.max()) + 1, p=SHARES)[own]
    return tuple(
        Slice(kind=COLUMN, column="lot", value=str(i), images=values == i)
        for i in range(len(SHARES))
    )


def false_alarms(material: Material, n_draws: int, seed: int) -> Iterator[str]:
    """Yield the table of alarms where nothing is to be found."""
    judged = material.judged(material.decided)
    steps = material.steps(material.ground.proba, ruled=True)
    able = {"confidence": 0.95, "least_groups": material.settings.audit.least_groups}
    yield "| slices by lot | any figure | of 20 figures | any of 5 disparities | any proposal |"
    yield "|---|--:|--:|--:|--:|"
    for whole, name in ((True, "groups"), (False, "images")):
        rows = []
        for draw in range(n_draws):
            slices = drawn_slices(material.groups, seed + draw, whole=whole)
            own = material.resampled(slices, judged, seed + draw)
            sure = [look.sure for look in own.looks(false_discovery_rate=0.05, **able)]
            apart = [one.low > 0 for one in own.disparities(**able)]
            shifts = shifts_of(slices, steps, material.groups, material.judging(seed + draw))
            proposed = any(one.helps for one in shifts)
            rows.append((any(sure), float(np.mean(sure)), any(apart), proposed))
        shares = np.mean(np.array(rows, float), axis=0)
        yield f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |"


def planted(material: Material, n_draws: int, seed: int) -> Iterator[str]:
    """Yield the table of biases that were planted into a tenth and three tenths of the groups."""
    yield "| planted into a slice | of 10 % of the groups | of 30 % |"
    yield "|---|--:|--:|"
    for loss in LOSSES:
        yield _row(f"{loss:.0%} of its tags are lost", material, n_draws, seed, loss)
    for move in MOVES:
        yield _moved_row(material, max(n_draws // 10, 5), seed, move)


def _row(title: str, material: Material, n_draws: int, seed: int, loss: float) -> str:
    found = {1: 0, 3: 0}
    for draw in range(n_draws):
        slices = drawn_slices(material.groups, seed + draw, whole=True)
        for at in found:
            images = slices[at].images
            assert images is not None
            judged = material.judged(_lost(material.decided, images, loss, seed + draw))
            looks = material.resampled(slices, judged, seed + draw).looks(
                confidence=0.95,
                false_discovery_rate=0.05,
                least_groups=material.settings.audit.least_groups,
            )
            found[at] += any(x.sure and (x.value, x.figure) == (str(at), "recall") for x in looks)
    return (
        f"| {title}: its recall is called | {found[3] / n_draws:.2f} | {found[1] / n_draws:.2f} |"
    )


def _moved_row(material: Material, n_draws: int, seed: int, move: float) -> str:
    """Return how often thresholds are proposed where probabilities are too high by log-odds."""
    found = {1: 0, 3: 0}
    for draw in range(n_draws):
        slices = drawn_slices(material.groups, seed + draw, whole=True)
        for at in found:
            images = slices[at].images
            assert images is not None
            proba = _moved(material.ground.proba, images, move)
            steps = material.steps(proba, ruled=False)
            shifts = shifts_of(slices, steps, material.groups, material.judging(seed + draw))
            found[at] += any(one.helps and one.value == str(at) for one in shifts)
    title = f"log-odds too high by {move:g}: thresholds are proposed ({n_draws} draws)"
    return f"| {title} | {found[3] / n_draws:.2f} | {found[1] / n_draws:.2f} |"


def _lost(decided: sparse.csr_array, images: Bools, loss: float, seed: int) -> sparse.csr_array:
    own = sparse.coo_array(decided)
    kept = ~(images[own.row] & (np.random.default_rng(seed).random(own.nnz) < loss))
    place = own.row[kept], own.col[kept]
    return sparse.csr_array((np.ones(kept.sum(), bool), place), shape=own.shape)


def _moved(proba: PairProba, images: Bools, move: float) -> PairProba:
    inside = images[proba.pairs.image]
    log_odds = logit(np.clip(proba.proba.astype(np.float64), 1e-7, 1 - 1e-7)) + move * inside
    return replace(proba, proba=expit(log_odds).astype(np.float32))


def company(material: Material, n_draws: int, seed: int) -> Iterator[str]:
    """Yield the table of companions: by chance, and planted."""
    own = material.ground.dataset
    truth, open_ = canonical(own.labels), canonical(own.unknown)
    wrong = sparse.csc_array(canonical(material.decided > (truth + open_)))
    rng = np.random.default_rng(seed)
    by_chance = 0
    for _ in range(n_draws):
        by_chance += bool(material.companions(_scattered(truth, wrong, rng)).found)
    yield "| companions | share of draws |"
    yield "|---|--:|"
    title = "wrong tags scattered over images that lack them: any pair is called"
    yield f"| {title} | {by_chance / n_draws:.3f} |"
    counts = truth.sum(axis=0)
    common = np.flatnonzero((counts >= 30) & (counts <= truth.shape[0] // 2))
    for share in COMPANY:
        found = tested = 0
        for _ in range(n_draws if len(common) > 1 else 0):
            a, b = rng.choice(common, 2, replace=False)
            given = _scattered(truth, wrong, rng).tolil()
            held, tag = truth[:, [a]].toarray().ravel(), truth[:, [b]].toarray().ravel()
            free = np.flatnonzero(held & ~tag)
            given[free[rng.random(len(free)) < share], b] = True
            met = material.companions(sparse.csr_array(given)).found
            names = own.scores.vocabulary.tags
            found += any((one.company, one.tag) == (names[a], names[b]) for one in met)
            tested += 1
        title = (
            f"a tag is given on {share:.0%} of the images that hold another: that pair is called"
        )
        yield f"| {title} | {found / max(tested, 1):.2f} |"


def _scattered(
    truth: sparse.csr_array, wrong: sparse.csc_array, rng: np.random.Generator
) -> sparse.csr_array:
    """Return what is true with as many wrong tags as before, each on images by lot."""
    held = sparse.csc_array(truth)
    rows, columns = [], []
    for tag, n_wrong in enumerate(np.diff(wrong.indptr).tolist()):
        if n_wrong:
            own = held.indices[held.indptr[tag] : held.indptr[tag + 1]]
            free = np.setdiff1d(np.arange(truth.shape[0]), own)
            rows.append(rng.choice(free, min(n_wrong, len(free)), replace=False))
            columns.append(np.full(len(rows[-1]), tag))
    if not rows:
        return truth
    place = np.concatenate(rows), np.concatenate(columns)
    chance = sparse.csr_array((np.ones(len(place[0]), bool), place), shape=truth.shape)
    return canonical(sparse.csr_array(truth + chance))


def main() -> None:
    """Print the tables of one bundle and its labelled images."""
    let_idle_threads_sleep()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bundle", "scores", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--where")
    parser.add_argument("--group")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    own = parser.parse_args()
    source = DatasetSource(scores=own.scores, labels=own.labels, where=own.where, group=own.group)
    bundle = load_bundle(own.bundle)
    ground = ground_of(own.bundle, source, bundle, Silent())
    decided = bundle.thresholds.cutting.decoded(ground.proba, decoder_of(bundle))
    material = Material(bundle=bundle, ground=ground, decided=decided, settings=load_settings())
    n_groups = len(np.unique(material.groups))
    print(
        f"\n{ground.dataset.scores.n_images} images in {n_groups} groups, {decided.nnz} tags "
        f"given, {own.draws} draws, seed {own.seed}\n"
    )
    for table in (false_alarms, planted, company):
        for line in table(material, own.draws, own.seed):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
