"""Learners by name: the built-in ones and those that installed packages offer.

A package offers one in its pyproject.toml, and the settings name it in ``stack.learners``:

    [project.entry-points."tagstack.learners"]
    neighbours = "my_package.neighbours:Neighbours"

The object is called with the keywords ``seed`` and ``threads`` and returns an unfitted
`tagstack.meta.learners.protocol.PairLearner`. The learner becomes a rung of its own, a part of
the blend and a column of the meta-model. Two attributes of the object are looked at, if it has
them: ``title``, what reports call the learner, and ``monotone``, false where a higher logit of it
may rightly lower the meta-model's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.libraries import library
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import LEARNERS, Offer
from tagstack.configs.stack import StackSettings
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.learners.estimator import PairEstimator
from tagstack.meta.learners.protocol import PairLearner

META = "xgboost"
BUILT_IN = tuple(LEARNERS.built_in)

_METHODS = ("fit", "predict_logit", "save", "restore")
# The first bytes of a pickle of protocol 2 and later.
_PICKLED = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


class Factory(Protocol):
    """What an entry point names: makes a new, unfitted learner."""

    def __call__(self, *, seed: int, threads: int) -> PairLearner:
        """Return the learner."""
        ...


@dataclass(frozen=True, kw_only=True)
class About:
    """What a ladder has to know of a learner.

    Parameters
    ----------
    title : str
        What reports call it.
    monotone : bool
        Whether a higher logit of it never lowers the meta-model's.
    """

    title: str
    monotone: bool = True


def about(name: str) -> About:
    """Return what a learner is called and how it may be used, by its own word.

    Raises
    ------
    TagstackError
        If no installed package offers it, or what it says of itself has another type.
    """
    offer = LEARNERS.offer(name)
    made = offer.load()
    title, monotone = (
        getattr(made, "title", f"{name} of {offer.package}"),
        getattr(made, "monotone", True),
    )
    if not isinstance(title, str) or not title.strip() or not isinstance(monotone, bool):
        msg = (
            f"The {offer} has the title {title!r} and monotone = {monotone!r}; expected a text and "
            "true or false. Report this to its authors."
        )
        raise TagstackError(msg)
    return About(title=title, monotone=monotone)


def level_two(learners: Sequence[str]) -> tuple[str, ...]:
    """Return the learners below the meta-model, the built-in ones first."""
    own = tuple(name for name in BUILT_IN if name in learners and name != META)
    return own + tuple(sorted(name for name in learners if name not in BUILT_IN))


class BuiltIn(Protocol):
    """A built-in learner's class, which reads its own section of the settings."""

    def of_settings(self, settings: StackSettings, *, seed: int, threads: int) -> PairLearner:
        """Return a new, unfitted learner."""
        ...


def make_learner(name: str, settings: StackSettings, *, seed: int, threads: int) -> PairLearner:
    """Return a new, unfitted learner by its name in the settings.

    Raises
    ------
    TagstackError
        If no installed package offers it, or the package's learner cannot be made.
    """
    offer = LEARNERS.offer(name)
    if not offer.package:
        made = cast(BuiltIn, offer.load())
        return made.of_settings(settings, seed=seed, threads=threads)
    return ForeignLearner(offer, seed=seed, threads=threads)


def looked_at(name: str, settings: StackSettings) -> int | None:
    """Return how many pairs a built-in learner looks at in one fit; None if there is no limit."""
    limits = {
        "svm": settings.svm.max_rows,
        "lightgbm": settings.lightgbm.max_rows,
        META: settings.xgboost.max_rows,
    }
    return limits.get(name)


def rounds_of(name: str, settings: StackSettings) -> int | None:
    """Return the most rounds of a built-in learner that is made of rounds; None for others."""
    return {"lightgbm": settings.lightgbm.rounds, META: settings.xgboost.rounds}.get(name)


def with_rounds(settings: StackSettings, name: str, rounds: int) -> StackSettings:
    """Return the settings with so many rounds for one learner."""
    section = getattr(settings, name).model_copy(update={"rounds": rounds})
    return settings.model_copy(update={name: section})


def packages(learners: Sequence[str]) -> dict[str, str]:
    """Return which package and version each learner that is not built in comes from."""
    offers = (LEARNERS.offer(name) for name in learners)
    return {offer.name: offer.package for offer in offers if offer.package}


def check_libraries(learners: Sequence[str]) -> None:
    """Import what the built-in learners among these fit with; fits do so long after they began.

    Raises
    ------
    TagstackError
        Names the package that is not installed or does not load, and what to install.
    """
    for name in learners:
        offer = LEARNERS.offer(name)
        if not offer.package and (needed := getattr(offer.load(), "needs", "")):
            library(needed)


def check_packages(needed: dict[str, str]) -> None:
    """Refuse what was fitted with a learner that is not installed here.

    Raises
    ------
    TagstackError
        Names the learner and the package that a bundle needs.
    """
    for name, package in needed.items():
        if name not in LEARNERS.names():
            msg = (
                f"The stack was fitted with the learner {name!r} of the package {package}, which "
                f"is not installed here. Install it: pip install {package.split(' ')[0]}"
            )
            raise TagstackError(msg)


class ForeignLearner(PairEstimator):
    """A package's learner, held to the protocol; what goes wrong in it names the package.

    Parameters
    ----------
    offer : Offer
    seed, threads : int
    """

    def __init__(self, offer: Offer, *, seed: int, threads: int) -> None:
        self.offer, self.seed, self.threads = offer, seed, threads
        factory = cast(Factory, offer.load())
        with offer.blamed():
            self.learner = factory(seed=seed, threads=threads)
        missing = [m for m in _METHODS if not callable(getattr(self.learner, m, None))]
        if missing:
            msg = (
                f"The {offer} has no method {missing[0]!r}; "
                f"expected {list(_METHODS)} as in tagstack.meta.learners.protocol."
            )
            raise TagstackError(msg)

    def fit(
        self,
        table: PairTable,
        true: NDArray[np.bool_],
        weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit on candidate pairs and their labels; see the protocol."""
        with self.offer.blamed():
            self.learner.fit(table, true, weight)
        return self

    def predict_logit(self, table: PairTable) -> NDArray[np.float64]:
        """Return the logit of each pair, shape (n_pairs,), float64.

        Raises
        ------
        TagstackError
            If the package's learner returns anything but one finite logit a pair.
        """
        with self.offer.blamed():
            logit = np.asarray(self.learner.predict_logit(table))
        if logit.dtype.kind not in "fiu":  # no text, no object, and no imaginary part to lose
            msg = (
                f"The {self.offer} returned logits of type {logit.dtype}; expected numbers. Report "
                "this to its authors."
            )
            raise TagstackError(msg)
        if logit.shape != (len(table.pairs),) or not np.isfinite(logit).all():
            msg = (
                f"The {self.offer} returned logits of shape "
                f"{logit.shape}, {int((~np.isfinite(logit)).sum())} of them not finite; expected "
                f"({len(table.pairs)},), all finite. Report this to its authors."
            )
            raise TagstackError(msg)
        return logit.astype(np.float64)

    def save(self, directory: Path) -> None:
        """Let the learner write into a folder of its own name; pickles are refused.

        Raises
        ------
        TagstackError
            If it wrote a pickle, which would run code when a stranger's bundle is read.
        """
        own = directory / self.offer.name
        own.mkdir()
        with self.offer.blamed():
            self.learner.save(own)
        for path in sorted(own.rglob("*")):
            if path.is_file() and path.read_bytes().startswith(_PICKLED):
                msg = (
                    f"The {self.offer} saved {path.name} as a "
                    "pickle. A bundle must not run code: save arrays or text instead."
                )
                raise TagstackError(msg)

    def restore(self, directory: Path) -> Self:
        """Let the learner read what it wrote."""
        with self.offer.blamed():
            self.learner.restore(directory / self.offer.name)
        return self
