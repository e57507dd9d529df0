"""Out-of-fold values of the groundwork and of the last calibration; learners' are in `fold_fits`.

A value for an image comes from models that were fitted on the other folds. Columns that a later
learner is fitted on are made the same way, so what it sees in fitting is what it sees later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Pairs
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import MemberLogits, fit_monotone
from tagstack.meta.calibrators.protocol import How, TagMaps
from tagstack.meta.features.pair_rows import subset
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.labels.drawn_images import drawn_images
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.truth import Evidence, PairTruth
from tagstack.meta.stack.groundwork import Ground, Groundwork, Strengths
from tagstack.meta.stack.groundwork_fits import fit_groundworks

Floats = NDArray[np.float64]


def cross_fitted_ground(
    data: Labelled, strengths: Strengths, settings: StackSettings
) -> tuple[Groundwork, Ground]:
    """Return the groundwork of all images, and what others make of each without its own fold.

    Those are calibrated logits, candidates and features. The base values, one per tag for all
    images, are the mean of the folds'.

    Parameters
    ----------
    data : Labelled
    strengths : Strengths
    settings : StackSettings
    """
    left_out = [*range(data.n_folds), None]
    *by_fold, of_all = fit_groundworks(
        data.scores, data.evidence, data.folds, left_out, strengths, settings, data.spill
    )
    return of_all, _seen_through(by_fold, data, settings)


def _seen_through(
    groundworks: Sequence[Groundwork], data: Labelled, settings: StackSettings
) -> Ground:
    """Return what the groundwork fitted without each fold makes of the fold's images."""
    scores, pairs, spill = data.scores, data.scores.pairs, data.spill
    listed = spill.empty(len(pairs), np.float32)
    of_members = spill.empty(scores.logit.shape, np.float32)
    rows, tables = [], _Tables(pairs, settings.candidates_per_image, spill)
    for images, _ in pairs.blocks():
        parts = []
        for fold in np.unique(data.folds[images]):
            held = images.start + np.flatnonzero(data.folds[images] == fold)
            ground = groundworks[fold].apply(scores.take(held), data.relations, settings)
            own = pairs.rows(held)
            of_members[:, own], listed[own] = ground.members.listed, ground.listed
            parts.append((own[ground.rows], ground.table))
        rows.append(tables.add(parts))
        spill.let_go()
    members = [own.calibration.base(scores) for own in groundworks]
    bases = [own.logistic.base(base) for own, base in zip(groundworks, members, strict=True)]
    found = np.concatenate(rows)
    return Ground(
        members=MemberLogits(listed=of_members, base=np.mean(members, axis=0)),
        listed=listed,
        base=np.mean(bases, axis=0),
        rows=found,
        table=replace(tables.whole(subset(pairs, found)), groups=data.groups),
    )


@dataclass(frozen=True, kw_only=True)
class DrawnPairs:
    """Pairs of drawn images, and what is known of them: what calibrations of rungs are fitted on.

    Parameters
    ----------
    rows : array of shape (n_drawn,), int64
        Their places among the listed.
    pairs : Pairs
    truth : PairTruth
    """

    rows: NDArray[np.int64]
    pairs: Pairs
    truth: PairTruth

    @classmethod
    def of(
        cls, pairs: Pairs, evidence: Evidence, images: NDArray[np.int64], max_pairs: int
    ) -> "DrawnPairs":
        """Return the pairs of so many of ``images`` as hold about ``max_pairs``.

        Parameters
        ----------
        pairs, evidence
            Of all images.
        images : array of shape (n_fit,), int64
        max_pairs : int
        """
        some = images[drawn_images(np.diff(pairs.indptr)[images], max_pairs, seed=0)]
        fewer = pairs.take(some)
        truth = evidence.take(some, pairs).truth(fewer)
        return cls(rows=pairs.rows(some), pairs=fewer, truth=truth)

    def monotone(
        self, listed: NDArray[np.floating], base: Floats, category: NDArray[np.int64], how: How
    ) -> TagMaps:
        """Return the calibration of all pairs' logits that is fitted on these.

        Parameters
        ----------
        listed : array of shape (n_pairs,), floating
        base : array of shape (n_tags,), float64
        category, how
        """
        at = listed[self.rows].astype(np.float64)
        return fit_monotone(at, base, self.pairs, self.truth, category, how)


class RungCalibration:
    """Calibrates one rung after the other, each fold by the others; the same pairs serve all.

    Parameters
    ----------
    pairs, evidence
    folds : array of shape (n_images,), int64
    category : array of shape (n_tags,), int64
    how : How
    max_pairs : int
        That one fit looks at, of drawn images.
    spill : Spill, optional
        Where calibrated logits lie.
    """

    def __init__(
        self,
        pairs: Pairs,
        evidence: Evidence,
        folds: NDArray[np.int64],
        category: NDArray[np.int64],
        how: How,
        max_pairs: int,
        spill: Spill = IN_MEMORY,
    ) -> None:
        self._pairs, self._folds, self._spill = pairs, folds, spill
        self._category, self._how = category, how
        self._drawn = {
            fold: DrawnPairs.of(pairs, evidence, np.flatnonzero(folds != fold), max_pairs)
            for fold in np.unique(folds).tolist()
        }
        self._of_all = DrawnPairs.of(pairs, evidence, np.arange(len(folds)), max_pairs)

    def crossed(
        self, listed: NDArray[np.floating], base: Floats
    ) -> tuple[NDArray[np.float32], Floats]:
        """Return logits calibrated per tag, each fold by the others; the base by the mean of all.

        Parameters
        ----------
        listed : array of shape (n_pairs,), floating
        base : array of shape (n_tags,), float64
        """
        pairs, folds = self._pairs, self._folds
        calibrated, of_base = self._spill.empty(len(listed), np.float32), np.zeros(len(base))
        for fold, drawn in self._drawn.items():
            maps = drawn.monotone(listed, base, self._category, self._how)
            for images, _ in pairs.blocks():
                rows = pairs.rows(images.start + np.flatnonzero(folds[images] == fold))
                calibrated[rows] = maps.apply(pairs.tag[rows], listed[rows])
                self._spill.let_go()
            of_base += maps.apply(np.arange(pairs.n_tags), base) / len(self._drawn)
        return calibrated, of_base

    def on_all(self, listed: NDArray[np.floating], base: Floats) -> TagMaps:
        """Return the calibration fitted on all images."""
        return self._of_all.monotone(listed, base, self._category, self._how)


@dataclass(frozen=True, kw_only=True)
class _Room:
    """Where the tables of some images are laid together."""

    names: tuple[str, ...]
    rising: frozenset[str]
    members: tuple[str, ...]
    values: NDArray[np.float32]
    logit: Floats

    @classmethod
    def like(cls, table: PairTable, n_pairs: int, spill: Spill) -> "_Room":
        """Return room for so many pairs with a table's columns."""
        return cls(
            names=table.names,
            rising=table.rising,
            members=table.members,
            values=spill.empty((n_pairs, len(table.names)), np.float32),
            logit=spill.empty(n_pairs, np.float64),
        )


class _Tables:
    """The candidates' table, filled a few images at a time.

    Parameters
    ----------
    pairs : Pairs
        The listed ones.
    per_image : int
        Most candidates of an image.
    spill : Spill
    """

    def __init__(self, pairs: Pairs, per_image: int, spill: Spill) -> None:
        self._most = int(np.minimum(np.diff(pairs.indptr), per_image).sum())
        self._spill, self._n = spill, 0
        self._room: _Room | None = None  # how wide it is the first table says

    def add(self, parts: Sequence[tuple[NDArray[np.int64], PairTable]]) -> NDArray[np.int64]:
        """Add some images' tables and return where their pairs stand among the listed, ascending.

        Parameters
        ----------
        parts : sequence of (array of shape (n,), PairTable)
            Of one fold each; where its rows stand among the listed pairs.
        """
        if self._room is None:
            self._room = _Room.like(parts[0][1], self._most, self._spill)
        rows = np.concatenate([own for own, _ in parts])
        order = np.argsort(rows)
        here = slice(self._n, self._n + len(rows))
        self._room.values[here] = np.concatenate([table.values for _, table in parts])[order]
        self._room.logit[here] = np.concatenate([table.logit for _, table in parts])[order]
        self._n = here.stop
        return rows[order]

    def whole(self, pairs: Pairs) -> PairTable:
        """Return all that was added, of these pairs."""
        if self._room is None:
            raise ValueError("Nothing was added, so there is no table; add some images' first.")
        return PairTable(
            pairs=pairs,
            names=self._room.names,
            values=self._room.values[: self._n],
            logit=self._room.logit[: self._n],
            rising=self._room.rising,
            spill=self._spill,
            members=self._room.members,
        )
