"""A probe as named arrays, and back after a look at each."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.calibrators.calibration import MemberCalibration
from tagstack.meta.calibrators.protocol import TagMaps
from tagstack.meta.calibrators.registry import named_arrays
from tagstack.meta.checked_arrays import CheckedArrays
from tagstack.meta.probe.columns import MOST_COLUMNS, Columns, weights_on_grid
from tagstack.meta.probe.probe import Probe

_PREFIX = "probe:"
_MOST_LOGIT, _MOST_WEIGHT = 1e4, 1e4
_LEAST_DEVIATION = 1e-9


def holds_probe(arrays: CheckedArrays) -> bool:
    """Return whether a stack's arrays have a probe among them."""
    return f"{_PREFIX}weights" in arrays.arrays


def probe_arrays(probe: Probe) -> dict[str, NDArray[Any]]:
    """Return a probe's arrays under their names.

    Of its columns (``mean``, ``deviation``, shape (n_columns,)), of its tags (``rate``, ``bias``,
    ``shift``, shape (n_tags,)), ``weights`` of shape (n_columns, n_tags), ``limits`` of shape
    (2,), and the calibration maps of each tagger.
    """
    arrays: dict[str, NDArray[Any]] = {
        "mean": probe.columns.mean,
        "deviation": probe.columns.deviation,
        "rate": probe.rate,
        "weights": probe.weights,
        "bias": probe.bias,
        "shift": probe.shift,
        "limits": np.array([probe.floor, probe.least], np.float64),
    }
    for number, maps in enumerate(probe.calibration.maps):
        arrays |= named_arrays(f"member:{number}:", maps)
    return {_PREFIX + name: array for name, array in arrays.items()}


def probe_from_arrays(
    arrays: CheckedArrays,
    n_taggers: int,
    n_tags: int,
    maps: Callable[[str, CheckedArrays, int], TagMaps],
) -> Probe:
    """Return the probe whose `probe_arrays` these are.

    Parameters
    ----------
    arrays : CheckedArrays
    n_taggers, n_tags : int
        Of the stack.
    maps : callable
        Returns the maps under a prefix, after a look at them.

    Raises
    ------
    ValueError
        If an array is missing, has another shape, or holds what no fit gives.
    """
    (n_columns,) = arrays.real(f"{_PREFIX}mean", (None,)).shape
    if not 0 < n_columns <= MOST_COLUMNS or n_taggers < 1:
        msg = f"a probe of {n_columns} features and {n_taggers} taggers cannot be"
        raise ValueError(msg)
    weights = arrays.real(
        f"{_PREFIX}weights", (n_columns, n_tags), low=-_MOST_WEIGHT, high=_MOST_WEIGHT
    )
    floor, least = arrays.real(f"{_PREFIX}limits", (2,), low=-30.0, high=0.0)
    calibration = MemberCalibration(
        maps=tuple(maps(f"{_PREFIX}member:{n}:", arrays, n_tags) for n in range(n_taggers))
    )
    shift = np.zeros(n_tags)  # of probes written before there was one
    if f"{_PREFIX}shift" in arrays.arrays:
        shift = _logits(arrays, "shift", n_tags)
    return Probe(
        columns=Columns(
            mean=arrays.real(f"{_PREFIX}mean", (n_columns,)),
            deviation=arrays.real(f"{_PREFIX}deviation", (n_columns,), low=_LEAST_DEVIATION),
        ),
        calibration=calibration,
        rate=_logits(arrays, "rate", n_tags),
        weights=weights_on_grid(weights),
        bias=_logits(arrays, "bias", n_tags),
        shift=shift,
        floor=np.float32(floor),
        least=np.float32(max(floor, least)),
    )


def _logits(arrays: CheckedArrays, name: str, n_tags: int) -> NDArray[np.float64]:
    found = arrays.real(_PREFIX + name, (n_tags,), low=-_MOST_LOGIT, high=_MOST_LOGIT)
    return found.astype(np.float64)
