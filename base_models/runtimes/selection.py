"""Which backend runs a model: as asked for, or the first of auto's list that works here.

A backend that is asked for by name and missing, or that cannot take the model, is an error that
says what to do; nothing falls back in silence. Of ``auto``'s list, one that is there but cannot
take the model (an operator that it does not know, an engine that fails, a GPU without memory) gives
way to the next with a warning, unless ``score.engines.on_failure`` says otherwise. What a GPU's
backend can take is known after its first runs, which are therefore part of opening it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.base import Runtime, Session
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.model_io import image_shape
from tagstack.base_models.runtimes.probing import Probe
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import RUNTIMES
from tagstack.configs.level1 import EngineSettings, ScoreSettings
from tagstack.configs.settings import load_settings

logger = logging.getLogger(__name__)

# Fastest first. Not ort-tensorrt: it wants TensorRT 10 beside what the others use.
AUTO = ("tensorrt", "ort-cuda", "openvino", "ort")


@dataclass(frozen=True, kw_only=True)
class RuntimeChoice:
    """A backend (or ``auto``), a precision, and how engines are made.

    Parameters
    ----------
    backend, precision : str
        As ``score.backend`` and ``score.precision``.
    engines : EngineSettings, optional
        For the GPU's backends; the defaults if not given.
    """

    backend: str
    precision: str
    engines: EngineSettings | None = None

    @classmethod
    def of_settings(cls, settings: ScoreSettings) -> "RuntimeChoice":
        """Return what the settings ask for."""
        return cls(backend=settings.backend, precision=settings.precision, engines=settings.engines)


@dataclass(frozen=True)
class Chosen:
    """A backend, and why it was taken."""

    backend: str
    reason: str


# What every installation has, and what the others are compared with.
REFERENCE = RuntimeChoice(backend="ort", precision="fp32")


def open_session(path: Path, contract: Contract, choice: RuntimeChoice, *, threads: int) -> Session:
    """Return a model, loaded in the backend that was chosen.

    Parameters
    ----------
    path : Path
        The model file.
    contract : Contract
    choice : RuntimeChoice
    threads : int
        Images that run side by side on a CPU, at least 1.

    Raises
    ------
    TagstackError
        If the backend is not installed or does not compute in that precision, or the model cannot
        be loaded or contradicts the contract; `BackendError` if the backend that was asked for by
        name, or the last of auto's list, cannot take the model.
    """
    chosen = choose(choice)
    first = replace(choice, backend=chosen.backend)
    _check_precision(first)
    if choice.backend != "auto":
        return _opened(path, contract, first, threads)
    while True:
        try:
            return _opened(path, contract, first, threads)
        except BackendError as error:
            first = _after(first, error)


def runtime(backend: str) -> Runtime:
    """Return a backend by its name; an unknown or broken one is a TagstackError."""
    return cast(Runtime, RUNTIMES.load(backend))


def probed(backend: str, *, flavour: str) -> Probe:
    """Return whether a backend can run here."""
    found = runtime(backend)
    with RUNTIMES.offer(backend).blamed():
        return found.probe(flavour=flavour)


def choose(choice: RuntimeChoice, examine: Callable[..., Probe] = probed) -> Chosen:
    """Return the backend for a choice: of ``"auto"``, the first that can run here.

    Parameters
    ----------
    choice : RuntimeChoice
    examine : callable
        `probed`.

    Raises
    ------
    TagstackError
        If it is not known or not installed, or there is no GPU for it.
    """
    flavour = "trt" if choice.engines is None else choice.engines.flavour
    if choice.backend != "auto":
        found = examine(choice.backend, flavour=flavour)
        if not found.available:
            msg = f"score.backend = {choice.backend!r}, but {found.reason}. Run: {found.install}"
            raise TagstackError(msg)
        return Chosen(choice.backend, "asked for")
    passed_over = []
    for backend in AUTO:
        found = examine(backend, flavour=flavour)
        if found.available and choice.precision in runtime(backend).precisions:
            break
        why = found.reason if not found.available else f"it has no {choice.precision}"
        passed_over.append(f"{backend}: {why}")
    else:
        msg = f"No backend computes in {choice.precision} here: {'; '.join(passed_over)}."
        raise TagstackError(msg)
    reason = "; ".join(passed_over) or "first of the list"
    logger.info("score.backend = auto: %s (%s)", backend, reason)
    return Chosen(backend, reason)


def _check_precision(choice: RuntimeChoice) -> None:
    known = runtime(choice.backend).precisions
    if choice.precision not in known:
        able = [b for b in RUNTIMES.built_in if choice.precision in runtime(b).precisions]
        msg = (
            f"score.precision = {choice.precision!r} is none of {list(known)}, which "
            f"{choice.backend} computes in. Set score.precision to one of these, or score.backend "
            f"to {' or '.join(able)}."
        )
        raise TagstackError(msg)


def _after(choice: RuntimeChoice, error: BackendError) -> RuntimeChoice:
    """Return the next backend of auto's list, loudly; raise where there is none."""
    engines = choice.engines or load_settings().score.engines
    if engines.on_failure == "error":
        raise error
    for backend in AUTO[AUTO.index(choice.backend) + 1 :]:
        if probed(backend, flavour=engines.flavour).available:
            kinds = runtime(backend).precisions
            precision = choice.precision if choice.precision in kinds else kinds[0]
            logger.warning("%s Going on with %s in %s.", error, backend, precision)
            return replace(choice, backend=backend, precision=precision)
    raise error


def _opened(path: Path, contract: Contract, choice: RuntimeChoice, threads: int) -> Session:
    engines = choice.engines or load_settings().score.engines
    found = runtime(choice.backend)
    if contract.output.features is not None and not getattr(found, "gives_features", False):
        able = [name for name in AUTO if getattr(runtime(name), "gives_features", False)]
        msg = (
            f"{path}: {choice.backend} gives scores alone, no features. Score with score.backend = "
            f"{' or '.join(repr(name) for name in able)}, or without score.features."
        )
        raise BackendError(msg)
    with RUNTIMES.offer(choice.backend).blamed():
        session = found.open(
            path, contract, threads=threads, precision=choice.precision, engines=engines
        )
        if session.info.device != "cpu":
            _first_runs(session, contract, engines.of_tagger(contract.name).batches[-1])
    return session


def _first_runs(session: Session, contract: Contract, n_images: int) -> None:
    """Run the largest batch twice: kernels are loaded, memory is taken, graphs are recorded."""
    images: NDArray[Any] = np.zeros((n_images, *image_shape(contract)), np.float32)
    if session.info.takes_pixels:
        images = np.zeros((n_images, *contract.input.height_width, contract.input.planes), np.uint8)
    try:
        for _ in range(2):
            session.run(images)
    except TagstackError:
        session.close()
        raise
