"""Cuts of each image's own list; what they give a tag is the least that it must reach anywhere."""

import numpy as np

from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.thresholds.cuts import CutSample, Proposal
from tagstack.ensemble.thresholds.objective_texts import number_in
from tagstack.ensemble.thresholds.strategies.strategy import Changes, Strategy, without_own


class _PerImage(Strategy):
    """What both cuts share: they need no labels, and no round after the first."""

    aim = "formula"
    refits = False

    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return no limit of the tag's own: the image's cut decides."""
        return Proposal.of(np.full(sample.curves.n_tags, -np.inf), own=without_own(sample))


class Mcut(_PerImage):
    """The largest gap of each image's list."""

    name = "mcut"
    title = "Largest gap"
    optimises = "nothing: each image's list is cut at the largest gap of its probabilities"
    reads = ()
    forms = ("mcut",)

    def image_cut(self, settings: ThresholdSettings) -> str:
        """Return ``mcut``."""
        return "mcut"


class Rcut(_PerImage):
    """The first few of each image's list."""

    name = "rcut"
    title = "First tags"
    optimises = "nothing: each image has its most probable tags, as many as given"
    reads = ("max_tags",)
    forms = ("rcut:10",)

    def image_cut(self, settings: ThresholdSettings) -> str:
        """Return ``rcut:NUMBER``."""
        return f"rcut:{settings.max_tags}"

    def written(self, settings: ThresholdSettings) -> str:
        """Return ``rcut:NUMBER``."""
        return self.image_cut(settings)

    def read(self, text: str, settings: ThresholdSettings) -> Changes | None:
        """Return the number after ``rcut:``."""
        return number_in(text, "rcut:", "max_tags")
