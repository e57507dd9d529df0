"""Synthetic level-1 scores of a large tag vocabulary, as sparse as those of real taggers.

Drawn from a vocabulary with its counts (a ``selected_tags.csv``) or from a Zipf vocabulary of the
same size. Images have latent themes that make tags occur together, so that context matters; some
tags imply others and some exclude each other; members see the same evidence through correlated
noise, know each tag differently well, are miscalibrated and lack some tags.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, logit

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.meta.labels.relations import TagRelations

Floats = NDArray[np.float32]

CATEGORIES = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "9": "rating"}
N_TAGS = 10_861  # of the WD v3 taggers
TRUE_TAGS = 30.0  # of an image, on average over the whole vocabulary
THEMES = 24
FEATURE_AXES = 1_500
FLOOR = np.float32(logit(1e-4))
_HELD_PAIRS = 1_000_000  # that are drawn before they go to disk
CELLS = 5_430_500  # of images drawn together, by tags: bounds the dense arrays to some dozen MiB

# Pairs of each image, tags, logits and labels of some images.
Drawn: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int32], Floats, sparse.csr_array]


@dataclass(frozen=True)
class LabelledScores:
    """Scores, labels of shape (n_images, n_tags), and relations of the tags."""

    scores: Level1Scores
    labels: sparse.csr_array
    relations: TagRelations

    def take(self, images: NDArray[np.intp]) -> "LabelledScores":
        """Return the images at these indices."""
        return LabelledScores(self.scores.take(images), self.labels[images], self.relations)


def with_features(data: LabelledScores, n_columns: int, seed: int) -> LabelledScores:
    """Return the same images with features that their labels show in, in as many columns.

    Axes narrow as fast as those of small networks on photographs: 512 of 2,000 hold 98 % or so.
    """
    rng, n_axes = np.random.default_rng(seed), min(n_columns, FEATURE_AXES)
    n_images, n_tags = data.labels.shape
    shown = data.labels @ rng.standard_normal((n_tags, n_axes), np.float32) / np.sqrt(TRUE_TAGS)
    shown += rng.standard_normal((n_images, n_axes), np.float32)
    shown *= (1.0 / np.sqrt(1.0 + np.arange(n_axes))).astype(np.float32)
    columns = shown @ rng.standard_normal((n_axes, n_columns), np.float32)
    parts = np.array_split(columns.astype(np.float16), len(data.scores.members), axis=1)
    return replace(data, scores=replace(data.scores, features=tuple(parts)))


def vocabulary_and_shares(file: Path | None, n_tags: int) -> tuple[Vocabulary, Floats]:
    """Return the ``n_tags`` most frequent tags and the share of images that carries each."""
    if file is None:
        counts = 1.0 / np.arange(3, max(N_TAGS, n_tags) + 3)
        shares = counts / counts.sum() * TRUE_TAGS
        rows = [(f"tag_{i:05d}", "4" if i % 4 == 3 else "0", s) for i, s in enumerate(shares)]
    else:
        with file.open(encoding="utf-8", newline="") as handle:
            read = [(r["name"], r["category"], float(r["count"])) for r in csv.DictReader(handle)]
        # Every image has exactly one rating.
        total = sum(count for _, category, count in read if category == "9")
        total = total or sum(count for _, _, count in read) / TRUE_TAGS
        rows = [(name, category, count / total) for name, category, count in read]
    rows = sorted(rows, key=lambda row: -row[2])[:n_tags]
    names = tuple(name for name, _, _ in rows)
    categories = tuple(CATEGORIES.get(category, "general") for _, category, _ in rows)
    return Vocabulary(names, categories), np.array([share for _, _, share in rows], np.float32)


class ScoreDrawer:
    """Draws labelled scores; the same arguments draw the same.

    Parameters
    ----------
    vocabulary : Vocabulary
    shares : array of shape (n_tags,), float32, in (0, 1)
    n_members : int
    seed : int
    pairs_per_image : float
        Pairs that reach a member's floor in an image, about.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        shares: Floats,
        n_members: int,
        seed: int,
        pairs_per_image: float,
    ) -> None:
        self.vocabulary, self.n_tags, self.n_members = vocabulary, len(shares), n_members
        self.rng = rng = np.random.default_rng(seed)
        self.shares = shares
        loadings = rng.normal(size=(THEMES, self.n_tags)) * (
            rng.random((THEMES, self.n_tags)) < 0.15
        )
        self.loadings = loadings.astype(np.float32)
        self.intercept = _intercepts(shares, np.sqrt((loadings**2).sum(axis=0)))
        self.false_per_true = max(pairs_per_image / float(shares.sum()) - 1.0, 0.5)
        self.relations = _relations(rng, self.n_tags)
        self._draw_members()

    def _draw_members(self) -> None:
        rng, shape = self.rng, (self.n_members, self.n_tags)
        numbers = np.unique(np.array(self.vocabulary.categories), return_inverse=True)[1]
        clarity = rng.uniform(0.3, 1.1, self.n_tags)
        skill = np.linspace(1.1, 0.8, self.n_members)[:, None]
        of_category = rng.lognormal(0, 0.15, (self.n_members, numbers.max() + 1))[:, numbers]
        self.clarity = (clarity * skill * of_category * rng.lognormal(0, 0.3, shape)).astype("f4")
        self.slope = rng.lognormal(0, 0.2, shape).astype("f4")
        self.shift = rng.normal(0, 0.7, shape).astype("f4")
        lacking = np.linspace(0.0, 0.2, self.n_members)[:, None]
        self.knows = rng.random(shape) >= lacking
        self.knows[0] = True

    def draw(self, n_images: int, spill: Spill = IN_MEMORY) -> LabelledScores:
        """Return ``n_images`` images with their labels; ``spill`` says where the logits lie."""
        parts = list(self._parts(n_images, spill))
        counts = np.concatenate([count for count, _, _, _ in parts])
        true = sparse.vstack([labels for _, _, _, labels in parts], format="csr")
        logit = spill.empty((self.n_members, int(counts.sum())), np.float32)
        end = 0
        for _, _, values, _ in parts:
            logit[:, end : end + values.shape[1]] = values
            end += values.shape[1]
            spill.let_go()
        scores = Level1Scores(
            images=tuple(f"{i:06d}.png" for i in range(n_images)),
            vocabulary=self.vocabulary,
            members=tuple(f"member_{m}" for m in range(self.n_members)),
            knows=self.knows,
            floor=np.full(self.n_members, FLOOR, np.float32),
            pairs=Pairs(
                indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
                tag=np.concatenate([tag for _, tag, _, _ in parts]),
                n_tags=self.n_tags,
            ),
            logit=logit,
        )
        return LabelledScores(scores, sparse.csr_array(true), self.relations)

    def _parts(self, n_images: int, spill: Spill) -> Iterator[Drawn]:
        """Yield what `_chunks` does, many together; the logits lie where ``spill`` says."""
        held: list[Drawn] = []
        for chunk in self._chunks(n_images):
            held.append(chunk)
            if sum(len(tag) for _, tag, _, _ in held) >= _HELD_PAIRS:
                yield _together(held, spill)
                held = []
        if held:
            yield _together(held, spill)

    def _chunks(self, n_images: int) -> Iterator[Drawn]:
        """Yield pairs per image, tags, logits and labels of some images after the other."""
        at_once = max(1, CELLS // max(N_TAGS, self.n_tags))
        for start in range(0, n_images, at_once):
            n = min(at_once, n_images - start)
            themes = self.rng.normal(size=(n, THEMES)).astype(np.float32)
            pull = themes @ self.loadings
            proba = expit(pull + self.intercept)
            truth = self.rng.random(proba.shape, np.float32) < proba
            self._obey_relations(truth)
            # Members confuse an image's tags with what fits its themes, not with any tag at all.
            plausible = self.rng.random(proba.shape, np.float32) < self.false_per_true * proba
            image, tag = np.nonzero(truth | plausible)
            values = self._logits(truth[image, tag], pull[image, tag], tag)
            kept = (np.nan_to_num(values, nan=float(FLOOR)) > FLOOR).any(axis=0)
            counts = np.bincount(image[kept], minlength=n)
            yield counts, tag[kept].astype(np.int32), values[:, kept], sparse.csr_array(truth)

    def _obey_relations(self, truth: NDArray[np.bool_]) -> None:
        children, parents = self.relations.parents.nonzero()
        for child, parent in zip(children, parents, strict=True):
            truth[:, parent] |= truth[:, child]
        for group in self.relations.groups:
            own = truth[:, list(group)]
            own &= np.cumsum(own, axis=1) == 1
            truth[:, list(group)] = own

    def _logits(self, true: NDArray[np.bool_], pull: Floats, tag: NDArray[np.intp]) -> Floats:
        """Return each member's logit of the pairs, shape (n_members, n_pairs)."""
        shared = self.rng.standard_normal(len(tag), np.float32)
        side = np.where(true, 1.0, -1.0).astype(np.float32)
        odds = np.float32(-np.log(self.false_per_true))
        values = np.empty((self.n_members, len(tag)), np.float32)
        for m in range(self.n_members):
            own = self.rng.standard_normal(len(tag), np.float32)
            clarity = self.clarity[m, tag]
            seen = 2 * clarity * (clarity * side + 0.8 * shared + 0.6 * own)
            believed = odds + 0.3 * pull + seen
            logit_of = self.shift[m, tag] + self.slope[m, tag] * believed
            stored = np.maximum(logit_of, FLOOR).astype(np.float16).astype(np.float32)
            values[m] = np.where(self.knows[m, tag], np.maximum(stored, FLOOR), np.nan)
        return values


def _together(parts: list[Drawn], spill: Spill) -> Drawn:
    counts, tags, values, labels = zip(*parts, strict=True)
    logit = spill.held(np.concatenate(values, axis=1))
    return (
        np.concatenate(counts),
        np.concatenate(tags),
        logit,
        sparse.csr_array(sparse.vstack(labels, format="csr")),
    )


def _intercepts(shares: Floats, spread: NDArray[np.float64]) -> Floats:
    """Return what makes each tag as frequent as its share, themes being normal of this spread."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(21)
    low, high = np.full(len(shares), -40.0), np.full(len(shares), 20.0)
    for _ in range(50):
        middle = (low + high) / 2
        mean = expit(middle[:, None] + spread[:, None] * nodes) @ weights / weights.sum()
        low, high = np.where(mean < shares, middle, low), np.where(mean < shares, high, middle)
    found: Floats = ((low + high) / 2).astype(np.float32)
    return found


def _relations(rng: np.random.Generator, n_tags: int) -> TagRelations:
    """Return implications from rarer to commoner tags, and groups of neighbours in frequency."""
    children = rng.choice(np.arange(n_tags // 10, n_tags), n_tags // 8, replace=False)
    parents = (children * rng.uniform(0.1, 0.9, len(children))).astype(int)
    ones = np.ones(len(children), bool)
    starts = rng.choice(n_tags // 12, n_tags // 60, replace=False) * 12
    groups = tuple(tuple(range(s, s + 12, 2)) for s in map(int, np.sort(starts)))
    shape = (n_tags, n_tags)
    return TagRelations(sparse.csr_array((ones, (children, parents)), shape=shape), groups)
