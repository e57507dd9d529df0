"""Where a training stands, in one file without a pickle: tensors, and a state in words.

Written whole or not at all, so that a training killed at any moment goes on from the last one.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tagstack.base_models.atomic import written_whole
from tagstack.configs.errors import TagstackError

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(kw_only=True)
class Position:
    """How far a training is.

    Parameters
    ----------
    digest : str
        Of everything that decides the result.
    epoch, batch : int
        What comes next.
    best_score : float
        Best macro-AP on left-out images so far; -1 before the first.
    best_epoch : int
        After how many epochs that was.
    scores, losses : list of float
        One an epoch.
    loss_sum : float
        Over the batches of this epoch.
    seconds : float
        Spent in steps so far, over all runs.
    """

    digest: str
    epoch: int = 0
    batch: int = 0
    best_score: float = -1.0
    best_epoch: int = 0
    scores: list[float]
    losses: list[float]
    loss_sum: float = 0.0
    seconds: float = 0.0


def write_checkpoint(folder: Path, tensors: Mapping[str, Any], position: Position) -> None:
    """Write tensors of torch and a position."""
    from safetensors.torch import save_file

    with written_whole(folder / CHECKPOINT_FILE) as temporary:
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(plain, temporary, {"position": json.dumps(asdict(position))})


def read_checkpoint(folder: Path, digest: str) -> tuple[dict[str, Any], Position] | None:
    """Return tensors and position of a folder; None where no training was begun.

    Raises
    ------
    TagstackError
        If the training there is another one, or its file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            position = Position(**json.loads(stream.metadata()["position"]))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        msg = f"{path} is damaged: {error}. Start anew with --overwrite."
        raise TagstackError(msg) from error
    if position.digest != digest:
        msg = (
            f"{folder} holds a training of other pictures, labels or settings; expected the same "
            "to go on. Start anew with --overwrite, or train into another folder."
        )
        raise TagstackError(msg)
    return tensors, position
