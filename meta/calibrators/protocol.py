"""What a calibrator is fitted on, what it returns, and how tags share their evidence.

To add one: write a file whose function turns a `Sample` into a `TagMaps`, and enter it in
`registry`. The contract tests are one class, tests/meta/calibrators/test_calibrators.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Pairs
from tagstack.configs.calibration import CalibratorName, Pool
from tagstack.meta.calibrators.tag_rows import TagRows
from tagstack.meta.labels.truth import PairTruth

Floats = NDArray[np.float64]
Tags = NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class How:
    """Which calibrator, and how far a tag follows the others.

    Parameters
    ----------
    kind : {"none", "platt", "beta", "isotonic", "temperature", "venn_abers"}
    pool : {"tag", "category", "hierarchical"}
        Each tag alone; one map for all tags of a category; or each tag held to its category and
        that to all tags.
    strength : float, positive
        Of the hierarchical pool: near 0 it is each tag alone, at infinity one map for all.
    """

    kind: CalibratorName
    pool: Pool
    strength: float


class TagMaps(Protocol):
    """Fitted maps, one per tag, each rising in the logit."""

    @property
    def kind(self) -> str:
        """The calibrator's name."""
        ...

    def apply(self, tag: Tags, logit: NDArray[np.floating]) -> Floats:
        """Return the calibrated logits of (tag, logit) rows; NaN stays NaN.

        Of the shape of ``logit``.
        """
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return what `registry.maps_from_arrays` restores them from.

        Names and shapes are the calibrator's own.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Weighted rows of one source of logits, such as a member.

    Parameters
    ----------
    logit, weight : arrays of shape (n_rows,), float64
        Weights are positive.
    true : array of shape (n_rows,), bool
    tag : array of shape (n_rows,), int64
    category : array of shape (n_tags,), int64
        Of each tag, counted from 0.
    merged : bool
        Whether rows of nearly the same logit are one already.
    prepared : dict of str to TagRows
        The rows as a calibrator sorted them, by its name, kept for a fit at another strength.
    """

    logit: Floats
    weight: Floats
    true: NDArray[np.bool_]
    tag: NDArray[np.int64]
    category: NDArray[np.int64]
    merged: bool = False
    prepared: dict[str, TagRows] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(
        cls,
        listed: Floats,
        base: Floats,
        pairs: Pairs,
        truth: PairTruth,
        category: NDArray[np.int64],
    ) -> "Sample":
        """Return one row per listed pair and two weighted ones per tag for its unlisted pairs.

        Parameters
        ----------
        listed : array of shape (n_pairs,), float64
            NaN where there is no logit: such rows are left out.
        base : array of shape (n_tags,), float64
            Logit of the unlisted pairs; NaN for a tag that the source lacks.
        """
        return cls.of_rows(
            (listed, truth.listed, truth.weight, pairs.tag),
            base,
            (truth.n_true, truth.n_false),
            category,
        )

    @classmethod
    def of_rows(
        cls,
        rows: tuple[Floats, NDArray[np.bool_], NDArray[np.floating], Tags],
        base: Floats,
        unlisted: tuple[NDArray[np.int64], NDArray[np.int64]],
        category: NDArray[np.int64],
        *,
        merged: bool = False,
    ) -> "Sample":
        """Return rows of listed pairs and two weighted ones per tag for its unlisted pairs.

        Parameters
        ----------
        rows : arrays of shape (n_rows,)
            Logit, NaN where there is none: such rows are left out; label, weight and tag.
        base : array of shape (n_tags,), float64
            Logit of the unlisted pairs; NaN for a tag that the source lacks.
        unlisted : two arrays of shape (n_tags,), int64
            How many unlisted pairs of each tag are true, and how many false.
        category : array of shape (n_tags,), int64
        merged : bool
        """
        n_tags = len(base)
        tags = np.arange(n_tags)
        logit = np.concatenate([rows[0], base, base])
        true = np.concatenate([rows[1], np.repeat([True, False], n_tags)])
        weight = np.concatenate([rows[2], *unlisted]).astype(np.float64)
        tag = np.concatenate([rows[3], tags, tags]).astype(np.int64)
        kept = np.flatnonzero((weight > 0) & ~np.isnan(logit) & ~np.isnan(base)[tag])
        return cls(
            logit=logit[kept],
            weight=weight[kept],
            true=true[kept],
            tag=tag[kept],
            category=category,
            merged=merged,
        )
