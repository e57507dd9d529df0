"""What a scorer is: it gives a picture one number, from the picture's own pixels alone.

Built-in ones are named in ``SCORERS`` of `tagstack.configs.hooks`; packages add theirs under the
entry point group ``tagstack.scorers`` (docs/plug-ins.md). A folder with a ``scorer.toml`` and a
network is one as well: see `network`.

>>> import numpy as np
>>> from tagstack.ensemble.workshop.quality.scorers.scorer import Scorer
>>> BRIGHTNESS = Scorer(
...     name="brightness",
...     title="Brightness",
...     meaning="mean of all values, 0 to 255",
...     function=lambda pixels: float(pixels.mean()),
... )
>>> BRIGHTNESS.function(np.full((2, 2, 3), 7, np.uint8))
7.0
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.preprocess import PREPROCESSING_VERSION

Pixels = NDArray[np.uint8]


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """One way of scoring a picture.

    Parameters
    ----------
    name : str
        What its column is called.
    title, meaning : str
        What people read; the meaning in a line.
    function : callable
        Takes pixels, an array of shape (height, width, 3), uint8, in RGB, the picture upright and
        on white where it is transparent; returns one number, NaN where there is none. May be
        called by several threads at a time.
    lower_is_better : bool
    version : str
        Another one whenever any picture's value becomes another: then all are scored anew.
    close : callable
        Frees what it holds.
    """

    name: str
    title: str
    function: Callable[[Pixels], float]
    meaning: str = ""
    lower_is_better: bool = False
    version: str = "1"
    close: Callable[[], None] = _nothing

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal of what tells its values from others."""
        facts = [self.name, self.version, PREPROCESSING_VERSION]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
