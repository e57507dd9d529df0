"""Contracts of folders that a publisher described in files of his own: ``preprocess.json``.

Exports of timm networks (animetimm, PixAI and others) come with ``preprocess.json``, the stages
from picture to tensor, ``selected_tags.csv``, and mostly ``categories.json`` and
``thresholds.csv``. Those hold what a contract states, so none need be written by hand. What a
contract cannot express is refused, above all a crop: it cuts off heads and feet.

A bare ``config.json`` of timm is read only where its ``crop_mode`` keeps the whole picture.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import ImageColor

from tagstack.base_models.contract import (
    CONTRACT_FILE,
    Contract,
    contract_from_toml,
    read_contract,
)
from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import read_table
from tagstack.configs.text_files import parse_json, read_text

_WHITE = [255, 255, 255]


class Stages:
    """Reads stages one after the other; ``path`` names their file in messages."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = {"matte": _WHITE}
        # Side of the square that a stage before this one has made, if one has.
        self._square: int | None = None

    def image(self, stages: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the keys of a contract's ``[input]`` that stages describe.

        Raises
        ------
        TagstackError
            If a stage is unknown or would crop the picture.
        """
        known = {
            "convert_rgb": self._convert_rgb,
            "pad_to_size": self._pad_to_size,
            "resize": self._resize,
            "center_crop": self._center_crop,
            "to_tensor": self._to_tensor,
            "maybe_to_tensor": self._to_tensor,
            "normalize": self._normalize,
        }
        for stage in stages:
            kind = str(stage.get("type"))
            if kind not in known:
                raise self._fault(f"the stage {kind!r} is none of {sorted(known)}")
            known[kind](stage)
        if "size" not in self._values:
            raise self._fault("no stage gives the size")
        if "mean" not in self._values:
            self._values["range"] = "0-1"
        return self._values

    def _convert_rgb(self, stage: dict[str, Any]) -> None:
        self._values["matte"] = _colour(stage.get("force_background") or "white")

    def _pad_to_size(self, stage: dict[str, Any]) -> None:
        side = self._side(stage)
        filter_ = resample(stage.get("interpolation", "bilinear"))
        pad = _colour(stage.get("background_color", "white"))
        self._values |= {"size": side, "geometry": "fit_pad", "resample": filter_, "pad": pad}
        self._square = side

    def _resize(self, stage: dict[str, Any]) -> None:
        size = stage.get("size")
        whole = isinstance(size, list) and len(size) == 2
        if self._square is not None:
            canvas = {"size": self._square, "resample": self._values["resample"]}
            self._values["canvas"] = canvas
        elif not whole:
            raise self._crop(f"resize to {size!r} fits the shorter side")
        self._values["size"] = size if whole else self._side(stage)
        self._values["geometry"] = "squash"
        self._values["resample"] = resample(stage.get("interpolation", "bilinear"))

    def _center_crop(self, stage: dict[str, Any]) -> None:
        size, before = stage.get("size"), self._values.get("size")
        if _pair(size) != _pair(before):
            raise self._crop(f"center_crop cuts {size!r} out of {before!r}")

    def _to_tensor(self, stage: dict[str, Any]) -> None:
        """Divide by 255, which every range below includes."""

    def _normalize(self, stage: dict[str, Any]) -> None:
        self._values |= {"mean": channels(stage.get("mean")), "std": channels(stage.get("std"))}

    def _side(self, stage: dict[str, Any]) -> int:
        pair = _pair(stage.get("size"))
        if pair is None or pair[0] != pair[1]:
            raise self._fault(f"{stage.get('type')} to {stage.get('size')!r} is no square")
        return pair[0]

    def _crop(self, what: str) -> TagstackError:
        return self._fault(f"{what}, which would crop the picture")

    def _fault(self, what: str) -> TagstackError:
        return TagstackError(f"{self._path}: {what}. Write a {CONTRACT_FILE} for this tagger.")


def resample(name: object) -> object:
    """Return a filter's name as contracts have it."""
    return "area" if name == "box" else name


def channels(value: object) -> list[Any]:
    """Return one value for each of three channels."""
    return list(value) if isinstance(value, list | tuple) else [value] * 3


def _colour(name: object) -> list[int]:
    try:
        return list(ImageColor.getrgb(str(name))[:3])
    except ValueError as error:
        msg = f"{name!r} is no colour; expected a name such as 'white' or '#ffffff'."
        raise TagstackError(msg) from error


def _pair(size: object) -> tuple[int, int] | None:
    sides = [side for side in (size if isinstance(size, list) else [size]) if isinstance(side, int)]
    expected = len(size) if isinstance(size, list) else 1
    return (sides[0], sides[-1]) if len(sides) == expected and expected in (1, 2) else None


PREPROCESS_FILE = "preprocess.json"
CONFIG_FILE = "config.json"
CATEGORIES_FILE = "categories.json"
THRESHOLDS_FILE = "thresholds.csv"
PUBLISHER_FILES = (PREPROCESS_FILE, CATEGORIES_FILE, THRESHOLDS_FILE)
# What imgutils takes for tags without a threshold of their own or of their category.
_DEFAULT_THRESHOLD = 0.4


def contract_of_folder(folder: Path) -> Contract:
    """Return a folder's contract: its ``tagger.toml``, else what its publisher's files say.

    Raises
    ------
    TagstackError
        If there is neither, or what is there is no valid contract.
    """
    path = folder / CONTRACT_FILE
    if not path.exists() and describes_itself(folder):
        return timm_contract(folder)
    return read_contract(path)


def describes_itself(folder: Path) -> bool:
    """Return whether a folder has files that `timm_contract` reads."""
    if (folder / PREPROCESS_FILE).is_file():
        return True
    path = folder / CONFIG_FILE
    return path.is_file() and "pretrained_cfg" in _json_object(path)


def timm_contract(folder: Path) -> Contract:
    """Return the contract that a folder's ``preprocess.json`` or timm ``config.json`` describes.

    It expects the output ``prediction`` with probabilities, as these exports have, and a
    ``selected_tags.csv``. If the network differs, `contract_toml` writes a text to correct.

    Raises
    ------
    TagstackError
        If a file cannot be read, a stage is unknown, or the picture would be cropped.
    """
    source = folder / PREPROCESS_FILE
    if source.is_file():
        image = Stages(source).image(stages_of(_json(source), source))
    else:
        source = folder / CONFIG_FILE
        image = _image_of_config(source)
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._") or "timm"
    values: dict[str, object] = {
        "name": name[:80],
        "title": folder.resolve().name,
        "source": f"{source.name} in the tagger's folder",
        "licence": "not stated in these files",
        "input": {"layout": "NCHW", "colour": "RGB", "batch": 1, **image},
        "output": {"name": "prediction", "kind": "probabilities"},
        "tags": {"format": "selected_tags_csv", "categories": category_names(folder)},
        "threshold": {
            "default": _DEFAULT_THRESHOLD,
            "per_category": category_thresholds(folder),
        },
    }
    return contract_from_toml(values, origin=str(source))


def stages_of(content: Any, path: Path) -> list[dict[str, Any]]:
    """Return the stages in the content of a ``preprocess.json``; ``path`` names it in messages.

    Raises
    ------
    TagstackError
        If it holds none.
    """
    if isinstance(content, dict):
        # "val" is for validation while training; its smaller size or crop is not for use.
        content = content.get("test", content.get("stages"))
    if not isinstance(content, list) or not all(isinstance(stage, dict) for stage in content):
        msg = f'{path}: expected a list of stages, or an object with "test" or "stages".'
        raise TagstackError(msg)
    return content


def _image_of_config(path: Path) -> dict[str, Any]:
    config: Any = _json_object(path).get("pretrained_cfg")
    try:
        mode, (_, height, width) = config["crop_mode"], config["input_size"]
        filter_, mean, std = config["interpolation"], config["mean"], config["std"]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: pretrained_cfg lacks or garbles {error}. Write a {CONTRACT_FILE}."
        raise TagstackError(msg) from error
    if mode not in ("squash", "border"):
        msg = (
            f"{path}: crop_mode {mode!r} would crop the picture; many such taggers pad it first "
            f"without saying so. Write a {CONTRACT_FILE} with the publisher's geometry."
        )
        raise TagstackError(msg)
    geometry = "squash" if mode == "squash" else "fit_pad"
    norm = {"mean": channels(mean), "std": channels(std)}
    return {"size": [height, width], "geometry": geometry, "resample": resample(filter_), **norm}


def category_names(folder: Path) -> dict[str, str]:
    """Return what the category codes of a folder's tag file mean, as its publisher says.

    Raises
    ------
    TagstackError
        If no file says it.
    """
    path = folder / CATEGORIES_FILE
    if path.is_file():
        listed = _json(path)
        if isinstance(listed, dict):
            return {str(code): str(name) for code, name in listed.items()}
        try:
            return {str(item["category"]): str(item["name"]) for item in listed}
        except (KeyError, TypeError) as error:
            msg = f"{path}: expected a list of objects with category and name, missing {error}."
            raise TagstackError(msg) from error
    named = {row["category"]: row.get("name") for row in _threshold_rows(folder)}
    if not named or not all(named.values()):
        msg = (
            f"{folder} says nothing about what its category codes mean; expected categories.json, "
            f"or thresholds.csv with category and name. Write a {CONTRACT_FILE}."
        )
        raise TagstackError(msg)
    return {code: str(name) for code, name in named.items()}


def category_thresholds(folder: Path) -> dict[str, float]:
    """Return the thresholds by category that a folder's publisher gives; none without a file.

    Raises
    ------
    TagstackError
        If a row names no known category or no threshold.
    """
    names, found = category_names(folder), dict[str, float]()
    for row in _threshold_rows(folder):
        try:
            # A category may have several rows; the publisher's own reader takes the first.
            found.setdefault(names[row["category"]], float(row["threshold"]))
        except (KeyError, ValueError) as error:
            msg = (
                f"{folder / 'thresholds.csv'}: a row without a known category and threshold: {row}."
            )
            raise TagstackError(msg) from error
    return found


def _threshold_rows(folder: Path) -> list[dict[str, str]]:
    path = folder / THRESHOLDS_FILE
    if not path.is_file():
        return []
    return [dict(row.cells) for row in read_table(path, what="thresholds").rows]


def _json_object(path: Path) -> dict[str, Any]:
    content = _json(path)
    return content if isinstance(content, dict) else {}


def _json(path: Path) -> Any:
    return parse_json(read_text(path, limit=2**24), str(path), advice="Fetch it again.")
