"""One pass over the resamples: every rung, every set of tags, every slice of the images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.comparing import CompareSettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.comparison.bootstrap import Evaluated, Evaluator, Scope, resampled_weights
from tagstack.ensemble.comparison.rungs import Rung, shared_tags
from tagstack.meta.truth import positives_per_tag

ALL, SHARED, SUPPORTED = "all", "shared", "supported"
OTHERS = "other values"

Samples = Mapping[tuple[str, str], NDArray[np.float64]]


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


@dataclass(frozen=True, kw_only=True)
class Resamples:
    """Scores on the sample itself (first value) and on each resample.

    Parameters
    ----------
    scores : mapping of rung name to mapping of (scope key, score name) to values
        Values have shape (1 + n_resamples,), float64.
    parts : tuple of PartSamples
    tag_f, tag_ap : mapping of rung name to array of shape (n_tags, 1 + n_resamples), float32
        Of the reference and its rival; ``tag_ap`` has the first column only.
    """

    scores: Mapping[str, Samples]
    parts: tuple[PartSamples, ...]
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
            title="all tags",
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
        title = "tags that every rung knows"
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
    evaluators = {
        rung.name: Evaluator(rung.proba, rung.decided, labels, scopes, settings.beta)
        for rung in rungs
    }
    parts = _slices(slices, labels, pair, settings)
    sums = {name: _Collected(keep_tags=name in (ours.name, theirs.name)) for name in evaluators}
    for weights in resampled_weights(groups, resamples=settings.resamples, seed=seed):
        for name, evaluator in evaluators.items():
            sums[name].add(evaluator.evaluate(weights))
        for part in parts:
            part.add(weights)
    scores = {name: collected.samples() for name, collected in sums.items()}
    return Resamples(
        scores=scores,
        parts=(
            *_scope_parts(scopes, scores[ours.name], scores[theirs.name], labels),
            *(part.result() for part in parts),
        ),
        tag_f={rung.name: sums[rung.name].tag_f() for rung in pair},
        tag_ap={rung.name: sums[rung.name].tag_ap for rung in pair},
    )


class _Collected:
    """The chunks of one rung, put together at the end."""

    tag_ap: NDArray[np.float64]

    def __init__(self, *, keep_tags: bool) -> None:
        self._keep_tags = keep_tags
        self._chunks: list[Mapping[tuple[str, str], NDArray[np.float64]]] = []
        self._tag_f: list[NDArray[np.float32]] = []

    def add(self, evaluated: Evaluated) -> None:
        """Keep the scores of one chunk; per tag only where asked, average precision only once."""
        if not self._chunks:
            self.tag_ap = evaluated.tag_ap[:, 0].copy()
        self._chunks.append(evaluated.scores)
        if self._keep_tags:
            self._tag_f.append(evaluated.tag_f.astype(np.float32))

    def samples(self) -> dict[tuple[str, str], NDArray[np.float64]]:
        """Return all values of each score, the sample's own first."""
        return {
            key: np.concatenate([chunk[key] for chunk in self._chunks]) for key in self._chunks[0]
        }

    def tag_f(self) -> NDArray[np.float32]:
        """Return F-beta per tag, shape (n_tags, 1 + n_resamples)."""
        return np.concatenate(self._tag_f, axis=1)


class _Slice:
    """The reference and its rival on the images with one value of a label column."""

    def __init__(
        self,
        column: str,
        value: str,
        images: NDArray[np.intp],
        labels: sparse.csr_array,
        pair: tuple[Rung, Rung],
        beta: float,
    ) -> None:
        self._column, self._value, self._images = column, value, images
        taken = labels[images]
        self._n_tags = int((positives_per_tag(taken) > 0).sum())
        every = np.ones(labels.shape[1], bool)
        scope = Scope(key=ALL, kind=column, title=value, tags=every, whole=True)
        self._evaluators = [
            Evaluator(rung.proba.take(images), rung.decided[images], taken, (scope,), beta)
            for rung in pair
        ]
        self._collected = [_Collected(keep_tags=False) for _ in pair]

    def add(self, weights: NDArray[np.float32]) -> None:
        """Score a chunk of resamples of the whole test set."""
        for evaluator, collected in zip(self._evaluators, self._collected, strict=True):
            collected.add(evaluator.evaluate(weights[self._images]))

    def result(self) -> PartSamples:
        """Return what was collected."""
        ours, theirs = (collected.samples() for collected in self._collected)
        return PartSamples(
            kind=self._column,
            key=ALL,
            title=self._value,
            n_tags=self._n_tags,
            n_images=len(self._images),
            ours=ours,
            theirs=theirs,
        )


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
    scopes: tuple[Scope, ...], ours: Samples, theirs: Samples, labels: sparse.csr_array
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
        )
        for scope in scopes
        if scope.kind != "vocabulary" and (scope.tags & has_positive).any()
    ]


def _slices(
    slices: Mapping[str, Sequence[str]],
    labels: sparse.csr_array,
    pair: tuple[Rung, Rung],
    settings: CompareSettings,
) -> list[_Slice]:
    result = []
    for column, values in slices.items():
        if len(values) != labels.shape[0]:
            msg = (
                f"Column {column!r} must have one value per image, {labels.shape[0]}, "
                f"got {len(values)}."
            )
            raise TagstackError(msg)
        pooled = np.array(_commonest(values, settings.max_slice_values), dtype=object)
        result += [
            _Slice(column, value, np.flatnonzero(pooled == value), labels, pair, settings.beta)
            for value in sorted(set(pooled), key=lambda value: (value == OTHERS, value))
        ]
    return result


def _commonest(values: Sequence[str], most: int) -> list[str]:
    """Return the values with all but the commonest replaced by "other values"."""
    counts = Counter(values)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    if len(ranked) <= most:
        return list(values)
    kept = set(ranked[: most - 1])
    return [value if value in kept else OTHERS for value in values]
