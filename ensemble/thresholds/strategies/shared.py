"""One number for many tags: given, computed from costs, or best for all of a group."""

import re
from pathlib import Path

import numpy as np
from scipy.special import logit

from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.thresholds.curves import break_even
from tagstack.ensemble.thresholds.cuts import CutSample, Proposal, best_shared
from tagstack.ensemble.thresholds.objective_texts import goal_text, number_in, utility_text
from tagstack.ensemble.thresholds.strategies.strategy import Changes, Strategy, without_own

GOAL = ("objective", "average", "beta", "utility")
"""What the goal that is raised for many tags together depends on."""


class Fixed(Strategy):
    """One number, given."""

    name = "fixed"
    title = "A number"
    optimises = "nothing: every tag has the threshold that is given"
    reads = ("value",)
    forms = ("fixed:0.35",)
    aim = "formula"
    refits = False

    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return ``settings.value`` for every tag."""
        return Proposal.of(
            np.full(sample.curves.n_tags, logit(settings.value)), own=without_own(sample)
        )

    def written(self, settings: ThresholdSettings) -> str:
        """Return ``fixed:NUMBER``."""
        return f"fixed:{settings.value:g}"

    def read(self, text: str, settings: ThresholdSettings) -> Changes | None:
        """Return the number after ``fixed:``."""
        return number_in(text, "fixed:", "value")


class ExpectedUtility(Strategy):
    """The probability at which tagging pays."""

    name = "expected_utility"
    title = "Utility"
    optimises = "what decisions are worth, at the probability at which tagging begins to pay"
    reads = ("utility", "utility_table")
    forms = ("utility:tp=1,fp=-0.5",)
    aim = "formula"
    refits = False

    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return the probability at which tagging starts to pay, the same for every tag."""
        level = logit(break_even(settings))
        return Proposal.of(np.full(sample.curves.n_tags, level), own=without_own(sample))

    def worth(self, settings: ThresholdSettings) -> float:
        """Return what tagging gains by a step of probability: the better hit, the worse error."""
        worth = settings.utility
        return worth.tp - worth.fn + worth.tn - worth.fp

    def written(self, settings: ThresholdSettings) -> str:
        """Return ``utility:`` and what each outcome is worth, or the name of the table."""
        if settings.utility_table:
            return f"utility by {Path(settings.utility_table).name}"
        return utility_text(settings)

    def read(self, text: str, settings: ThresholdSettings) -> Changes | None:
        """Return the worths after ``utility:``; those not named stay.

        Raises
        ------
        TagstackError
            If a part of the utility has another name.
        """
        found = re.fullmatch(r"utility:(?P<worth>.+)", text)
        if found is None:
            return None
        worth: dict[str, object] = dict(settings.utility.model_dump())
        for part in found["worth"].split(","):
            name, _, number = part.partition("=")
            if name not in worth:
                msg = f"A utility has the parts {list(worth)}, got {name!r} in {text!r}."
                raise TagstackError(msg)
            worth[name] = number
        return {"objective": "utility", "utility": worth, "utility_table": ""}


class OneThreshold(Strategy):
    """One threshold for all tags."""

    name = "one_threshold"
    title = "One threshold"
    optimises = "F-beta or utility over all tags, with one threshold for all of them"
    reads = (*GOAL, "value")

    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return the one threshold that is best over all tags."""
        together = np.zeros(sample.curves.n_tags, np.intp)
        return Proposal.of(best_shared(sample.curves, together, settings), own=without_own(sample))

    def written(self, settings: ThresholdSettings) -> str:
        """Return the goal."""
        return goal_text(settings)


class ByCategory(Strategy):
    """One threshold for each category."""

    name = "category"
    title = "One threshold a category"
    optimises = "F-beta or utility over the tags of each category, with one threshold for each"
    reads = (*GOAL, "value")

    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return the threshold that is best over the tags of each category."""
        shared = best_shared(sample.curves, sample.category, settings)
        return Proposal.of(shared, own=without_own(sample))

    def written(self, settings: ThresholdSettings) -> str:
        """Return the goal."""
        return goal_text(settings)
