"""A linear SVM per tag on the members' logits, with the image's other tags as context.

The other tags enter as a few components of the image's probabilities, so the cost of a tag does
not grow with the vocabulary. A tag with too few positives keeps the shrunken logistic. Margins
are turned into logits by Platt's method, shrunk to all tags'.
"""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.atomic import written_whole
from tagstack.configs.stack import SvmSettings
from tagstack.meta.features import PairTable
from tagstack.meta.newton import fit_hierarchy, tag_rows

Floats = NDArray[np.float64]

_FILE = "svm.safetensors"
_OWN = ("shrunken_logistic", "max", "min", "gap_to_top", "company", "lead_over_rival", "parent")
_MARGIN_STRENGTH = 30.0
_CHUNK = 32  # tags a worker takes at a time


class LinearSvms:
    """Linear SVMs of all tags that have enough positives.

    Parameters
    ----------
    settings : SvmSettings
    seed : int
        Of no influence (the solver draws nothing); kept so that all learners are made alike.
    threads : int
        Positive. The coefficients do not depend on it.
    """

    def __init__(self, settings: SvmSettings, *, seed: int, threads: int) -> None:
        self.settings, self.seed, self.threads = settings, seed, threads

    def fit(self, table: PairTable, true: NDArray[np.bool_], weight: Floats | None = None) -> Self:
        """Fit on candidate pairs and their labels; see the protocol."""
        weight = np.ones(len(true)) if weight is None else weight
        self.basis_ = _basis(table, self.settings.context)
        raw = _design(table, self.basis_)
        self.centre_ = raw.mean(axis=0) if len(raw) else np.zeros(raw.shape[1])
        scale = raw.std(axis=0) if len(raw) else np.ones(raw.shape[1])
        self.scale_ = np.where(scale > 1e-9, scale, 1.0)
        design = (raw - self.centre_) / self.scale_
        n_tags = table.pairs.n_tags
        self.coefficients_ = np.zeros((n_tags, design.shape[1] + 1))
        self.fitted_ = np.zeros(n_tags, bool)
        self._fit_tags(design, table.pairs.tag, true, weight)
        self.margin_to_logit_ = self._margin_platt(design, table.pairs.tag, true, weight)
        return self

    def predict_logit(self, table: PairTable) -> Floats:
        """Return the logit of each pair, shape (n_pairs,), float64."""
        design = (_design(table, self.basis_) - self.centre_) / self.scale_
        tag = table.pairs.tag
        platt = self.margin_to_logit_[tag]
        logit = platt[:, 0] + platt[:, 1] * self._margins(design, tag)
        return np.where(self.fitted_[tag], logit, table.logit)

    def save(self, directory: Path) -> None:
        """Write the arrays as safetensors."""
        from safetensors.numpy import save_file

        with written_whole(directory / _FILE) as temporary:
            save_file(
                {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}, temporary
            )

    def restore(self, directory: Path) -> Self:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        arrays = load_file(directory / _FILE)
        for name in _ARRAYS:
            setattr(self, name, arrays[name])
        return self

    def _fit_tags(
        self, design: Floats, tag: NDArray[np.int32], true: NDArray[np.bool_], weight: Floats
    ) -> None:
        """Fit every tag with enough true and false pairs, chunks of tags side by side."""
        from joblib import Parallel, delayed

        counted = np.flatnonzero(weight > 0)
        order = counted[np.argsort(tag[counted], kind="stable")]
        n_rows = np.bincount(tag[counted], minlength=len(self.fitted_))
        rows_of = np.split(order, np.cumsum(n_rows)[:-1])
        n_true = np.bincount(tag[counted], weights=true[counted], minlength=len(self.fitted_))
        n_false = n_rows - n_true
        enough = np.minimum(n_true, n_false) >= self.settings.min_positives
        tags = np.flatnonzero(enough)
        chunks = [tags[i : i + _CHUNK] for i in range(0, len(tags), _CHUNK)]
        fit = delayed(_fit_chunk)
        # Threads, not processes: the solver releases the lock, and the design is not copied.
        done = Parallel(n_jobs=self.threads, backend="threading")(
            fit([rows_of[t] for t in chunk], design, true, weight, self.settings.cost)
            for chunk in chunks
        )
        for chunk, coefficients in zip(chunks, done, strict=True):
            self.coefficients_[chunk] = coefficients
        self.fitted_[tags] = True

    def _margins(self, design: Floats, tag: NDArray[np.int32]) -> Floats:
        margin: Floats = self.coefficients_[tag, -1].copy()
        for column in range(design.shape[1]):
            margin += self.coefficients_[tag, column] * design[:, column]
        return margin

    def _margin_platt(
        self, design: Floats, tag: NDArray[np.int32], true: NDArray[np.bool_], weight: Floats
    ) -> Floats:
        weight = weight * self.fitted_[tag]
        one_category = np.zeros(len(self.fitted_), np.int64)
        margin = self._margins(design, tag)[None]
        rows = tag_rows(margin, true, weight, tag.astype(np.int64), one_category)
        theta = fit_hierarchy(rows, np.array([0.0, 1.0]), np.full(2, _MARGIN_STRENGTH))
        theta[:, 1] = np.maximum(theta[:, 1], 0.0)
        return theta


_ARRAYS = ("basis_", "centre_", "scale_", "coefficients_", "fitted_", "margin_to_logit_")


def _fit_chunk(
    rows: list[NDArray[np.int64]],
    design: Floats,
    true: NDArray[np.bool_],
    weight: Floats,
    cost: float,
) -> Floats:
    """Return coefficients and intercept of each tag of a chunk."""
    from sklearn.svm import LinearSVC

    fitted = []
    for of_tag in rows:
        # The primal solver is deterministic and needs no seed.
        svm = LinearSVC(C=cost, dual=False, tol=1e-3, max_iter=1000)
        svm.fit(design[of_tag], true[of_tag], sample_weight=weight[of_tag])
        fitted.append(np.append(svm.coef_[0], svm.intercept_))
    return np.stack(fitted)


def _design(table: PairTable, basis: Floats) -> Floats:
    """Return the SVM's columns: members, own context, the image's components."""
    mean = table.column("mean")
    columns = [table.column(name) for name in table.names if name.startswith("logit:")]
    columns = [np.where(np.isnan(column), mean, column) for column in columns]
    columns += [np.nan_to_num(table.column(name)) for name in _OWN]
    components = (_image_proba(table) @ basis)[table.pairs.image]
    return np.concatenate([np.stack(columns, axis=1), components], axis=1)


def _image_proba(table: PairTable) -> sparse.csr_array:
    pairs = table.pairs
    shape = (pairs.n_images, pairs.n_tags)
    return sparse.csr_array((expit(table.logit), pairs.tag, pairs.indptr), shape=shape)


def _basis(table: PairTable, n_components: int) -> Floats:
    """Return the leading right singular vectors of the image-by-tag probabilities."""
    proba = _image_proba(table)
    n_possible = min(n_components, min(proba.shape) - 1)
    basis = np.zeros((proba.shape[1], n_components))
    if n_possible < 1 or not proba.nnz:
        return basis
    start = np.ones(min(proba.shape))  # a fixed start makes the iteration repeatable
    vectors = sparse.linalg.svds(proba, k=n_possible, v0=start)[2][::-1].T
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(n_possible)]
    basis[:, :n_possible] = vectors * np.sign(largest)
    return basis
