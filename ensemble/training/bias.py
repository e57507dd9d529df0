"""What a tagger's features tell of a column, and how its tags fare by the column's values."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.contract import Input
from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.training.thresholds import best_thresholds
from tagstack.configs.settings import Settings
from tagstack.ensemble.audit.counts import JudgedPairs
from tagstack.ensemble.audit.looks import Look, Resampled
from tagstack.ensemble.audit.slices import column_slices
from tagstack.ensemble.training.request import Bias
from tagstack.meta.metrics.bootstrap import Weightings

if TYPE_CHECKING:
    from torch import nn

    from tagstack.base_models.training.loop import Material

_MOST_LEARNT = 4000  # pictures that the linear model learns from: enough for a percent
_LISTED = 1e-3  # pairs below are left out: no threshold is as low
_FIGURES = ("precision", "recall", "f1", "tagging")  # probabilities are not calibrated yet


def bias_of(
    network: "nn.Module",
    contract: Input,
    material: "Material",
    groups: NDArray[np.int64],
    name: str,
    settings: Settings,
) -> Bias:
    """Return what a network tells of the material's column on left-out pictures.

    Parameters
    ----------
    network : torch.nn.Module
        On the processor.
    contract : Input
    material : Material
        With a column.
    groups : array of shape (n_left_out,), int64
        Of the left-out pictures, resampled as a whole.
    name : str
        Of the column.
    settings : Settings
    """
    from tagstack.base_models.training.steps import network_outputs

    assert material.column is not None
    left_out, values = material.left_out, material.column.values
    known = material.training[values[material.training] >= 0]
    drawn = np.random.default_rng(settings.seed).permutation(known)[:_MOST_LEARNT]
    proba, features = network_outputs(network, contract, material.pixels[left_out])
    _, learnt = network_outputs(network, contract, material.pixels[np.sort(drawn)])
    told, chance = _told(learnt, values[np.sort(drawn)], features, values[left_out])
    names = ["" if v < 0 else material.column.names[v] for v in values[left_out]]
    looks = _looks(proba, material, groups, {name: names}, settings)
    f1 = sorted((look.here, look.value) for look in looks if look.figure == "f1")
    ends = (f1[0], f1[-1]) if f1 else ((None, ""), (None, ""))
    return Bias(
        told=told,
        chance=chance,
        worst=ends[0][1],
        worst_f1=ends[0][0],
        best=ends[1][1],
        best_f1=ends[1][0],
        n_sure=sum(look.sure for look in looks),
        n_looks=len(looks),
    )


def _told(
    learnt: NDArray[np.float32],
    values: NDArray[np.int64],
    features: NDArray[np.float32],
    true: NDArray[np.int64],
) -> tuple[float | None, float]:
    """Return the balanced accuracy of a linear model on left-out pictures, and that of chance."""
    from sklearn.linear_model import LogisticRegression

    judged = np.isin(true, values)
    n_values = len(np.unique(true[judged]))
    if n_values < 2:
        return None, 1.0
    mean, scale = learnt.mean(axis=0), learnt.std(axis=0) + 1e-6
    model = LogisticRegression(class_weight="balanced", max_iter=300)
    model.fit((learnt - mean) / scale, values)
    guessed = model.predict((features[judged] - mean) / scale)
    right = [(guessed == true[judged])[true[judged] == v].mean() for v in np.unique(true[judged])]
    return float(np.mean(right)), 1 / len(model.classes_)


def _looks(
    proba: NDArray[np.float32],
    material: "Material",
    groups: NDArray[np.int64],
    columns: dict[str, list[str]],
    settings: Settings,
) -> list[Look]:
    """Return the audit's figures of each value's pictures beside those of all others."""
    labels, known = material.truth(material.left_out)
    cuts = best_thresholds(proba, labels, known)
    decided = sparse.csr_array((proba >= cuts) & labels.any(axis=0))
    listed = (proba >= _LISTED) | labels
    indptr = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.int64)
    pairs = Pairs(indptr=indptr, tag=np.nonzero(listed)[1].astype(np.int32), n_tags=listed.shape[1])
    base = np.zeros(listed.shape[1], np.float32)
    judged = JudgedPairs.of(
        PairProba(pairs=pairs, proba=proba[listed], base=base),
        decided,
        sparse.csr_array(labels),
        sparse.csr_array(~known),
    )
    compare = settings.compare
    slices, _ = column_slices(
        columns,
        list(columns),
        most_values=compare.max_slice_values,
        least_images=settings.audit.least_images,
    )
    weightings = Weightings(groups, resamples=compare.resamples, seed=settings.seed)
    found = Resampled.of(slices, judged, groups, weightings).looks(
        confidence=compare.confidence,
        false_discovery_rate=compare.false_discovery_rate,
        least_groups=settings.audit.least_groups,
    )
    return [look for look in found if look.figure in _FIGURES]
