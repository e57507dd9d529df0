"""Speed and exactness of the contradiction decoder on a synthetic vocabulary of booru size.

    python benchmarks/decoder.py [--images N] [--check N] [--runs N]

Draws 10,861 tags with some 10,000 implications (a forest of Zipf-sized families with extra
parents) and 300 exclusion groups, a fifth of them guarded, and some 50 candidates an image with
conflicts in nearly every image. Reports for each engine images per second on one thread, and on
how many of ``--check`` images the objective differs from that of a mixed-integer program over the
whole image. The first call of the compiled engine includes compiling, unless its cache is warm.
"""

import argparse
import hashlib
import statistics
import time

import numpy as np
from scipy import sparse

from tagstack.base_models.compilation import can_compile
from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.contradictions.milp import solve_milp
from tagstack.ensemble.contradictions.search import Component, Limit
from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

N_TAGS, N_GROUPS, CANDIDATES = 10_861, 300, 50


def draw_rules(rng: np.random.Generator, vocabulary: Vocabulary) -> Rules:
    """Return rules over the vocabulary; a child's parents always have smaller indices."""
    n_tags = len(vocabulary)
    children = rng.choice(np.arange(200, n_tags), size=8_300, replace=False)
    edges = {(int(c), int(p)) for c in children for p in (int(rng.beta(0.4, 1.6) * c * 0.5),)}
    edges |= {(int(c), int(rng.integers(0, c))) for c in rng.choice(children, size=1_700)}
    tags = vocabulary.tags
    implications = tuple(
        Implication(id=f"i{c}.{p}", tags=(tags[c],), implies=(tags[p],), source="drawn")
        for c, p in sorted(edges)
    )
    ancestors = Rules(implications=implications).bind(vocabulary).ancestors
    above = sparse.csc_array(ancestors.astype(np.int32) + sparse.eye_array(n_tags, dtype=np.int32))
    exclusives: list[Exclusive] = []
    while len(exclusives) < N_GROUPS:
        members = _draw_members(rng, n_tags)
        if above[:, members].sum(axis=1).max() < 2:  # else a tag lies below two members at once
            exclusives.append(_group(rng, vocabulary, members, len(exclusives)))
    return Rules(implications=implications, exclusives=tuple(exclusives))


def _draw_members(rng: np.random.Generator, n_tags: int) -> np.ndarray:
    size = min(2 + int(rng.geometric(0.25)), 20)
    return rng.choice(n_tags, size=size, replace=False)


def _group(
    rng: np.random.Generator, vocabulary: Vocabulary, members: np.ndarray, number: int
) -> Exclusive:
    guard = rng.choice(200, size=2, replace=False)
    guarded = rng.random() < 0.2 and not np.isin(guard, members).any()
    name = vocabulary.tags
    return Exclusive(
        id=f"x{number}",
        tags=tuple(name[i] for i in members),
        source="drawn",
        when=(name[guard[0]],) if guarded else (),
        unless=(name[guard[1]],) if guarded else (),
    )


def popularity(n_tags: int) -> np.ndarray:
    """Return the chance of each tag to be drawn: frequent tags come first, as in a booru."""
    weight: np.ndarray = 1.0 / np.arange(20, n_tags + 20)
    return np.asarray(weight / weight.sum())


def draw_images(rng: np.random.Generator, n_images: int, bound: BoundRules) -> PairProba:
    """Return some ``CANDIDATES`` tags an image above the threshold of 0.35.

    Most are a drawn truth with all it implies, of which one in twelve is scored too low; the
    others are distractors, among them rivals of true tags in their exclusion groups.
    """
    rivals = {tag: rule.tags for rule in bound.exclusives for tag in rule.tags}
    chance, tags, probas = popularity(bound.n_tags), [], []
    for _ in range(n_images):
        true = rng.choice(bound.n_tags, size=CANDIDATES // 2, replace=False, p=chance)
        true = np.union1d(true, bound.ancestors[true].indices)
        against = [rng.choice(rivals[tag]) for tag in true if tag in rivals]
        noise = rng.choice(bound.n_tags, size=CANDIDATES // 6, replace=False, p=chance)
        false = np.setdiff1d(np.concatenate([against, noise]).astype(int), true)
        proba = np.concatenate([rng.beta(4, 1.5, len(true)), rng.beta(3, 4, len(false))])
        tag = np.concatenate([true, false])
        order = np.argsort(tag)
        tags.append(tag[order].astype(np.int32))
        probas.append(proba[order].astype(np.float32))
    indptr = np.concatenate([[0], np.cumsum([len(tag) for tag in tags])]).astype(np.int64)
    pairs = Pairs(indptr=indptr, tag=np.concatenate(tags), n_tags=bound.n_tags)
    base = np.full(bound.n_tags, 1e-4, np.float32)
    return PairProba(pairs=pairs, proba=np.concatenate(probas), base=base)


def whole_image(bound: BoundRules, weight: np.ndarray) -> tuple[Component, list[int]]:
    """Return an image as one component, without any reduction, and the tag of each bit.

    Parameters
    ----------
    bound : BoundRules
        Without at-least-one rules.
    weight : array of shape (n_tags,), float64
        Gain of keeping each tag.
    """
    passed = np.flatnonzero(weight > 0)
    tags = sorted({*passed.tolist(), *bound.ancestors[passed].indices.tolist()})
    bit = {tag: 1 << i for i, tag in enumerate(tags)}
    above = [bit[tag] + sum(bit[a] for a in bound.ancestors[[tag]].indices) for tag in tags]
    limits = []
    for rule in bound.exclusives:
        members, when, unless = (
            sum(bit.get(tag, 0) for tag in part) for part in (rule.tags, rule.when, rule.unless)
        )
        if members.bit_count() > 1 and when.bit_count() == len(rule.when):
            limits.append(Limit(members, when, unless, rule.penalty))
    component = Component(
        weight=tuple(weight[tags].tolist()),
        choices=sum(bit[tag] for tag in passed.tolist()),
        above=tuple(above),
        limits=tuple(limits),
    )
    return component, tags


def differences(
    decoder: Decoder, proba: PairProba, thresholds: np.ndarray, decided: sparse.csr_array
) -> int:
    """Return the number of images on which the solver's objective is another than ours."""
    differing = 0
    for image in range(proba.pairs.n_images):
        one = decoder.evidence(proba.take(np.array([image])), thresholds)
        weight = one.weight_at(np.arange(decoder.rules.n_tags))
        component, tags = whole_image(decoder.rules, weight)
        row = set(decided.indices[decided.indptr[image] : decided.indptr[image + 1]].tolist())
        kept = sum(1 << i for i, tag in enumerate(tags) if tag in row)
        best = solve_milp(component, 10**6)
        differing += not best.exact or abs(component.value(kept) - best.value) > 1e-6
        differing += not row <= set(tags)
    return differing


def seconds_each(decoder: Decoder, proba: PairProba, thresholds: np.ndarray, runs: int) -> float:
    """Return the median CPU time of decoding all images, in seconds."""
    taken = []
    for _ in range(runs):
        started = time.process_time()
        decoder.decode(proba, thresholds)
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def main() -> None:
    """Run the benchmark and print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--check", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary(tuple(f"tag_{i:05d}" for i in range(N_TAGS)), ("general",) * N_TAGS)
    rules = draw_rules(rng, vocabulary)
    started = time.perf_counter()
    bound = rules.bind(vocabulary)
    print(f"bind: {time.perf_counter() - started:.2f} s, {bound.parents.nnz} implications")
    proba = draw_images(rng, arguments.images, bound)
    thresholds = np.full(N_TAGS, 0.35, np.float32)
    passed = proba.proba >= 0.35
    where = proba.pairs.image[passed], proba.pairs.tag[passed]
    shape = (arguments.images, N_TAGS)
    plain = sparse.csr_array((np.ones(passed.sum(), bool), where), shape=shape)
    conflicts = (bound.violations(plain).per_image > 0).mean()
    print(f"candidates: {plain.nnz / arguments.images:.1f} an image")
    print(f"in conflict before: {conflicts:.1%} of images")
    few = proba.take(np.arange(min(arguments.check, arguments.images)))
    for engine in ("python", "numba") if can_compile() else ("python",):
        settings = load_settings(changes={"decoder": {"engine": engine}}).decoder
        decoder = Decoder(bound, settings)
        started = time.perf_counter()
        decided = decoder.decode(proba, thresholds)
        first = time.perf_counter() - started
        left = int(bound.violations(decided).per_image.sum())
        digest = hashlib.sha256(decided.indices.tobytes()).hexdigest()[:12]
        print(f"{engine}: first call {first:.1f} s, rules broken {left}, tags {digest}")
        rate = arguments.images / seconds_each(decoder, proba, thresholds, arguments.runs)
        print(f"{engine}: {rate:,.0f} images a CPU second, median of {arguments.runs} runs")
        differing = differences(decoder, few, thresholds, decided)
        print(f"{engine}: the solver's objective differs on {differing} of {few.pairs.n_images}")


if __name__ == "__main__":
    main()
