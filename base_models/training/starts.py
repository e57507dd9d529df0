"""What a training starts from: a name, weights of timm on disk, or a tagger that was trained here.

Weights are read from safetensors alone. A pickle (``.bin``, ``.pt``, ``.pth``, ``.ckpt``) can run
code when it is loaded, and is refused by name. What a checkpoint's own file says of its pictures
goes before what timm says of the architecture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError

from tagstack.base_models.contract import CONTRACT_FILE, Channels, Resample, Side, read_contract
from tagstack.base_models.taggers.timm_contract import CONFIG_FILE, channels, resample
from tagstack.configs.errors import TagstackError
from tagstack.configs.section import Checked, Section, validated, validation_summary
from tagstack.configs.text_files import read_json

WEIGHTS_FILE = "weights.safetensors"
RECORD_FILE = "training.json"
_TIMM_WEIGHTS_FILE = "model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_RESAMPLE: Resample = "bicubic"
_FILTERS: dict[str, Resample] = {name: name for name in get_args(Resample)}
# What timm's factory takes beside the network's own arguments: it would fetch or load files, or
# build something else than a body that gives one row of features.
_FACTORY = ("pretrained", "checkpoint", "cache_dir", "features_only", "feature_cfg")
_DECIDED = ("num_classes", "img_size", "in_chans")  # by the tags and the pictures here
_AGAIN = "Fetch it again, or correct it."


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a training starts from.

    Parameters
    ----------
    architecture : str
        ``"resnet"``, ``"convnext"``, ``"vit"``, or a name of timm.
    weights : Path, optional
        Safetensors; random weights without.
    size : int, optional
        Side of the pictures that the weights were trained on.
    colours : pair of tuple of float, optional
        Mean and standard deviation of the channels, on 0-1, that the weights were trained on.
    resample : str
        Filter that scales the pictures.
    arguments : mapping
        What timm builds the network with, beside its name.
    tags : tuple of str
        Tags of the weights' own head, whose rows are taken over; none for others' weights.
    """

    architecture: str
    weights: Path | None = None
    size: int | None = None
    colours: tuple[Channels, Channels] | None = None
    resample: Resample = _RESAMPLE
    arguments: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def start_from(given: str) -> Start:
    """Return what ``--from`` names: an architecture, a tagger's folder, or weights on disk.

    A folder of timm has ``config.json`` with ``architecture``, and ``model.safetensors``.

    Raises
    ------
    TagstackError
        If it is a pickle, or a folder without what is needed.
    """
    path = Path(given)
    if path.suffix.lower() in _PICKLES:
        msg = (
            f"{path}: weights in a pickle can run code when they are loaded; expected a folder "
            "with model.safetensors and config.json, or a tagger of `tagstack train`. Convert them "
            "with the package safetensors, on a machine where that may happen."
        )
        raise TagstackError(msg)
    if path.is_dir():
        own = (path / RECORD_FILE).is_file() and (path / WEIGHTS_FILE).is_file()
        return _of_tagger(path) if own else _of_timm(path, path / _TIMM_WEIGHTS_FILE)
    if path.suffix or len(path.parts) > 1:
        if path.suffix == ".safetensors" and path.is_file():
            return _of_timm(path.parent, path)
        if path.suffix == ".safetensors" or len(path.parts) > 1:
            raise TagstackError(f"No such folder or weights: {path}. Expected safetensors.")
    return Start(architecture=given)


_Positive = Annotated[float, Field(gt=0)]


class _Record(Section):
    """What a tagger that was trained here says of its network."""

    architecture: str
    size: Side
    tags: tuple[str, ...]
    arguments: Mapping[str, Any] = Field(default_factory=dict)


def _of_tagger(folder: Path) -> Start:
    path = folder / RECORD_FILE
    content = _object(path)
    record = _checked(_Record, content, _Record.model_fields, path)
    seen: dict[str, Any] = {}
    if (folder / CONTRACT_FILE).is_file():
        image = read_contract(folder / CONTRACT_FILE).input
        seen["resample"] = image.resample
        if image.mean and image.std:
            seen["colours"] = (image.mean, image.std)
    return Start(
        architecture=record.architecture,
        weights=folder / WEIGHTS_FILE,
        size=record.size,
        arguments=_arguments(record.arguments, path),
        tags=record.tags,
        **seen,
    )


class _Pretrained(Section):
    """What timm's file says of the pictures that its weights were trained on.

    ``img_size`` and ``in_chans`` are of the network that has these weights; ``input_size`` may be
    of an earlier one.
    """

    img_size: Side | tuple[Side, Side] | None = None
    in_chans: Literal[3] = 3
    input_size: tuple[Literal[3], Side, Side] | None = None
    mean: Channels | None = None
    std: tuple[_Positive, _Positive, _Positive] | None = None
    interpolation: str | None = None

    @property
    def side(self) -> int | None:
        """The longer side in pixels, for pictures are squares here; None where nothing says it."""
        if isinstance(self.img_size, int):
            return self.img_size
        return max(self.img_size or (self.input_size or ())[1:], default=None)


def _of_timm(folder: Path, weights: Path) -> Start:
    path = folder / CONFIG_FILE
    if not path.is_file() or not weights.is_file():
        others = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _PICKLES)
        more = f" Pickles ({', '.join(others[:3])}) are not loaded." if others else ""
        msg = (
            f"{folder} is no checkpoint: expected config.json with 'architecture' and "
            f"model.safetensors, or {RECORD_FILE} and {WEIGHTS_FILE} of `tagstack train`.{more}"
        )
        raise TagstackError(msg)
    config = _object(path)
    name, said = config.get("architecture"), config.get("pretrained_cfg", config)
    if not isinstance(name, str):
        raise TagstackError(f"{path}: 'architecture' must name one of timm's.")
    arguments = config.get("model_args", {})
    own = _arguments(arguments, path)
    said = said if isinstance(said, dict) else {}
    whole = {key: channels(said[key]) for key in ("mean", "std") if said.get(key) is not None}
    seen = _checked(_Pretrained, {**said, **whole, **arguments}, _Pretrained.model_fields, path)
    return Start(
        architecture=name,
        weights=weights,
        size=seen.side,
        colours=(seen.mean, seen.std) if seen.mean and seen.std else None,
        resample=_FILTERS.get(str(resample(seen.interpolation)), _RESAMPLE),
        arguments=own,
    )


def _arguments(given: object, path: Path) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise TagstackError(f"{path}: the arguments of its network: expected an object. {_AGAIN}")
    foreign = sorted(key for key in given if key.startswith(_FACTORY))
    if foreign:
        msg = (
            f"{path}: arguments that are not the network's own: {', '.join(foreign[:3])}; they "
            "may fetch or load files. Delete them there."
        )
        raise TagstackError(msg)
    return {key: value for key, value in given.items() if key not in _DECIDED}


def _checked(
    section: type[Checked], content: Mapping[str, Any], keys: Mapping[str, Any], path: Path
) -> Checked:
    """Return what is known of a file's content; it may say more."""
    try:
        return validated(section, {key: content[key] for key in keys if key in content})
    except ValidationError as error:
        raise TagstackError(f"{path}: {validation_summary(error)}. {_AGAIN}") from error


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path, limit=2**28)
    return content if isinstance(content, dict) else {}
