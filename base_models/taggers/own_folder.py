"""The files of a tagger's folder, checked before any of them is opened, copied or linked.

A folder may come from a stranger. Names in its contract are plain (`tagstack.configs.own_files`),
and so are the names under which its model keeps weights. Links lead to files of the folder or to
blobs of the Hugging Face cache that it lies in. Below the user's registry they lead anywhere:
`models add` made those.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.external_weights import weight_files
from tagstack.base_models.user_cache import home_folder
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import (
    DESCRIPTION_BYTES,
    METRICS_BYTES,
    MODEL_BYTES,
    TAG_FILE_BYTES,
    WEIGHT_BYTES,
    own_file,
    own_path,
)


@dataclass(frozen=True, kw_only=True)
class TaggerFiles:
    """The files of a tagger, each its folder's own.

    Parameters
    ----------
    model, tags : Path
    weights : tuple of Path
        Beside the model: those that its name begins with its own, then others that it names.
    metrics : Path or None
    """

    model: Path
    tags: Path
    weights: tuple[Path, ...]
    metrics: Path | None = None


def registry_folder() -> Path:
    """Return the folder of the user's own taggers; it need not exist."""
    home = os.environ.get("TAGSTACK_HOME")
    if home:
        return Path(home) / "taggers"
    data = os.environ.get("XDG_DATA_HOME") or home_folder() / ".local" / "share"
    return Path(data) / "tagstack" / "taggers"


def tagger_files(folder: Path, contract: Contract) -> TaggerFiles:
    """Return a tagger's files after looking at all of them; none has been read but the model.

    Raises
    ------
    TagstackError
        If one is missing, no regular file, too large, or lies outside the folder.
    """
    model = folder / contract.files.model
    if not model.is_file() and not model.exists():
        msg = f"The model {model} is missing; put the tagger's ONNX file there."
        raise TagstackError(msg)
    owned = _Owned(folder)
    owned.file(contract.files.model, MODEL_BYTES)
    tags = owned.file(contract.files.tags, TAG_FILE_BYTES)
    name = contract.files.metrics
    metrics = None if name is None else owned.file(name, METRICS_BYTES)
    return TaggerFiles(model=model, tags=tags, weights=model_weights(model), metrics=metrics)


def described_files(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of some small files that a folder has, each looked at."""
    owned = _Owned(folder)
    found = tuple(name for name in names if (folder / name).exists())
    for name in found:
        owned.file(name, DESCRIPTION_BYTES)
    return found


def model_weights(model: Path) -> tuple[Path, ...]:
    """Return the files with weights of a model: above 2 GB they lie in files of their own.

    Raises
    ------
    TagstackError
        If the model names one that is not its folder's own.
    """
    owned = _Owned(model.parent)
    beside = sorted(path.name for path in model.parent.glob(f"{model.name}?*") if path.is_file())
    named = [name for name in weight_files(model) if name not in beside]
    for name in named:
        own_path(model.parent, name, said_by=model)
    return tuple(owned.file(name, WEIGHT_BYTES) for name in (*beside, *named))


class _Owned:
    """Looks at files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ours = folder.resolve().is_relative_to(registry_folder().resolve())
        self._links_into = (Path(folder.resolve().anchor),) if ours else ()

    def file(self, name: str, max_bytes: int) -> Path:
        return own_file(self._folder, name, max_bytes=max_bytes, links_into=self._links_into)
