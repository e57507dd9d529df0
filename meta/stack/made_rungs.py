"""Rungs out of fold: each is made, calibrated and judged once."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import category_numbers, rung_how
from tagstack.meta.calibrators.protocol import TagMaps
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.metrics.fold_scores import DrawnScorer
from tagstack.meta.metrics.leads import FoldScore, Judgement
from tagstack.meta.stack.groundwork import Ground
from tagstack.meta.stack.out_of_fold import RungCalibration
from tagstack.meta.stack.rung_spec import RungSpec
from tagstack.meta.stack.rungs import RungLogits, plain_rung


class MadeRungs:
    """The rungs of one set of labelled images, as far as they are made.

    Parameters
    ----------
    specs : mapping of name to RungSpec
    data : Labelled
    ground : Ground
        Of the same images, out of fold.
    judges : DrawnScorer
    settings : StackSettings
    """

    def __init__(
        self,
        specs: Mapping[str, RungSpec],
        data: Labelled,
        ground: Ground,
        judges: DrawnScorer,
        settings: StackSettings,
    ) -> None:
        self._specs, self._data, self._ground = specs, data, ground
        self._judges, self._settings = judges, settings
        self._category = category_numbers(data.scores.vocabulary)
        self._maps: dict[str, TagMaps] = {}
        self._made: dict[str, RungLogits] = {}
        self._judged: dict[str, Judgement] = {}

    def copy(self) -> "MadeRungs":
        """Return the same rungs, to which others can be added."""
        new = MadeRungs(self._specs, self._data, self._ground, self._judges, self._settings)
        new._maps.update(self._maps)
        new._made.update(self._made)
        new._judged.update(self._judged)
        new._calibration = self._calibration
        return new

    def add(self, name: str, raw: RungLogits) -> None:
        """Keep a learned rung, calibrated by the other folds."""
        calibration = self._calibration
        listed, base = calibration.crossed(raw.listed, raw.base)
        self._maps[name] = calibration.on_all(raw.listed, raw.base)
        self.keep(name, RungLogits(listed=listed, base=base))

    @cached_property
    def _calibration(self) -> RungCalibration:
        data = self._data
        return RungCalibration(
            data.scores.pairs,
            data.evidence,
            data.folds,
            self._category,
            rung_how(self._settings),
            self._settings.rung_pairs,
            data.spill,
        )

    def keep(self, name: str, made: RungLogits) -> None:
        """Keep a rung as it is."""
        self._made[name] = made

    def rung(self, name: str) -> RungLogits:
        """Return a rung's logits; those that need no learner are made when asked for."""
        if name not in self._made:
            data = self._data
            made = plain_rung(self._specs[name], data.scores, self._ground, data.spill)
            self.keep(name, made)
        return self._made[name]

    def proba(self, name: str) -> PairProba:
        """Return a rung's probabilities."""
        return self.rung(name).proba(self._data.scores.pairs, self._data.spill)

    def judgement(self, name: str) -> Judgement:
        """Return a rung's scores within the folds."""
        if name not in self._judged:
            scorer = self._judges.scorer
            self._judged[name] = scorer.judgement(self.drawn(name), self._settings.objective)
        return self._judged[name]

    def score(self, name: str, tags: NDArray[np.bool_] | None = None) -> FoldScore:
        """Return a rung's objective over some tags, all when not given."""
        return self._judges.scorer.score(self.drawn(name), self._settings.objective, tags)

    def calibrations(self) -> dict[str, TagMaps]:
        """Return the last calibration of each learned rung, fitted on all images."""
        return dict(self._maps)

    def drawn(self, name: str) -> PairProba:
        """Return a rung's probabilities of the images that are judged on."""
        found = self.rung(name).at(self._judges.rows).proba(self._judges.scorer.pairs)
        self._data.spill.let_go()
        return found
