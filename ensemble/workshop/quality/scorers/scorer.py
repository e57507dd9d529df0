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
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.preprocess import PREPROCESSING_VERSION
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import SCORERS

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


@contextmanager
def opened_scorers(names: Sequence[str], *, threads: int) -> Iterator[tuple[Scorer, ...]]:
    """Yield the scorers of these names or folders, in order; they are closed afterwards.

    Parameters
    ----------
    names : sequence of str
        Of `hooks.SCORERS`, folders with a ``scorer.toml``, or ``NAME=FOLDER`` where a contract that
        comes with the package describes the files.
    threads : int
        For networks; 0 for all cores.

    Raises
    ------
    TagstackError
        If none of that name is known, a folder cannot be used, or two share a name.
    """
    found: list[Scorer] = []
    try:
        for name in names:
            scorer = _opened(name, threads)
            if scorer.name in {other.name for other in found}:
                scorer.close()
                msg = (
                    f"Two scorers are called {scorer.name!r}; expected one column each. Leave one."
                )
                raise TagstackError(msg)
            found.append(scorer)
        yield tuple(found)
    finally:
        for scorer in found:
            scorer.close()


def built_in_directions() -> dict[str, bool]:
    """Return for each built-in scorer's name whether a lower score is better."""
    return {name: _of_hook(name).lower_is_better for name in SCORERS.built_in}


def _opened(name: str, threads: int) -> Scorer:
    contract, equals, folder = name.rpartition("=")
    if equals or os.sep in name or (name not in SCORERS.built_in and Path(name).is_dir()):
        from tagstack.ensemble.workshop.quality.scorers.network import open_network

        return open_network(Path(folder), threads=threads, contract=contract)
    return _of_hook(name) if name in SCORERS.names() else _pulled(name, threads)


def _pulled(name: str, threads: int) -> Scorer:
    """Return a scorer that was pulled by its contract's name; the hook says what is known else."""
    from tagstack.ensemble.workshop.quality.scorers.network import open_network, shipped_contracts
    from tagstack.ensemble.workshop.quality.scorers.pulling import pulled_folder

    if name not in shipped_contracts():
        return _of_hook(name)
    folder = pulled_folder(name)
    if folder is None:
        msg = (
            f"The scorer {name!r} is not here. Fetch it: tagstack quality pull {name}; or say "
            f"--scorer {name}=FOLDER with its files."
        )
        raise TagstackError(msg)
    return open_network(folder, threads=threads)


def _of_hook(name: str) -> Scorer:
    offer = SCORERS.offer(name)
    found = offer.load()
    if not isinstance(found, Scorer):
        msg = f"The {offer} is {type(found).__name__}; expected a {Scorer.__module__}.Scorer."
        raise TagstackError(msg)
    theirs = found.function

    def checked(pixels: Pixels) -> float:
        with offer.blamed():
            value = theirs(pixels)
        if not isinstance(value, int | float | np.number):
            msg = (
                f"The {offer} returned {type(value).__name__}; expected one number. Report this to "
                "its authors."
            )
            raise TagstackError(msg)
        return float(value)

    return replace(found, name=name, function=checked, version=f"{offer.package} {found.version}")
