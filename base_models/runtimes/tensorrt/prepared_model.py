"""The ONNX file that a GPU runs for a tagger: its own, or one derived from it and kept.

Beside each derived file lies a note with the hashes of what was written; a file that is no longer
that is made anew. What cannot be derived is noted, too, and not tried at every start.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tagstack.base_models.atomic import file_sha256, write_text, written_whole
from tagstack.base_models.contract import Contract
from tagstack.base_models.locks import waited_for
from tagstack.base_models.runtimes.added_output import output_names
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.model_io import fixed, with_named_scores
from tagstack.base_models.runtimes.stored_precision import computed_in
from tagstack.base_models.runtimes.tensorrt.dynamic_batch import write_dynamic
from tagstack.base_models.runtimes.tensorrt.feature_output import write_features
from tagstack.base_models.runtimes.tensorrt.half_precision import write_half
from tagstack.base_models.runtimes.tensorrt.onnx_file import check_ports
from tagstack.base_models.runtimes.tensorrt.packed_input import write_packed
from tagstack.base_models.runtimes.tensorrt.pixel_input import write_pixels
from tagstack.base_models.runtimes.tensorrt.spec import model_files
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_json

logger = logging.getLogger(__name__)

MODELS = "models"  # folder of prepared files inside that of engines

# Raise it when a step below makes other files.
_VERSION = 3
_NOTE = ".note.json"
_Write = Callable[[Path, Path, Contract], None]


@dataclass(frozen=True)
class PreparedModel:
    """A file to run.

    Parameters
    ----------
    path : Path
    batch : int or None
        The batch that it fixes, None where it takes any.
    takes_pixels : bool
        Whether its input is framed pixels, see `pixel_input`.
    """

    path: Path
    batch: int | None
    takes_pixels: bool = False


def prepared_model(
    model: Path,
    contract: Contract,
    folder: Path,
    *,
    precision: str,
    max_batch: int,
    attention: bool = False,
    pixels: bool = False,
) -> PreparedModel:
    """Return the file to run: with a free batch where that can be, and in the precision asked for.

    Features that the contract names become an output, where they are none; a picture and the mask
    of its padding become one input.

    Derived files lie in ``folder`` under the SHA-256 of what they were made from; each was
    compared with its source in ONNX Runtime before it was kept.

    Parameters
    ----------
    model : Path
    contract : Contract
    folder : Path
    precision : str
        What ends in ``"fp16"`` or ``"bf16"`` converts; all others leave the numbers as they are.
    max_batch : int
        A batch that the file fixes to this stays.
    attention : bool
        Whether the runtime has ONNX's `Attention`.
    pixels : bool
        Whether it shall take uint8 pixels, where its input is float32.

    Raises
    ------
    TagstackError
        If the model contradicts the contract; `BackendError` if that float is not enough for it.
    """
    ports = check_ports(model, contract)
    batch = fixed(ports.picture.shape[0])
    if ports.mask is not None:
        model = _derived(model, contract, folder, "packed", write_packed)
    contract = with_named_scores(model, contract)
    features = contract.output.features
    if features is not None and features not in output_names(model):
        model = _derived(model, contract, folder, f"features {features}", write_features)
    if batch not in (None, max_batch):
        try:
            model, batch = _derived(model, contract, folder, "dynamic", write_dynamic), None
        except BackendError as error:
            logger.warning("%s Going on with %d at a time.", error, batch)
    kind = computed_in(precision)
    if kind in ("fp16", "bf16"):
        step = f"{kind} attention" if attention else kind
        write = partial(write_half, kind=kind, attention=attention)
        model = _derived(model, contract, folder, step, write)
    takes_pixels = False
    if pixels:
        with suppress(BackendError):
            model = _derived(model, contract, folder, "pixels", write_pixels)
            takes_pixels = True
    return PreparedModel(model, batch, takes_pixels)


def stale_models(folder: Path) -> tuple[Path, ...]:
    """Return prepared files that nothing will use again, sorted.

    Damaged ones, those of other versions of this module, those whose source is gone, and what
    belongs to no note.
    """
    notes = {path: _note(path) for path in folder.glob(f"*{_NOTE}")}
    good = {path: note for path, note in notes.items() if note is not None and _is_wanted(note)}
    used = {
        folder / name
        for path, note in good.items()
        if note["refused"] is None and _is_whole(folder, note)
        for name in (path.name, *note["files"])
    }
    used |= {path for path, note in good.items() if note["refused"] is not None}
    return tuple(sorted(set(folder.glob("*")) - used - set(folder.glob("*.lock"))))


def _derived(model: Path, contract: Contract, folder: Path, step: str, write: _Write) -> Path:
    hashes = [file_sha256(path) for path in model_files(model)]
    text = json.dumps([_VERSION, step, hashes, contract.digest()])
    key = hashlib.sha256(text.encode()).hexdigest()[:32]
    target, place = folder / f"{key}.onnx", folder / f"{key}{_NOTE}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with waited_for(folder / f"{key}.lock"):
        note = _note(place)
        if note is not None and note["refused"] is not None:
            raise BackendError(note["refused"])
        if note is None or not _is_whole(folder, note):
            _write(model, target, place, contract, step, write)
    return target


def _write(
    model: Path, target: Path, place: Path, contract: Contract, step: str, write: _Write
) -> None:
    if target.exists():
        logger.warning("%s is not what was written there; it is made anew.", target)
    note: dict[str, Any] = {"version": _VERSION, "step": step, "source": str(model.absolute())}
    try:
        with written_whole(target) as temporary:
            write(model, temporary, contract)
    except BackendError as error:
        write_text(place, json.dumps({**note, "files": {}, "refused": str(error)}, indent=1))
        raise
    files = {path.name: file_sha256(path) for path in model_files(target)}
    write_text(place, json.dumps({**note, "files": files, "refused": None}, indent=1))


def _note(path: Path) -> dict[str, Any] | None:
    """Return a note, or None where there is none, or none of this version that can be read."""
    try:
        found = read_json(path)
    except TagstackError:
        return None
    keys = {"version", "step", "source", "files", "refused"}
    if not isinstance(found, dict) or set(found) != keys or found["version"] != _VERSION:
        return None
    return found if isinstance(found["files"], dict) else None


def _is_wanted(note: dict[str, Any]) -> bool:
    return Path(str(note["source"])).exists()


def _is_whole(folder: Path, note: dict[str, Any]) -> bool:
    try:
        return all(file_sha256(folder / name) == sum_ for name, sum_ in note["files"].items())
    except OSError:
        return False
