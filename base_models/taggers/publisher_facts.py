"""What the files that publishers put beside a network say of its input, each in their own words.

`timm_contract` reads ``preprocess.json`` whole and refuses what a contract cannot say. Here every
file gives what it can: a crop leaves the geometry open and says so. To add a kind of file, write
one more reader and enter it in ``_READERS``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagstack.base_models.taggers.timm_contract import (
    CONFIG_FILE,
    PREPROCESS_FILE,
    Stages,
    channels,
    resample,
    stages_of,
)
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import DESCRIPTION_BYTES, own_file
from tagstack.configs.shown import shown
from tagstack.configs.text_files import parse_json, read_text

_CROPPED = "a crop, which no contract can say: many such taggers pad instead"
# The numbers that Pillow gives its filters.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "area"}
_LICENCE = re.compile(r"(?m)^licen[cs]e:[ \t]*([\w.+ -]{1,60}?)[ \t]*$")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What files say.

    Parameters
    ----------
    facts : mapping of str to (value, str)
        Keys of ``[input]`` with their values, and where each comes from.
    notes : tuple of str
        What was not understood, for the user.
    """

    facts: Mapping[str, tuple[Any, str]]
    notes: tuple[str, ...] = ()


def said_of_input(folder: Path) -> Said:
    """Return what the files of a folder say of the input; the first file that says a fact counts.

    A file that is missing says nothing; one that cannot be read or understood is a note.
    """
    facts: dict[str, tuple[Any, str]] = {}
    notes: list[str] = []
    for name, reader in _READERS.items():
        if not (folder / name).exists():
            continue
        try:
            own_file(folder, name, max_bytes=DESCRIPTION_BYTES)
            text = read_text(folder / name, limit=DESCRIPTION_BYTES)
            found, more = reader(folder / name, parse_json(text, name))
        except TagstackError as error:
            notes.append(f"{name} was left aside: {shown(str(error))}")
            continue
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            notes.append(f"{name} was left aside: it lacks or garbles {shown(str(error)[:80])}")
            continue
        for key, value in found.items():
            facts.setdefault(key, (value, name))
        notes += [f"{name}: {note}" for note in more]
    return Said(facts=facts, notes=tuple(notes))


def licence_of(folder: Path) -> str | None:
    """Return the licence that a model card names in its head, if there is one."""
    try:
        own_file(folder, "README.md", max_bytes=DESCRIPTION_BYTES)
        text = read_text(folder / "README.md", limit=DESCRIPTION_BYTES)
    except TagstackError:
        return None
    head = text.split("\n---", 1)[0] if text.startswith("---") else ""
    found = _LICENCE.search(head)
    return found[1] if found else None


Read = tuple[dict[str, Any], list[str]]


def _preprocess(path: Path, content: Any) -> Read:
    return {"colour": "RGB", **Stages(path).image(stages_of(content, path))}, []


def _timm(path: Path, content: Any) -> Read:
    """Return what timm's ``pretrained_cfg`` says."""
    config = content.get("pretrained_cfg")
    if not isinstance(config, dict):
        return {}, []
    facts: dict[str, Any] = {"colour": "RGB"}
    if "mean" in config and "std" in config:
        facts |= {"mean": channels(config["mean"]), "std": channels(config["std"])}
    if "interpolation" in config:
        facts["resample"] = resample(config["interpolation"])
    if "input_size" in config:
        facts["size"] = [int(side) for side in config["input_size"][1:]]
    mode = config.get("crop_mode")
    if mode in ("squash", "border"):
        return facts | {"geometry": "squash" if mode == "squash" else "fit_pad"}, []
    return facts, [f"crop_mode {mode!r} is {_CROPPED}"]


def _transformers(path: Path, content: Any) -> Read:
    """Return what an image processor of Hugging Face's transformers says."""
    facts: dict[str, Any] = {"colour": "RGB"}
    notes = []
    factor = float(content.get("rescale_factor", 1 / 255)) if content.get("do_rescale", True) else 1
    if content.get("do_normalize", True) and "image_mean" in content and "image_std" in content:
        scale = factor * 255  # mean and deviation are on the scale that this gives
        facts["mean"] = [float(one) / scale for one in channels(content["image_mean"])]
        facts["std"] = [float(one) / scale for one in channels(content["image_std"])]
    elif abs(factor * 255 - 1) < 1e-6:
        facts["range"] = "0-1"
    elif factor == 1:
        facts["range"] = "0-255"
    if content.get("resample") in _FILTERS:
        facts["resample"] = _FILTERS[content["resample"]]
    size = content.get("size")
    if content.get("do_center_crop"):
        notes.append(f"do_center_crop is {_CROPPED}")
    elif isinstance(size, dict) and {"height", "width"} <= set(size):
        facts |= {"size": [int(size["height"]), int(size["width"])], "geometry": "squash"}
    return facts, notes


def _letterbox(path: Path, content: Any) -> Read:
    """Return what OppaiOracle's ``preprocessing.json`` says; its own reader fits with bicubic."""
    facts = {
        "colour": str(content.get("color_space", content.get("channel_order", "RGB"))),
        "size": int(content["image_size"]),
        "geometry": "fit_pad",
        "rounding": "nearest",
        "pad": [int(one) for one in content["pad_color_rgb"]],
        "mean": [float(one) for one in content["normalize_mean"]],
        "std": [float(one) for one in content["normalize_std"]],
    }
    return facts, []


_READERS: dict[str, Callable[[Path, Any], Read]] = {
    PREPROCESS_FILE: _preprocess,
    "preprocessing.json": _letterbox,
    "preprocessor_config.json": _transformers,
    CONFIG_FILE: _timm,
}
