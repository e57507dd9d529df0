"""An unknown tagger, loaded and run once in a process of its own; run as a program.

A graph may hold a loop that never ends, or a shape that fills the memory, and its runtime is not
asked beforehand. What only contradicts its contract is left for the caller to find out and say.
"""

import sys
from contextlib import suppress
from importlib import resources
from pathlib import Path

import numpy as np

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.taggers.own_folder import tagger_files
from tagstack.base_models.taggers.tagger import load_tagger, unpadded
from tagstack.base_models.taggers.timm_contract import contract_of_folder
from tagstack.base_models.trials import Trial
from tagstack.configs.errors import TagstackError

_ANY_FLOOR = 1e-4


def try_tagger(folder: Path, seconds: float) -> None:
    """Load and run a tagger once on one grey picture, unless it is known here or came with this.

    Raises
    ------
    TagstackError
        If it crashes or takes longer than ``seconds``, or a file of it may not be opened.
    """
    if not folder.resolve().is_relative_to(_shipped()):
        trial_of(folder).once(seconds)


def trial_of(folder: Path) -> Trial:
    """Return the trial of the tagger in a folder."""
    contract = contract_of_folder(folder)
    files = tagger_files(folder, contract)
    return Trial(
        facts=(contract.digest(), *map(file_sha256, (files.model, *files.weights))),
        packages=("onnxruntime",),
        module="tagstack.base_models.taggers.trial",
        arguments=(str(folder.absolute()),),
        what=f"The tagger {folder}",
    )


def main(arguments: list[str]) -> int:
    """Load and run the tagger that the argument names; return an exit code."""
    with suppress(TagstackError):
        tagger = load_tagger(Path(arguments[0]), floor=_ANY_FLOOR, threads=1, smoke=False)
        shape = (1, tagger.framing.height, tagger.framing.width, tagger.framing.planes)
        tagger.raw(unpadded(np.full(shape, 128, np.uint8)))
    return 0


def _shipped() -> Path:
    return Path(str(resources.files("tagstack.base_models"))).resolve() / "zoo"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
