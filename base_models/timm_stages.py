"""The stages of a ``preprocess.json`` as the ``[input]`` of a contract.

A stage is an object with a ``type`` and its settings, as torchvision's transforms are listed by
imgutils. To read another type, write one more method of `Stages` and enter it in ``_known``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import ImageColor

from tagstack.base_models.contract import CONTRACT_FILE
from tagstack.configs.errors import TagstackError

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
