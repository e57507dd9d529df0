"""Scorers by name: built in, of a package, a folder with a network, or one that was pulled."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import NoReturn

from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import SCORERS
from tagstack.ensemble.workshop.quality.scorers.network import open_network, shipped_contracts
from tagstack.ensemble.workshop.quality.scorers.pulling import pulled_folder
from tagstack.ensemble.workshop.quality.scorers.scorer import Pixels, Scorer


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
        return open_network(Path(folder), threads=threads, contract=contract)
    return _of_hook(name) if name in SCORERS.names() else _pulled(name, threads)


def _pulled(name: str, threads: int) -> Scorer:
    """Return a scorer that was pulled by its contract's name; the hook says what is known else."""
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
        try:
            return float(value) if isinstance(value, Real) else _none(value)
        except OverflowError:  # of a whole number with hundreds of digits
            return _none(value)

    def _none(value: object) -> NoReturn:
        msg = (
            f"The {offer} returned {type(value).__name__}; expected one number. Report this to "
            "its authors."
        )
        raise TagstackError(msg)

    return replace(found, name=name, function=checked, version=f"{offer.package} {found.version}")
