"""What decides on images: the engine in Python, and which engine is used.

Every engine finds the same tags, whatever its speed; `compiled` holds the fast one.
"""

from typing import Protocol

import numpy as np

from tagstack.base_models.compilation import can_compile, require_numba
from tagstack.configs.decisions import DecoderSettings
from tagstack.ensemble.contradictions.evidence import Evidence, RuleLists
from tagstack.ensemble.contradictions.parts import Kept, kept_keys
from tagstack.ensemble.contradictions.reduction import Reduction, reduce_images
from tagstack.ensemble.contradictions.search import Component, Solution, branch_and_bound

_WORTH_COMPILING = 20_000  # images: 3 s in Python; compiling takes 10 to 20 s once per machine

_NONE = np.zeros(0, np.int64)


class DecodingEngine(Protocol):
    """Decides on images."""

    def solve(self, evidence: Evidence) -> Kept:
        """Return the tags kept of each image."""


class PythonEngine:
    """Reduces images with numpy and searches their components in Python.

    Parameters
    ----------
    lists : RuleLists
    settings : DecoderSettings
    """

    def __init__(self, lists: RuleLists, settings: DecoderSettings) -> None:
        self.lists = lists
        self.settings = settings

    def solve(self, evidence: Evidence) -> Kept:
        """Return the tags kept of each image; none is too large."""
        reduction = self.reduce(evidence)
        solved = [(problem, self.search(problem.component)) for problem in reduction.problems]
        found = [key for problem, solution in solved for key in kept_keys(problem, solution)]
        unsure = [problem.key[0] for problem, solution in solved if not solution.exact]
        return Kept(
            keys=np.concatenate([reduction.settled, np.array(found, np.int64)]),
            inexact=np.array(unsure, np.int64) // evidence.n_tags,
            large=_NONE,
        )

    def reduce(self, evidence: Evidence, *, shortcut: bool = True) -> Reduction:
        """Return what is certain and what must be searched."""
        return reduce_images(self.lists, evidence, shortcut=shortcut)

    def search(self, component: Component, *, forced_in: int = 0, forced_out: int = 0) -> Solution:
        """Return the best legal tags of one component, with some perhaps forced in or out."""
        budget = self.settings.search_budget
        forced = bool(forced_in or forced_out)
        if component.choices.bit_count() > self.settings.search_tags and not forced:
            from tagstack.ensemble.contradictions.milp import solve_milp

            return solve_milp(component, budget)
        return branch_and_bound(component, budget, forced_in=forced_in, forced_out=forced_out)


class EngineChoice:
    """Picks the engine for each call as ``settings.engine`` says.

    Under "auto" the compiled engine takes over once enough images were asked about that loading
    it pays.

    Parameters
    ----------
    lists : RuleLists
    settings : DecoderSettings

    Raises
    ------
    TagstackError
        If the settings ask for numba, which is not installed.
    """

    def __init__(self, lists: RuleLists, settings: DecoderSettings) -> None:
        if settings.engine == "numba":
            require_numba("decoder.engine", "numba", instead="'auto' or 'python'", same="tags")
        self.python = PythonEngine(lists, settings)
        self._name = settings.engine
        self._asked = 0
        self._compiled: DecodingEngine | None = None

    def engine(self, n_images: int) -> DecodingEngine:
        """Return the engine for a call about so many images."""
        self._asked += n_images
        wanted = self._name == "numba" or (
            self._name == "auto" and self._asked >= _WORTH_COMPILING and can_compile()
        )
        if wanted and self._compiled is None:
            from tagstack.ensemble.contradictions.compiled import CompiledEngine

            self._compiled = CompiledEngine(self.python.lists, self.python.settings)
        return self._compiled if wanted and self._compiled else self.python
