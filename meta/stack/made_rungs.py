"""Rungs out of fold: each is made, calibrated and judged once."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import category_numbers, rung_how
from tagstack.meta.calibrators.protocol import TagMaps
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.metrics.fold_scores import DrawnScorer, FoldScore, Judgement
from tagstack.meta.stack.groundwork import Ground
from tagstack.meta.stack.out_of_fold import cross_fitted_monotone, drawn_monotone
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
        self._raw: dict[str, RungLogits] = {}
        self._made: dict[str, RungLogits] = {}
        self._judged: dict[str, Judgement] = {}

    def copy(self) -> "MadeRungs":
        """Return the same rungs, to which others can be added."""
        new = MadeRungs(self._specs, self._data, self._ground, self._judges, self._settings)
        for own, its in ((self._raw, new._raw), (self._made, new._made)):
            its.update(own)
        new._judged.update(self._judged)
        return new

    def add(self, name: str, raw: RungLogits) -> None:
        """Keep a learned rung, calibrated by the other folds."""
        self._raw[name] = raw
        listed, base = cross_fitted_monotone(
            raw.listed,
            raw.base,
            self._data.scores.pairs,
            self._data.evidence,
            self._data.folds,
            self._category,
            rung_how(self._settings),
            self._settings.rung_pairs,
        )
        self.keep(name, RungLogits(listed=listed, base=base))

    def keep(self, name: str, made: RungLogits) -> None:
        """Keep a rung as it is."""
        self._made[name] = made

    def rung(self, name: str) -> RungLogits:
        """Return a rung's logits; those that need no learner are made when asked for."""
        if name not in self._made:
            self.keep(name, plain_rung(self._specs[name], self._data.scores, self._ground))
        return self._made[name]

    def proba(self, name: str) -> PairProba:
        """Return a rung's probabilities."""
        return self.rung(name).proba(self._data.scores.pairs)

    def judgement(self, name: str) -> Judgement:
        """Return a rung's scores within the folds."""
        if name not in self._judged:
            found = self._judges.judgement(self.proba(name), self._settings.objective)
            self._judged[name] = found
        return self._judged[name]

    def score(self, name: str, tags: NDArray[np.bool_] | None = None) -> FoldScore:
        """Return a rung's objective over some tags, all when not given."""
        return self._judges.score(self.proba(name), self._settings.objective, tags)

    def calibrations(self) -> dict[str, TagMaps]:
        """Return the last calibration of each learned rung, fitted on all images."""
        data, how = self._data, rung_how(self._settings)
        images, limit = np.arange(data.scores.n_images), self._settings.rung_pairs
        return {
            name: drawn_monotone(
                raw.listed,
                raw.base,
                data.scores.pairs,
                data.evidence,
                images,
                self._category,
                how,
                limit,
            )
            for name, raw in self._raw.items()
        }
