"""What a quantised tagger was made from, and how: a file of its own in its folder."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tagstack.base_models.atomic import file_sha256, write_text
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_json

ORIGIN_FILE = "quantised.json"


@dataclass(frozen=True, kw_only=True)
class QuantisedOrigin:
    """Where a quantised tagger comes from.

    Parameters
    ----------
    source : str
        Folder of the float32 tagger, which parity is measured against.
    model_sha256 : str
        Of its model file.
    target : str
        ``"cpu"`` or ``"tensorrt"``.
    method : str
    n_images : int
        Pictures that the ranges were read from.
    onnxruntime : str
        Version that made it.
    precision : str
        ``"int8"`` or ``"fp8"``; folders from before there was fp8 do not say.
    """

    source: str
    model_sha256: str
    target: str
    method: str
    n_images: int
    onnxruntime: str
    precision: str = "int8"


def write_origin(folder: Path, origin: QuantisedOrigin) -> None:
    """Write a quantised tagger's origin into its folder."""
    write_text(folder / ORIGIN_FILE, json.dumps(asdict(origin), indent=1))


def read_origin(folder: Path) -> QuantisedOrigin | None:
    """Return a quantised tagger's origin, or None for a tagger that says nothing of one.

    Raises
    ------
    TagstackError
        If the file is damaged.
    """
    path = folder / ORIGIN_FILE
    if not path.is_file():
        return None
    try:
        content = read_json(path)
    except TagstackError as error:
        raise TagstackError(f"{error} Quantise the tagger again.") from error
    known = {field.name for field in fields(QuantisedOrigin)}
    if not isinstance(content, dict) or set(content) | {"precision"} != known:
        raise TagstackError(f"{path} is damaged. Quantise the tagger again.")
    return QuantisedOrigin(**content)


def source_of(folder: Path, model: str) -> Path | None:
    """Return the folder of the float32 tagger that a quantised one was made from.

    Parameters
    ----------
    folder : Path
    model : str
        Name of the model file, the same in both.

    Returns
    -------
    Path or None
        None if nothing is said of one, it is not there any more, or it has changed.
    """
    origin = read_origin(folder)
    if origin is None:
        return None
    source = Path(origin.source)
    file = source / model
    known = file.is_file() and file_sha256(file) == origin.model_sha256
    return source if known else None
