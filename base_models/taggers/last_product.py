"""Where a network's features are: what the product reads that gives the scores.

A tagger ends in ``scores = sigmoid(features @ weights + bias)``, mostly with the tags put in
another order behind it. The product is found by going back from the scores through operators that
change no more than order, shape and scale, to one whose weights have a column for each tag. That
is a guess by shape; `check_features` then multiplies and compares.

References
----------
https://onnx.ai/onnx/operators/
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.added_output import output_names
from tagstack.base_models.runtimes.model_io import MOST_FEATURES
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import own_path

# What may stand between the product and the scores; its first input leads on to the product.
_PASSED = frozenset(
    {"Sigmoid", "Identity", "Gather", "Cast", "Reshape", "Flatten", "Squeeze", "Clip", "Dropout"}
)
_MOST_STEPS = 50
# Of the largest logit: bfloat16 loses a hundredth, a wrong tensor all.
_SAME = 5e-2


@dataclass(frozen=True, kw_only=True)
class LastProduct:
    """The product that gives the scores.

    Parameters
    ----------
    features : str
        Tensor that it reads.
    weights : array of shape (n_features, n_tags), float32
        Columns in the order of the product, which is not always that of the scores.
    bias : array of shape (n_tags,), float32
    """

    features: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


class Featured(Protocol):
    """A loaded network with features, as `tagstack.base_models.taggers.tagger.Tagger` is one."""

    @property
    def folder(self) -> Path:
        """Where its files are."""

    @property
    def contract(self) -> Contract:
        """What it says of its outputs."""

    def raw(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the outputs as they come, shape (n_images, n_outputs)."""

    def logits_from_raw(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the outputs as logits, shape (n_images, n_tags)."""

    def raw_features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features, shape (n_images, n_features)."""


def features_of(folder: Path, contract: Contract) -> str:
    """Return the tensor that holds a tagger's features: as the contract says, else as found.

    Raises
    ------
    TagstackError
        If the contract does not say it and it cannot be found.
    """
    if contract.output.features is not None:
        return contract.output.features
    return last_product(folder / contract.files.model, contract).features


def last_product(model: Path, contract: Contract) -> LastProduct:
    """Return the product that gives a model's scores.

    Raises
    ------
    TagstackError
        If the package `onnx` is not there, or there is no such product: the message says how to
        name the features in the contract.
    """
    graph = _graph(model)
    makers = {name: node for node in graph.node for name in node.output}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    tensors |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    search = _Search(model, makers, tensors)
    found = search.product(_scores(model, contract))
    if found is None:
        msg = (
            f"{model}: no product of features and weights was found at the end of the network. "
            'Say [output] features = "NAME OF THE TENSOR" in the contract, or score without '
            "features of it."
        )
        raise TagstackError(msg)
    return found


def _graph(model: Path) -> Any:
    try:
        import onnx
    except ImportError as error:
        msg = (
            f"{model}: to look for the features of a network, the package onnx is needed. Run: "
            'pip install "tagstack[features]", or say [output] features in the contract.'
        )
        raise TagstackError(msg) from error
    try:
        # Weights beside the file stay there until they are wanted.
        return onnx.load(str(model), load_external_data=False).graph
    except Exception as error:  # protobuf's own kinds of errors are no stable names
        reason = " ".join(str(error).split())[:200]
        raise TagstackError(f"{model}: no ONNX file that can be read: {reason}.") from error


def _scores(model: Path, contract: Contract) -> str:
    names, wanted = output_names(model), contract.output
    if wanted.name is not None:
        return wanted.name
    return names[wanted.index or 0] if names else ""


@dataclass(frozen=True)
class _Search:
    """A way back from the scores; every step has one tensor that leads on."""

    model: Path
    makers: dict[str, Any]
    tensors: dict[str, Any]

    def product(self, name: str) -> LastProduct | None:
        bias: NDArray[np.float32] | None = None
        for _ in range(_MOST_STEPS):
            node = self.makers.get(name)
            if node is None:
                return None
            if node.op_type == "Gemm":
                return self._gemm(node)
            if node.op_type == "MatMul":
                return self._made(node.input[0], self._array(node.input[1]), bias)
            if node.op_type == "Conv":
                return self._conv(node)
            if node.op_type == "Add":
                added = [other for other in node.input if other in self.tensors]
                if len(added) != 1 or bias is not None:
                    return None
                bias = self._array(added[0])
                name = next(other for other in node.input if other not in self.tensors)
            elif node.op_type in _PASSED:
                name = node.input[0]
            else:
                return None
        return None

    def _gemm(self, node: Any) -> LastProduct | None:
        said = {attribute.name: attribute for attribute in node.attribute}
        weights = self._array(node.input[1])
        if weights is None or ("transA" in said and said["transA"].i):
            return None
        if "transB" in said and said["transB"].i:
            weights = weights.T
        alpha = said["alpha"].f if "alpha" in said else 1.0
        beta = said["beta"].f if "beta" in said else 1.0
        bias = self._array(node.input[2]) if len(node.input) > 2 else None
        return self._made(node.input[0], alpha * weights, None if bias is None else beta * bias)

    def _conv(self, node: Any) -> LastProduct | None:
        """Return a convolution of one pixel, which is a product where there is one pixel."""
        weights = self._array(node.input[1])
        if weights is None or max(weights.shape[2:], default=0) != 1:
            return None
        bias = self._array(node.input[2]) if len(node.input) > 2 else None
        return self._made(node.input[0], weights.reshape(weights.shape[:2]).T, bias)

    def _made(
        self,
        features: str,
        weights: NDArray[np.float32] | None,
        bias: NDArray[np.float32] | None,
    ) -> LastProduct | None:
        if weights is None or weights.ndim != 2 or not 0 < weights.shape[0] <= MOST_FEATURES:
            return None
        n_tags = weights.shape[1]
        whole = np.zeros(n_tags) if bias is None else bias.ravel()
        if whole.shape not in ((n_tags,), (1,)):
            return None
        return LastProduct(
            features=features,
            weights=np.asarray(weights, np.float32),
            bias=np.broadcast_to(whole, (n_tags,)).astype(np.float32),
        )

    def _array(self, name: str) -> NDArray[np.float32] | None:
        """Return a constant of the graph; None for what is computed, or is no numbers."""
        from onnx import numpy_helper

        if name not in self.tensors:
            node = self.makers.get(name)
            if node is None or node.op_type not in ("Transpose", "Identity", "Cast"):
                return None
            found = self._array(node.input[0])
            turned = found is not None and node.op_type == "Transpose" and found.ndim == 2
            return found.T if turned and found is not None else found
        try:
            array = numpy_helper.to_array(_held_inside(self.tensors[name], self.model))
        except (ValueError, TypeError, OSError, RuntimeError):
            return None
        return np.asarray(array, np.float32) if array.dtype.kind == "f" else None


def _held_inside(tensor: Any, model: Path) -> Any:
    """Return a tensor with its numbers inside, also those that lie in a file beside the model.

    The package `onnx` refuses such files behind links, and the registry links to a user's files.
    """
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    if not uses_external_data(tensor):
        return tensor
    info = ExternalDataInfo(tensor)
    with own_path(model.parent, info.location, said_by=model).open("rb") as stream:
        stream.seek(info.offset or 0)
        content = stream.read(info.length or -1)
    return type(tensor)(
        dims=tensor.dims, data_type=tensor.data_type, name=tensor.name, raw_data=content
    )


def check_features(tagger: Featured, pixels: NDArray[np.uint8]) -> str:
    """Return what shows that a tagger's features are what its scores are made of.

    Features times weights plus bias must be the logits, in whichever order the tags come; where
    the weights cannot be read, the features must at least be finite and differ between pictures.

    Parameters
    ----------
    tagger : Featured
    pixels : array of shape (n_images, height, width, 3), uint8, RGB
        Pictures that differ, at least two.

    Raises
    ------
    TagstackError
        If they are not.
    """
    features, name = tagger.raw_features(pixels), tagger.contract.output.features
    if not np.isfinite(features).all() or np.array_equal(features[0], features[-1]):
        msg = (
            f"{tagger.folder}: the tensor {name!r}, said to be the features, is not finite or the "
            "same for a flat and a noisy image. Correct [output] features."
        )
        raise TagstackError(msg)
    width = f"{features.shape[1]} numbers, {name}"
    try:
        product = last_product(tagger.folder / tagger.contract.files.model, tagger.contract)
    except TagstackError:
        return f"{width}; finite, not compared with the scores: the last product was not found"
    if product.features != name or product.weights.shape[0] != features.shape[1]:
        return f"{width}; finite, not what the last product reads ({product.features})"
    made = np.sort(features @ product.weights + product.bias, axis=1)
    logits = np.sort(tagger.logits_from_raw(tagger.raw(pixels)), axis=1)
    made = made.clip(logits.min(), logits.max())
    scale = max(float(np.abs(logits).max()), 1.0)
    apart = float(np.abs(made - logits).max()) / scale if made.shape == logits.shape else np.inf
    if apart > _SAME:
        msg = (
            f"{tagger.folder}: features {name!r} times the last weights are not the logits: they "
            f"differ by {apart:.2g} of their size, expected at most {_SAME:g}. Say another tensor "
            "as [output] features, or score without features."
        )
        raise TagstackError(msg)
    return f"{width}; times the last weights they are the logits, to {apart:.1g} of their size"
