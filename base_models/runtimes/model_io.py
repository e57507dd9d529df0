"""A model file's inputs and outputs against the contract, whichever backend has read the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.added_output import output_names
from tagstack.configs.errors import TagstackError

MOST_FEATURES = 65_536


@dataclass(frozen=True)
class Port:
    """An input or output as the file states it.

    Parameters
    ----------
    name : str
    shape : tuple of int, str or None
        Fixed sides as numbers; whatever else stands for a dynamic one.
    kind : str
        Element type in the backend's own words, for messages.
    """

    name: str
    shape: tuple[int | str | None, ...]
    kind: str


def only_input(path: Path, inputs: Sequence[Port], contract: Contract) -> Port:
    """Return a model's one input.

    Raises
    ------
    TagstackError
        If there are several, or it is not the one that the contract names.
    """
    by_name = {port.name: port for port in inputs}
    name = contract.input.name
    if (name is None and len(by_name) != 1) or (name is not None and set(by_name) != {name}):
        msg = (
            f"{path}: the model has the inputs {sorted(by_name)}, the contract expects "
            f"{[name] if name else 'one'}. Models with several inputs cannot be run."
        )
        raise TagstackError(msg)
    return next(iter(by_name.values()))


def chosen_output(path: Path, outputs: Sequence[Port], contract: Contract) -> int:
    """Return the position of the output that the contract asks for.

    Raises
    ------
    TagstackError
        If there is none, or there are several and the contract names none.
    """
    names = [port.name for port in outputs]
    wanted = contract.output
    if wanted.name is not None and wanted.name in names:
        return names.index(wanted.name)
    if wanted.index is not None and -len(names) <= wanted.index < len(names):
        return wanted.index % len(names)
    if wanted.name is None and wanted.index is None and len(names) == 1:
        return 0
    asked = wanted.name if wanted.name is not None else wanted.index
    msg = (
        f"{path}: the model has the outputs {names}, the contract asks for "
        f"{'none of them by name' if asked is None else repr(asked)}. Set [output] name."
    )
    raise TagstackError(msg)


def with_named_scores(path: Path, contract: Contract) -> Contract:
    """Return the contract with its scores named where it names features.

    An output that is added to a file can then not be taken for the scores.

    Raises
    ------
    TagstackError
        If the file has no such scores.
    """
    if contract.output.features is None or contract.output.name is not None:
        return contract
    ports = [Port(name, (), "") for name in output_names(path)]
    name = ports[chosen_output(path, ports, contract)].name
    output = contract.output.model_copy(update={"name": name, "index": None})
    return contract.model_copy(update={"output": output})


def chosen_features(path: Path, outputs: Sequence[Port], contract: Contract) -> int | None:
    """Return the position of the features among the outputs; None where none are asked for.

    Raises
    ------
    TagstackError
        If no output has their name.
    """
    name, names = contract.output.features, [port.name for port in outputs]
    if name is None or name in names:
        return None if name is None else names.index(name)
    raise TagstackError(no_such_features(path, name))


def no_such_features(path: Path, name: str) -> str:
    """Return what to say of features that a model does not have."""
    return (
        f"{path}: the model has no tensor {name!r}, which the contract calls its features. "
        "Correct [output] features, or leave it out to have it looked for."
    )


def feature_width(path: Path, name: str, shape: tuple[int, ...], n_images: int) -> int:
    """Return how many features an image has, by the shape of the tensor of some.

    Raises
    ------
    TagstackError
        If the tensor is no vector for each image.
    """
    width = int(np.prod(shape[1:]))
    if shape[:1] != (n_images,) or max(shape[1:], default=0) != width or width > MOST_FEATURES:
        msg = (
            f"{path}: the tensor {name!r} is {list(shape)} for {n_images} images; expected one "
            f"vector of at most {MOST_FEATURES} features for each. Correct [output] features."
        )
        raise TagstackError(msg)
    return width


def image_shape(contract: Contract) -> tuple[int, int, int]:
    """Return the shape of one image as the contract lays it out."""
    height, width = contract.input.height_width
    return (height, width, 3) if contract.input.layout == "NHWC" else (3, height, width)


def checked_shape(path: Path, port: Port, contract: Contract) -> tuple[int, int, int]:
    """Return the shape of one image in the contract's layout.

    Raises
    ------
    TagstackError
        If the model's input has another shape.
    """
    found, shape = list(port.shape), image_shape(contract)
    batch = contract.input.batch
    expected = [batch if isinstance(batch, int) else "batch", *shape]
    pairs = zip(found[1:], shape, strict=False)
    fits = len(found) == 4 and all(not isinstance(a, int) or a == b for a, b in pairs)
    # A batch that the contract fixes may be dynamic in the file; the reverse is a contradiction.
    fits = fits and (not isinstance(found[0], int) or found[0] == batch)
    if not fits:
        msg = (
            f"{path}: the model's input is {found}, the contract says {expected} "
            f"({contract.input.layout}). Correct [input] layout, size or batch."
        )
        raise TagstackError(msg)
    return shape


def check_batch(
    path: Path,
    batch: NDArray[Any],
    shape: tuple[int, int, int],
    *,
    is_open: bool,
    dtype: type[np.generic] = np.float32,
) -> None:
    """Refuse a batch that a session cannot run.

    Raises
    ------
    TagstackError
        If the session is closed, or dtype or shape are not the model's.
    """
    if not is_open:
        raise TagstackError(f"{path}: the session is closed; open the tagger again.")
    if batch.dtype != dtype or batch.shape[1:] != shape:
        msg = (
            f"{path}: the batch must be {np.dtype(dtype)} of shape (n_images, "
            f"{', '.join(map(str, shape))}), got {batch.dtype} {batch.shape}."
        )
        raise TagstackError(msg)


def fixed(side: int | str | None) -> int | None:
    """Return a side of a shape if the file fixes it, else None."""
    return side if isinstance(side, int) else None
