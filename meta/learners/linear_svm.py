"""A linear SVM per tag on the members' logits, with the image's other tags as context.

The other tags enter as a few components of the image's probabilities, so the cost of a tag does
not grow with the vocabulary. A tag with too few positives keeps the shrunken logistic. Margins
are turned into logits by Platt's method, shrunk to all tags'.
"""

from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.array_files import write_arrays
from tagstack.base_models.orders import distinct
from tagstack.configs.stack import StackSettings, SvmSettings
from tagstack.meta.calibrators.newton import fit_hierarchy
from tagstack.meta.calibrators.tag_rows import tag_rows
from tagstack.meta.checked_arrays import CheckedArrays
from tagstack.meta.features.pair_rows import informative_rows
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.learners.estimator import PairEstimator
from tagstack.meta.learners.squared_hinge import HingeBatch, fit_squared_hinge
from tagstack.meta.learners.svm_design import image_basis, svm_design
from tagstack.meta.learners.workers import done_by_workers

Floats = NDArray[np.float64]
_Batch: TypeAlias = tuple[HingeBatch, float]

_FILE = "svm.safetensors"
_MARGIN_STRENGTH = 30.0
# A worker takes tags with about as many rows together: enough to make the calls worth their while,
# few enough for the rows to stay in the processor's cache.
_BATCH_TAGS, _BATCH_ROWS = 64, 16_384
_NEAR_ROWS = 8192
_SPREAD_ROWS = 100_000  # evenly spaced, that the columns' means and standard deviations look at


class LinearSvms(PairEstimator):
    """Linear SVMs of all tags that have enough positives.

    Parameters
    ----------
    settings : SvmSettings
    seed : int
        Draws the pairs that are fitted on where there are too many.
    threads : int
        Positive. The coefficients do not depend on it.
    backend : str
        Name of a joblib backend, "" for threads of this process; of no influence on the result.
    """

    title = "Linear SVM with context"

    def __init__(
        self, settings: SvmSettings, *, seed: int, threads: int, backend: str = ""
    ) -> None:
        self.settings, self.seed, self.threads = settings, seed, threads
        self.backend = backend

    @classmethod
    def of_settings(cls, settings: StackSettings, *, seed: int, threads: int) -> Self:
        """Return an unfitted learner with its section of the stack's settings."""
        return cls(settings.svm, seed=seed, threads=threads, backend=settings.joblib_backend)

    def fit(self, table: PairTable, true: NDArray[np.bool_], weight: Floats | None = None) -> Self:
        """Fit on candidate pairs and their labels; see the protocol."""
        weight = np.ones(len(true)) if weight is None else weight
        n_tags = table.pairs.n_tags
        enough = _enough(table, true, weight, self.settings.min_positives)
        self.basis_ = image_basis(table, self.settings.context)
        every = max(1, len(table.pairs) // _SPREAD_ROWS)
        self.centre_, self.scale_ = _spread(
            svm_design(table, self.basis_, slice(None, None, every))
        )
        rows, weight = informative_rows(
            expit(table.logit), true, weight, self.settings.max_rows, self.seed
        )
        raw = svm_design(table, self.basis_, rows)
        tag, true = table.pairs.tag[rows], true[rows]
        self.coefficients_ = np.zeros((n_tags, raw.shape[1] + 1))
        self.fitted_ = enough
        self._fit_tags(raw, tag, true, weight)
        self.margin_to_logit_ = self._margin_platt(raw, tag, true, weight)
        return self

    def predict_logit(self, table: PairTable) -> Floats:
        """Return the logit of each pair, shape (n_pairs,), float64."""
        self.check_fitted()
        tag = table.pairs.tag
        slope = self.margin_to_logit_[:, 1][tag]
        margin = self._margins(svm_design(table, self.basis_), tag)
        logit = self.margin_to_logit_[:, 0][tag] + slope * margin
        return np.where(self.fitted_[tag], logit, table.logit)

    def save(self, directory: Path) -> None:
        """Write the arrays as safetensors."""
        write_arrays(directory / _FILE, {name: getattr(self, name) for name in _ARRAYS})

    def restore(self, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If an array has another shape than the others, or a number is not finite.
        """
        from safetensors.numpy import load_file

        arrays = CheckedArrays(load_file(directory / _FILE), _FILE)
        (n_columns,) = arrays.real("centre_", (None,)).shape
        self.centre_ = arrays.arrays["centre_"]
        self.scale_ = arrays.real("scale_", (n_columns,), low=1e-12)
        self.coefficients_ = arrays.real("coefficients_", (None, n_columns + 1))
        n_tags = len(self.coefficients_)
        self.basis_ = arrays.real("basis_", (n_tags, None))
        self.fitted_ = arrays.flags("fitted_", (n_tags,))
        self.margin_to_logit_ = arrays.real("margin_to_logit_", (n_tags, 2))
        return self

    def _fit_tags(
        self,
        raw: NDArray[np.float32],
        tag: NDArray[np.int32],
        true: NDArray[np.bool_],
        weight: Floats,
    ) -> None:
        """Fit every tag that has enough true and false pairs."""
        order = np.argsort(tag, kind="stable")
        start = np.searchsorted(tag[order], np.arange(len(self.fitted_) + 1))
        groups = _alike(np.flatnonzero(self.fitted_), np.diff(start))
        rows_of = ([order[start[t] : start[t + 1]] for t in tags] for tags in groups)
        batches = ((self._batch(rows, raw, true, weight), self.settings.cost) for rows in rows_of)
        fitted = done_by_workers(_fit, batches, threads=self.threads, backend=self.backend)
        for tags, coefficients in zip(groups, fitted, strict=True):
            self.coefficients_[tags] = coefficients

    def _batch(
        self,
        rows: list[NDArray[np.int64]],
        raw: NDArray[np.float32],
        true: NDArray[np.bool_],
        weight: Floats,
    ) -> HingeBatch:
        """Return the rows of some tags, filled up to the same number, with a constant column."""
        n_rows = max(len(of_tag) for of_tag in rows)
        design = np.zeros((len(rows), n_rows, raw.shape[1] + 1))
        side, counts = np.ones((len(rows), n_rows)), np.zeros((len(rows), n_rows))
        for i, of_tag in enumerate(rows):
            n = len(of_tag)
            design[i, :n, :-1] = (raw[of_tag] - self.centre_) / self.scale_
            design[i, :n, -1] = 1.0
            side[i, :n] = np.where(true[of_tag], 1.0, -1.0)
            counts[i, :n] = weight[of_tag]
        return HingeBatch(design=design, side=side, weight=counts)

    def _margins(self, raw: NDArray[np.float32], tag: NDArray[np.int32]) -> Floats:
        # The columns are standardised in the coefficients, of which there are mostly fewer.
        few = len(tag) < len(self.coefficients_)
        chosen, place = (self.coefficients_[tag], slice(None)) if few else (self.coefficients_, tag)
        slopes = chosen[:, :-1] / self.scale_
        margin: Floats = (chosen[:, -1] - (slopes * self.centre_).sum(axis=1))[place]
        if few:  # a picture's pairs: the same terms, added in the same order, in one step
            terms = np.empty((len(slopes.T) + 1, len(tag)))
            terms[0] = margin
            np.multiply(slopes.T, raw.T, out=terms[1:])
            return np.asarray(np.add.accumulate(terms, axis=0)[-1])
        # Column after column of rows that stay in the processor's cache.
        for start in range(0, len(tag), _NEAR_ROWS):
            near = slice(start, start + _NEAR_ROWS)
            own, rows, found = tag[near], raw[near], margin[near]
            for column, slope in enumerate(slopes.T):
                found += slope[own] * rows[:, column]
        return margin

    def _margin_platt(
        self,
        raw: NDArray[np.float32],
        tag: NDArray[np.int32],
        true: NDArray[np.bool_],
        weight: Floats,
    ) -> Floats:
        weight = weight * self.fitted_[tag]
        one_category = np.zeros(len(self.fitted_), np.int64)
        margin = self._margins(raw, tag)[None]
        rows = tag_rows(margin, true, weight, tag.astype(np.int64), one_category)
        theta = fit_hierarchy(rows, np.array([0.0, 1.0]), np.full(2, _MARGIN_STRENGTH))
        theta[:, 1] = np.maximum(theta[:, 1], 0.0)
        return theta


_ARRAYS = ("basis_", "centre_", "scale_", "coefficients_", "fitted_", "margin_to_logit_")


def _spread(raw: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return each column's mean and standard deviation."""
    if not len(raw):
        return np.zeros(raw.shape[1]), np.ones(raw.shape[1])
    some = raw.astype(np.float64)
    scale = some.std(axis=0)
    return some.mean(axis=0), np.where(scale > 1e-9, scale, 1.0)


def _enough(
    table: PairTable, true: NDArray[np.bool_], weight: Floats, least: int
) -> NDArray[np.bool_]:
    """Return which tags have ``least`` independent true, and as many false pairs, (n_tags,), bool.

    Images of one group are one positive: on the likes of three pictures a margin learns these by
    heart, and no fold that holds one of the three out would notice, since two are too few for it.
    """
    pairs, counted = table.pairs, weight > 0
    n_false = np.bincount(pairs.tag[counted & ~true], minlength=pairs.n_tags)
    group = np.arange(pairs.n_images) if table.groups is None else table.groups
    positive = counted & true
    key = group[pairs.image[positive]].astype(np.int64) * pairs.n_tags + pairs.tag[positive]
    n_true = np.bincount(distinct(key) % pairs.n_tags, minlength=pairs.n_tags)
    return np.asarray(np.minimum(n_true, n_false) >= least)


def _alike(tags: NDArray[np.int64], n_rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the tags in groups of about as many rows each, the smallest first."""
    ordered = tags[np.argsort(n_rows[tags], kind="stable")]
    groups, begin = [], 0
    for end in range(1, len(ordered) + 1):
        most = n_rows[ordered[end]] if end < len(ordered) else 0
        n_taken = end - begin
        if end == len(ordered) or n_taken == _BATCH_TAGS or most * (n_taken + 1) > _BATCH_ROWS:
            groups.append(ordered[begin:end])
            begin = end
    return groups


def _fit(task: _Batch) -> Floats:
    batch, cost = task
    return fit_squared_hinge(batch, cost)
