"""Calibrators by name: fitting one, and reading back what was saved."""

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from tagstack.meta.calibrators.identity import Identity
from tagstack.meta.calibrators.isotonic import fit_isotonic
from tagstack.meta.calibrators.parametric import ParametricMaps, fit_parametric
from tagstack.meta.calibrators.protocol import How, Sample, TagMaps
from tagstack.meta.calibrators.step_maps import StepMaps
from tagstack.meta.calibrators.venn_abers import fit_venn_abers

_FITS: dict[str, Callable[[Sample, How], TagMaps]] = {
    "platt": fit_parametric,
    "temperature": fit_parametric,
    "beta": fit_parametric,
    "isotonic": fit_isotonic,
    "venn_abers": fit_venn_abers,
}


def fit_maps(sample: Sample, how: How) -> TagMaps:
    """Return the fitted maps of all tags; the identity without a calibrator or without a row."""
    if how.kind == "none" or not len(sample.tag):
        return Identity()
    return _FITS[how.kind](sample, how)


def named_arrays(prefix: str, maps: TagMaps) -> dict[str, NDArray[Any]]:
    """Return the arrays of fitted maps under names that `maps_from_arrays` understands.

    Shapes are the calibrator's own.
    """
    return {f"{prefix}{maps.kind}.{name}": array for name, array in maps.arrays().items()}


def maps_from_arrays(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> TagMaps:
    """Return the maps that `named_arrays` named with ``prefix``; the same, bit for bit.

    Raises
    ------
    KeyError
        If there are none.
    """
    own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    kinds = {name.partition(".")[0] for name in own}
    if kinds == {"none"}:
        return Identity()
    parts = {name.partition(".")[2]: array for name, array in own.items()}
    if len(kinds) != 1:
        raise KeyError(prefix)
    (kind,) = kinds
    if kind in ("isotonic", "venn_abers"):
        return StepMaps(kind=kind, **parts)
    return ParametricMaps(kind=kind, theta=parts["theta"])
