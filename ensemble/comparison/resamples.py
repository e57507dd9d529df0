"""One pass over the resamples: every rung, every set of tags, every slice of the images."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.comparing import CompareSettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.comparison.evaluator import Evaluated, Evaluator, Scope
from tagstack.ensemble.comparison.rungs import Rung, shared_tags
from tagstack.meta.labels.truth import positives_per_tag
from tagstack.meta.learners.workers import done_apart
from tagstack.meta.metrics.bootstrap import Weightings, groups_behind
from tagstack.meta.metrics.counts import canonical

ALL, SHARED, SUPPORTED = "all", "shared", "supported"
OTHERS = "other values"

Samples = Mapping[tuple[str, str], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Telling:
    """How many groups of one size would tell as much of some tags on some images.

    Parameters
    ----------
    groups : float
        By the pairs that hold or are given.
    differing : float
        By the pairs on which the decisions of two rungs differ.
    """

    groups: float
    differing: float

    @classmethod
    def of(
        cls,
        ours: sparse.csr_array,
        theirs: sparse.csr_array,
        labels: sparse.csr_array,
        groups: NDArray[np.integer],
        tags: NDArray[np.bool_] | None = None,
    ) -> "Telling":
        """Return it for two rungs' decisions, csr_arrays of shape (n_images, n_tags), bool."""
        chosen = np.ones(labels.shape[1]) if tags is None else tags.astype(np.float64)

        def effective(pairs: sparse.csr_array) -> float:
            return groups_behind(sparse.csr_array(pairs.astype(np.float64)) @ chosen, groups)

        one, two = canonical(ours, labels.shape), canonical(theirs, labels.shape)
        return cls(
            groups=effective(sparse.csr_array(one + two + canonical(labels))),
            differing=effective(sparse.csr_array(one != two)),
        )

    def freedom(self, score: str, *, paired: bool) -> float:
        """Return the degrees of freedom of a score, or of a difference of two, of the same pairs.

        Decisions differ where they differ; a ranking may differ anywhere.
        """
        decided = paired and not score.endswith("_ap")
        return (self.differing if decided else self.groups) - 1


@dataclass(frozen=True, kw_only=True)
class PartSamples:
    """Resampled scores of the reference and its rival on some tags or some images."""

    kind: str
    key: str
    title: str
    n_tags: int
    n_images: int
    ours: Samples
    theirs: Samples
    telling: "Telling"


@dataclass(frozen=True, kw_only=True)
class Resamples:
    """Scores on the sample itself (first value) and on each resample.

    Parameters
    ----------
    scores : mapping of rung name to mapping of (scope key, score name) to values
        Values have shape (1 + n_resamples,), float64.
    parts : tuple of PartSamples
    labelled : array of shape (n_labelled_tags,), int64
        The tags that have a positive.
    tag_f : mapping of rung name to array of shape (n_labelled_tags, 1 + n_resamples), float32
        Of the reference and its rival, and of those tags.
    tag_ap : mapping of rung name to array of shape (n_tags,), float64
        On the sample itself.
    """

    scores: Mapping[str, Samples]
    parts: tuple[PartSamples, ...]
    labelled: NDArray[np.int64]
    tag_f: Mapping[str, NDArray[np.float32]]
    tag_ap: Mapping[str, NDArray[np.float64]]


def tag_scopes(
    rungs: Sequence[Rung],
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    settings: CompareSettings,
) -> tuple[Scope, ...]:
    """Return the sets of tags to score: the vocabularies, each category, each frequency band."""
    positives = positives_per_tag(labels)
    shared = shared_tags(rungs)
    scopes = [
        Scope(
            key=ALL,
            kind="vocabulary",
            title="all tags: the union",
            tags=np.ones(len(vocabulary), bool),
            whole=True,
        ),
        Scope(
            key=SUPPORTED,
            kind="vocabulary",
            title=f"tags with at least {settings.min_positives} positives",
            tags=positives >= settings.min_positives,
        ),
    ]
    if not shared.all():
        title = "tags that every rung knows: the intersection"
        scopes.append(
            Scope(key=SHARED, kind="vocabulary", title=title, tags=shared, whole=bool(shared.any()))
        )
    return (*scopes, *_categories(vocabulary), *_bands(positives, settings.frequency_bands))


def resample(
    rungs: Sequence[Rung],
    labels: sparse.csr_array,
    groups: NDArray[np.integer],
    scopes: tuple[Scope, ...],
    slices: Mapping[str, Sequence[str]],
    *,
    pair: tuple[Rung, Rung],
    settings: CompareSettings,
    seed: int,
) -> Resamples:
    """Return the scores of all rungs under the same resamples.

    Parameters
    ----------
    rungs : sequence of Rung
    labels : csr_array of shape (n_images, n_tags), bool
    groups : array of shape (n_images,), integer
    scopes : tuple of Scope
    slices : mapping of column name to one value per image
    pair : tuple of two Rung
        The reference and its rival, which alone are scored per part and per tag.
    settings : CompareSettings
    seed : int
    """
    ours, theirs = pair
    weightings = Weightings(groups, resamples=settings.resamples, seed=seed, repeats=settings.seeds)
    # Of each set of probabilities the first rung alone ranks them.
    first: dict[int, str] = {}
    for rung in rungs:
        first.setdefault(id(rung.proba), rung.name)
    tasks = (
        (rung, first[id(rung.proba)] == rung.name, rung.name in (ours.name, theirs.name))
        for rung in rungs
    )
    # One rung after the other, so that only one rung's rankings are in memory.
    found = done_apart(_of_rung, (labels, scopes, weightings, settings.beta), tasks)
    sums = {rung.name: collected for rung, collected in zip(rungs, found, strict=True)}
    for rung in rungs:
        if first[id(rung.proba)] != rung.name:
            sums[rung.name].ranked_like(sums[first[id(rung.proba)]])
    scores = {name: collected.samples() for name, collected in sums.items()}
    return Resamples(
        scores=scores,
        parts=(
            *_scope_parts(scopes, scores[ours.name], scores[theirs.name], labels, pair, groups),
            *_slice_parts(slices, labels, groups, pair, weightings, settings),
        ),
        labelled=np.flatnonzero(positives_per_tag(labels)),
        tag_f={rung.name: sums[rung.name].tag_f() for rung in pair},
        tag_ap={rung.name: sums[rung.name].tag_ap for rung in pair},
    )


def _of_rung(
    labels: sparse.csr_array,
    scopes: tuple[Scope, ...],
    weightings: Weightings,
    beta: float,
    task: tuple[Rung, bool, bool],
) -> "_Collected":
    """Return a rung's scores, ranked where asked, and per tag where asked."""
    rung, ranked, keep_tags = task
    evaluator = Evaluator(rung.proba, rung.decided, labels, scopes, beta, ranked=ranked)
    return _collected(evaluator, weightings, keep_tags=keep_tags)


def _collected(
    evaluator: Evaluator,
    weightings: Weightings,
    *,
    keep_tags: bool = False,
    images: NDArray[np.intp] | None = None,
) -> "_Collected":
    """Return an evaluator's scores under all weightings, of some of the images where asked."""
    collected = _Collected(keep_tags=keep_tags)
    for weights in weightings.blocks():
        collected.add(evaluator.evaluate(weights if images is None else weights[images]))
    return collected


class _Collected:
    """The chunks of one rung, put together at the end; ``tag_ap`` comes with the first of them."""

    def __init__(self, *, keep_tags: bool) -> None:
        self._keep_tags = keep_tags
        self.tag_ap: NDArray[np.float64] = np.empty(0)
        self._like: _Collected | None = None
        self._chunks: list[Mapping[tuple[str, str], NDArray[np.float64]]] = []
        self._tag_f: list[NDArray[np.float32]] = []

    def add(self, evaluated: Evaluated) -> None:
        """Keep the scores of one chunk; per tag only where asked, average precision only once."""
        if not self._chunks and evaluated.tag_ap is not None:
            self.tag_ap = evaluated.tag_ap[:, 0].copy()
        self._chunks.append(evaluated.scores)
        if self._keep_tags:
            self._tag_f.append(evaluated.tag_f.astype(np.float32))

    def ranked_like(self, other: "_Collected") -> None:
        """Take what was not ranked from another rung of the same probabilities."""
        self._like, self.tag_ap = other, other.tag_ap

    def samples(self) -> dict[tuple[str, str], NDArray[np.float64]]:
        """Return all values of each score, the sample's own first."""
        own = {
            key: np.concatenate([chunk[key] for chunk in self._chunks]) for key in self._chunks[0]
        }
        return own if self._like is None else {**self._like.samples(), **own}

    def tag_f(self) -> NDArray[np.float32]:
        """Return F-beta per labelled tag, shape (n_labelled_tags, 1 + n_resamples)."""
        return np.concatenate(self._tag_f, axis=1)


def _categories(vocabulary: Vocabulary) -> list[Scope]:
    names = np.array(vocabulary.categories)
    return [
        Scope(key=f"category:{name}", kind="category", title=str(name), tags=names == name)
        for name in sorted(set(vocabulary.categories))
    ]


def _bands(positives: NDArray[np.int64], edges: tuple[int, ...]) -> list[Scope]:
    scopes = []
    for low, high in zip(edges, (*edges[1:], None), strict=True):
        inside = positives >= low if high is None else (positives >= low) & (positives < high)
        if high is None:
            title = f"{low} or more"
        else:
            title = f"{low} to {high - 1}" if high - 1 > low else str(low)
        if inside.any():
            scopes.append(Scope(key=f"band:{low}", kind="frequency", title=title, tags=inside))
    return scopes


def _scope_parts(
    scopes: tuple[Scope, ...],
    ours: Samples,
    theirs: Samples,
    labels: sparse.csr_array,
    pair: tuple[Rung, Rung],
    groups: NDArray[np.integer],
) -> list[PartSamples]:
    has_positive = positives_per_tag(labels) > 0
    return [
        PartSamples(
            kind=scope.kind,
            key=scope.key,
            title=scope.title,
            n_tags=int((scope.tags & has_positive).sum()),
            n_images=labels.shape[0],
            ours=ours,
            theirs=theirs,
            telling=Telling.of(pair[0].decided, pair[1].decided, labels, groups, scope.tags),
        )
        for scope in scopes
        if scope.kind != "vocabulary" and (scope.tags & has_positive).any()
    ]


def _slice_parts(
    slices: Mapping[str, Sequence[str]],
    labels: sparse.csr_array,
    groups: NDArray[np.integer],
    pair: tuple[Rung, Rung],
    weightings: Weightings,
    settings: CompareSettings,
) -> Iterator[PartSamples]:
    """Yield the reference and its rival on the images with each value of each label column."""
    for column, values in slices.items():
        if len(values) != labels.shape[0]:
            msg = (
                f"Column {column!r} must have one value per image, {labels.shape[0]}, "
                f"got {len(values)}."
            )
            raise TagstackError(msg)
        pooled = np.array(_commonest(values, settings.max_slice_values), dtype=object)
        for value in sorted(set(pooled), key=lambda value: (value == OTHERS, value)):
            images = np.flatnonzero(pooled == value)
            yield _slice(column, value, images, labels, groups, pair, weightings, settings.beta)


def _slice(
    column: str,
    value: str,
    images: NDArray[np.intp],
    labels: sparse.csr_array,
    groups: NDArray[np.integer],
    pair: tuple[Rung, Rung],
    weightings: Weightings,
    beta: float,
) -> PartSamples:
    taken = labels[images]
    every = np.ones(labels.shape[1], bool)
    scope = Scope(key=ALL, kind=column, title=value, tags=every, whole=True)
    ours, theirs = (
        _collected(
            Evaluator(rung.proba.take(images), rung.decided[images], taken, (scope,), beta),
            weightings,
            images=images,
        ).samples()
        for rung in pair
    )
    return PartSamples(
        kind=column,
        key=ALL,
        title=value,
        n_tags=int((positives_per_tag(taken) > 0).sum()),
        n_images=len(images),
        ours=ours,
        theirs=theirs,
        telling=Telling.of(pair[0].decided[images], pair[1].decided[images], taken, groups[images]),
    )


def _commonest(values: Sequence[str], most: int) -> list[str]:
    """Return the values with all but the commonest replaced by "other values"."""
    counts = Counter(values)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    if len(ranked) <= most:
        return list(values)
    kept = set(ranked[:most])
    return [value if value in kept else OTHERS for value in values]
