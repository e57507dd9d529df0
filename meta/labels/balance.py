"""Weights of images under which the values of a label column count alike in a fit.

A style with a tenth of the pictures has a tenth of the say in what is learnt. Under these weights
each value has the same, and inside a value each group of images has the same: a hundred frames of
one scene are one scene.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.tag_names import did_you_mean
from tagstack.configs.errors import TagstackError

UNNAMED = "(none)"  # what images without a value are called


@dataclass(frozen=True, kw_only=True)
class Balance:
    """What each image counts in a fit.

    Parameters
    ----------
    column : str
    weight : array of shape (n_images,), float64, above 0
        1 on average.
    values : mapping of value to mapping
        For each: ``images``, ``groups``, and the ``share`` of all weight that it has.
    held : int
        Images whose weight the limit keeps down.
    """

    column: str
    weight: NDArray[np.float64]
    values: Mapping[str, Mapping[str, float]]
    held: int

    def facts(self) -> dict[str, Any]:
        """Return what a bundle keeps of it."""
        values = {name: dict(own) for name, own in self.values.items()}
        return {"column": self.column, "values": values, "held": self.held}


def balance_of(
    column: str,
    columns: Mapping[str, Sequence[str]],
    groups: NDArray[np.integer],
    most: float,
) -> Balance:
    """Return the weights under which the values of a column count alike.

    Parameters
    ----------
    column : str
    columns : mapping of column to n_images values
        Images without a value are a kind of their own.
    groups : array of shape (n_images,), integer
        A group with images of several values counts once in each.
    most : float, above 1
        No image counts more than so many times the mean: a value with few groups would otherwise
        rest on a handful of pictures.

    Raises
    ------
    TagstackError
        If there is no such column, or all images have one value of it.
    """
    if column not in columns:
        close = did_you_mean(column, columns)
        msg = (
            f"The labels have no column {column!r} to balance by; they have "
            f"{sorted(columns) or 'none besides image and tags'}. {close}".rstrip()
        )
        raise TagstackError(msg)
    names, value = np.unique(
        np.array([own or UNNAMED for own in columns[column]], object), return_inverse=True
    )
    if len(names) < 2:
        msg = (
            f"All {len(value)} images have {column}={names[0] if len(names) else ''}; expected two "
            "values or more to balance. Leave --balance out, or name another column."
        )
        raise TagstackError(msg)
    inside = np.unique(groups, return_inverse=True)[1].astype(np.int64) * len(names) + value
    of_image, size = np.unique(inside, return_inverse=True, return_counts=True)[1:]
    n_groups = np.bincount(np.unique(inside) % len(names), minlength=len(names))
    alike = len(value) / (len(names) * n_groups[value] * size[of_image])
    weight = np.minimum(alike, most)
    weight *= len(weight) / weight.sum()
    share = np.bincount(value, weight, len(names)) / weight.sum()
    n_images = np.bincount(value, minlength=len(names))
    return Balance(
        column=column,
        weight=weight,
        values={
            str(name): {
                "images": int(n_images[i]),
                "groups": int(n_groups[i]),
                "share": round(float(share[i]), 6),
            }
            for i, name in enumerate(names.tolist())
        },
        held=int((alike > most).sum()),
    )
