"""What the linear SVMs see of a pair: the members, the tag's own context, the image as a whole."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.meta.features.pair_table import PairTable

Floats = NDArray[np.float64]

_OWN = ("shrunken_logistic", "max", "min", "gap_to_top", "company", "lead_over_rival", "parent")


def svm_design(
    table: PairTable, basis: Floats, rows: NDArray[np.int64] | slice = slice(None)
) -> NDArray[np.float32]:
    """Return the columns of each pair: members, own context, the image's components.

    Parameters
    ----------
    table : PairTable
    basis : array of shape (n_tags, n_components), float64
        As `image_basis` returns it.
    rows : array of shape (n_rows,), int64, or slice
        Pairs that are looked at; all by default.

    Returns
    -------
    array of shape (n_rows, n_columns), float32
    """
    values = table.values_at(rows)
    members = table.member_columns
    own = [table.names.index(name) for name in _OWN]
    mean = values[:, table.names.index("mean")]
    n_said = len(members) + len(own)
    design = np.empty((len(values), n_said + basis.shape[1]), np.float32)
    for place, column in enumerate(members):
        value = values[:, column]
        design[:, place] = np.where(np.isnan(value), mean, value)
    design[:, len(members) : n_said] = np.nan_to_num(values[:, own])
    components = (_image_proba(table) @ basis).astype(np.float32)
    design[:, n_said:] = components[table.pairs.image[rows]]
    return design


def image_basis(table: PairTable, n_components: int) -> Floats:
    """Return the leading right singular vectors of the image-by-tag probabilities.

    Parameters
    ----------
    table : PairTable
    n_components : int

    Returns
    -------
    array of shape (n_tags, n_components), float64
        Columns beyond the rank of the matrix are 0.
    """
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


def _image_proba(table: PairTable) -> sparse.csr_array:
    pairs = table.pairs
    shape, proba = (pairs.n_images, pairs.n_tags), expit(table.logit)
    return sparse.csr_array((proba, pairs.tag, pairs.indptr), shape=shape)
