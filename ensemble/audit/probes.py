"""How far tags move when the same pictures are shown in another guise.

A picture in grey that loses ``blue_eyes`` loses what can no longer be seen; one that loses
``shoes`` says that shoes were told by their colour. Every guise is held against the picture itself,
so all is paired; groups of pictures are resampled, and all looks of one kind are corrected
together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.audit.certainty import Certainty
from tagstack.meta.labels.truth import known_labels
from tagstack.meta.metrics.bootstrap import FEWEST_GROUPS, Weightings, groups_behind
from tagstack.meta.metrics.counts import canonical, count_by_image, f_score, ratio
from tagstack.meta.metrics.tag_tests import compare_tags, differing_groups

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What a guise does to all tags together of the stack, or of a tagger alone.

    ``kept`` is the share of the given tags that are still given, with its interval; ``before`` and
    ``after`` are F1 of all pairs, ``difference`` is after minus before, ``q_value`` is adjusted
    over all guises and all who were asked.
    """

    guise: str
    by: str
    n_images: int
    n_groups: int
    tags_before: float
    tags_after: float
    kept: float
    kept_low: float
    kept_high: float
    before: float
    after: float
    difference: float
    low: float
    high: float
    q_value: float
    sure: bool


@dataclass(frozen=True, kw_only=True)
class MovedTag:
    """A tag that is surely given more or less often in a guise.

    ``before`` and ``after`` are the pictures on which it is given, ``both`` those on which it is
    given either way; ``difference`` is of their shares of all pictures, ``q_value`` is adjusted
    over all tags, guises and askers that could be tested.
    """

    guise: str
    by: str
    tag: str
    before: int
    after: int
    both: int
    difference: float
    low: float
    high: float
    q_value: float


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What was found.

    Parameters
    ----------
    n_images, n_groups, n_seen : int
        Pictures that were shown, their groups, and those that the fit had seen.
    guises : mapping of name to str
        What each takes from a picture.
    moved : tuple of Moved
        Every guise, of the stack and of each tagger.
    tags : tuple of MovedTag
        The sure ones, the furthest first.
    n_tested : int
        Tags that could be tested, over all guises and askers.
    """

    n_images: int
    n_groups: int
    n_seen: int
    guises: Mapping[str, str]
    moved: tuple[Moved, ...]
    tags: tuple[MovedTag, ...]
    n_tested: int


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is given of the same pictures, by who was asked and by guise.

    Parameters
    ----------
    plain : mapping of asker to csr_array of shape (n_images, n_tags), bool
        The pictures as they are.
    guised : mapping of (guise, asker) to csr_array of the same shape
    labels, unknown : csr_array of the same shape
    groups : array of shape (n_images,), integer
    """

    plain: Mapping[str, sparse.csr_array]
    guised: Mapping[tuple[str, str], sparse.csr_array]
    labels: sparse.csr_array
    unknown: sparse.csr_array
    groups: NDArray[np.integer]

    def moved(self, certainty: Certainty, weightings: Weightings) -> tuple[Moved, ...]:
        """Return what each guise does to all tags together, in the order of `guised`.

        ``weightings`` are of the pictures' groups, and the same for all looks of one audit.
        """
        rate = certainty.false_discovery_rate
        true = _sums(self.labels)
        judged = {by: self._judged(own) for by, own in self.plain.items()}
        rows = [
            _Row.of(self.plain[by], own, judged[by], self._judged(own), true, weightings)
            for (_, by), own in self.guised.items()
        ]
        n_groups = np.array([groups_behind(row.amount, self.groups) for row in rows])
        shares = {"confidence": certainty.confidence, "false_discovery_rate": rate}
        after, before, kept = (
            np.stack([getattr(row, name) for row in rows]).astype(np.float32)
            for name in ("after", "before", "kept")
        )
        tests = compare_tags(after, before, n_groups, freedom=n_groups - 1, **shares)
        sizes = np.array([groups_behind(row.given, self.groups) for row in rows])
        stays = compare_tags(kept, np.zeros_like(kept), sizes, freedom=sizes - 1, **shares)
        return tuple(
            Moved(
                guise=guise,
                by=by,
                n_images=len(self.groups),
                n_groups=len(np.unique(self.groups)),
                tags_before=float(row.given.mean()),
                tags_after=float(row.given_after.mean()),
                kept=float(row.kept[0]),
                kept_low=float(stays.low[i]),
                kept_high=float(stays.high[i]),
                before=float(row.before[0]),
                after=float(row.after[0]),
                difference=float(tests.difference[i]),
                low=float(tests.low[i]),
                high=float(tests.high[i]),
                q_value=float(tests.q_value[i]),
                sure=bool(tests.q_value[i] <= rate),
            )
            for i, ((guise, by), row) in enumerate(zip(self.guised, rows, strict=True))
        )

    def moved_tags(
        self, vocabulary: Vocabulary, certainty: Certainty, weightings: Weightings
    ) -> tuple[tuple[MovedTag, ...], int]:
        """Return the tags that surely move, the furthest first, and how many were tested."""
        places: list[tuple[str, str, int, int]] = []
        after: list[NDArray[np.float32]] = []
        before: list[NDArray[np.float32]] = []
        for key, own in self.guised.items():
            plain = self.plain[key[1]]
            n_groups = differing_groups(own, plain, self.groups)
            tags = np.flatnonzero(n_groups >= FEWEST_GROUPS)
            places += [(*key, tag, n_groups[tag]) for tag in tags.tolist()]
            for rates, matrix in ((after, own), (before, plain)):
                rates.append(_rates(matrix, tags, weightings))
        if not places:
            return (), 0
        n_groups = np.array([place[3] for place in places])
        tests = compare_tags(
            np.concatenate(after),
            np.concatenate(before),
            n_groups,
            confidence=certainty.confidence,
            false_discovery_rate=certainty.false_discovery_rate,
            freedom=n_groups.astype(np.float64) - 1,
        )
        found = []
        for i, (guise, by, tag, _) in enumerate(places):
            if not tests.q_value[i] <= certainty.false_discovery_rate:
                continue
            one, two = (_column(own, tag) for own in (self.plain[by], self.guised[guise, by]))
            found.append(
                MovedTag(
                    guise=guise,
                    by=by,
                    tag=vocabulary.tags[tag],
                    before=int(one.sum()),
                    after=int(two.sum()),
                    both=int((one & two).sum()),
                    difference=float(tests.difference[i]),
                    low=float(tests.low[i]),
                    high=float(tests.high[i]),
                    q_value=float(tests.q_value[i]),
                )
            )
        found.sort(key=lambda one: (-abs(one.difference), one.guise, one.by, one.tag))
        return tuple(found), len(places)

    def _judged(self, given: sparse.csr_array) -> tuple[Floats, Floats]:
        """Return right and given tags of each image, those left out whose truth is unknown."""
        own = count_by_image(known_labels(given, self.unknown), self.labels)
        return own.hits.astype(np.float64), own.predicted.astype(np.float64)


@dataclass(frozen=True)
class _Row:
    """Figures on the sample and on resamples; and what they rest on, image by image."""

    before: Floats
    after: Floats
    kept: Floats
    given: Floats
    given_after: Floats
    amount: Floats

    @classmethod
    def of(
        cls,
        plain: sparse.csr_array,
        guised: sparse.csr_array,
        judged: tuple[Floats, Floats],
        judged_after: tuple[Floats, Floats],
        true: Floats,
        weightings: Weightings,
    ) -> "_Row":
        one, two = canonical(plain), canonical(guised, plain.shape)
        given, given_after, both = _sums(one), _sums(two), _sums(one.multiply(two))
        sums = np.stack([*judged, *judged_after, true, given, both])
        resampled = np.concatenate(
            [sums @ weights.astype(np.float64) for weights in weightings.blocks()], axis=1
        )
        return cls(
            before=f_score(resampled[0], resampled[1], resampled[4], 1.0),
            after=f_score(resampled[2], resampled[3], resampled[4], 1.0),
            kept=ratio(resampled[6], resampled[5]),
            given=given,
            given_after=given_after,
            amount=given + given_after - 2 * both,
        )


def _sums(matrix: sparse.csr_array) -> Floats:
    return np.asarray(matrix.sum(axis=1), np.float64).ravel()


def _rates(
    matrix: sparse.csr_array, tags: NDArray[np.intp], weightings: Weightings
) -> NDArray[np.float32]:
    """Return the share of pictures with each tag, shape (n_tags, 1 + n_resamples)."""
    own = sparse.csr_array(sparse.csc_array(canonical(matrix))[:, tags].T.astype(np.float32))
    parts = [(own @ weights) / weights.sum(axis=0) for weights in weightings.blocks()]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _column(matrix: sparse.csr_array, tag: int) -> NDArray[np.bool_]:
    return np.asarray(matrix[:, [tag]].toarray(), bool).ravel()
