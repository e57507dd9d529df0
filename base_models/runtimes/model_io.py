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


# Element types that a mask may have, in the words of the backends.
_MASKS: dict[str, type[np.generic]] = {
    "tensor(bool)": np.bool_, "boolean": np.bool_, "9": np.bool_,
    "tensor(float)": np.float32, "f32": np.float32, "1": np.float32,
    "tensor(uint8)": np.uint8, "u8": np.uint8, "2": np.uint8,
    "tensor(int64)": np.int64, "i64": np.int64, "7": np.int64,
}  # fmt: skip


@dataclass(frozen=True)
class ModelInputs:
    """A model's input for pictures, and that for their padding if it has one of its own.

    A batch is one array all the same: where the contract has a padding mask, its last channel is
    that, and `feed` parts them. A file that takes both in one input (`packed_input`) has no
    ``mask``.
    """

    picture: Port
    mask: Port | None = None

    def feed(self, batch: NDArray[Any], layout: str) -> dict[str, NDArray[Any]]:
        """Return what goes into each input by its name.

        Parameters
        ----------
        batch : array of shape (n_images, channels, side, side) or with the channels last
            The last channel is the padding's mask where the model takes one.
        layout : str
            ``NHWC`` for channels last.

        Returns
        -------
        dict of str to array of shape (n_images, ...)
        """
        if self.mask is None:
            return {self.picture.name: batch}
        last = layout == "NHWC"
        picture, mask = (batch[..., :3], batch[..., 3]) if last else (batch[:, :3], batch[:, 3])
        return {
            self.picture.name: np.ascontiguousarray(picture),
            self.mask.name: np.ascontiguousarray(mask).astype(_MASKS[self.mask.kind]),
        }


def model_inputs(path: Path, inputs: Sequence[Port], contract: Contract) -> ModelInputs:
    """Return a model's inputs.

    Raises
    ------
    TagstackError
        If there are others than the contract names, or the mask is of no type that can be filled.
    """
    by_name = {port.name: port for port in inputs}
    name, mask = contract.input.name, contract.input.padding_mask
    pictures = [port for port in by_name.values() if port.name != mask]
    known = len(pictures) == 1 and name in (None, pictures[0].name)
    if not known or not pictures:
        told = [one for one in (name, mask) if one]
        msg = (
            f"{path}: the model has the inputs {sorted(by_name)}, the contract expects "
            f"{told or 'one'}. Name both where one is a mask of the padding ([input] "
            "padding_mask); models with other inputs cannot be run."
        )
        raise TagstackError(msg)
    own = by_name.get(mask) if mask is not None else None
    if own is not None and own.kind not in _MASKS:
        msg = f"{path}: the mask {own.name!r} is {own.kind}; expected bool, float, uint8 or int64."
        raise TagstackError(msg)
    return ModelInputs(pictures[0], own)


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


def image_shape(contract: Contract, planes: int | None = None) -> tuple[int, int, int]:
    """Return the shape of one image of a batch as the contract lays it out."""
    planes = planes or contract.input.planes
    height, width = contract.input.height_width
    return (height, width, planes) if contract.input.layout == "NHWC" else (planes, height, width)


def checked_shape(path: Path, inputs: ModelInputs, contract: Contract) -> tuple[int, int, int]:
    """Return the shape of one image of a batch in the contract's layout.

    Raises
    ------
    TagstackError
        If the model's inputs have other shapes.
    """
    found = list(inputs.picture.shape)
    shape = image_shape(contract, 3 if inputs.mask is not None else None)
    _check_mask(path, inputs.mask, contract)
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
    return image_shape(contract)


def _check_mask(path: Path, mask: Port | None, contract: Contract) -> None:
    if mask is None:
        return
    pairs = zip(mask.shape[1:], contract.input.height_width, strict=False)
    if len(mask.shape) != 3 or any(isinstance(a, int) and a != b for a, b in pairs):
        height, width = contract.input.height_width
        msg = (
            f"{path}: the mask {mask.name!r} is {list(mask.shape)}, expected [batch, {height}, "
            f"{width}]. Such a mask cannot be filled."
        )
        raise TagstackError(msg)


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
