"""What an engine is made of, layer by layer, as TensorRT's own inspector tells it.

References
----------
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#engine-inspector
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One step of an engine.

    Parameters
    ----------
    name : str
    kind : str
        Such as ``"Convolution"`` or ``"kgen"``, in TensorRT's words.
    precision : str
        Formats of what it gives, such as ``"Half"``, each once.
    tactic : str
        The kernel that was chosen.
    """

    name: str
    kind: str
    precision: str
    tactic: str


def engine_layers(plan: bytes, api: TrtApi) -> tuple[Layer, ...]:
    """Return the layers of a plan in order; only where the plan can be loaded.

    Raises
    ------
    BackendError
        If TensorRT does not take the plan, as without its GPU.
    """
    runtime, engine = api.engine(plan, api.logger())
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(api.trt.LayerInformationFormat.JSON)
    del inspector, engine, runtime  # each needs the one after it
    return layers_from_json(text)


def layers_from_json(text: str) -> tuple[Layer, ...]:
    """Return what the inspector wrote; without details a layer is only a name."""
    return tuple(map(_layer, json.loads(text).get("Layers", ())))


def _layer(found: Any) -> Layer:
    if not isinstance(found, dict):
        return Layer(name=str(found), kind="", precision="", tactic="")
    return Layer(
        name=str(found.get("Name", "")),
        kind=str(found.get("LayerType", "")),
        precision=", ".join(_precisions(found.get("Outputs", ()))),
        tactic=str(found.get("TacticName") or found.get("TacticValue") or ""),
    )


def _precisions(outputs: Sequence[Any]) -> list[str]:
    formats = (str(port.get("Format/Datatype", "?")) for port in outputs if isinstance(port, dict))
    # "Row major linear FP16 format", or since TensorRT 10.10 "Half".
    return list(dict.fromkeys(formats))
