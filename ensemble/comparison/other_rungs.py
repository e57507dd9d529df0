"""Other tools' outputs as rungs, judged like our own: on the same images, tags and resamples.

Scores become tags by thresholds of the stack's strategy, fitted on the images that the stack was
fitted on, where the tool has scored those too. Otherwise they are fitted on the test images,
crosswise by groups, which favours the tool. Output without scores is taken as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.comparison.other_outputs import OtherOutput, OtherProba, read_other
from tagstack.ensemble.comparison.rungs import Rung
from tagstack.ensemble.rules.hygiene import canonical_names
from tagstack.ensemble.thresholds.deciding import Cutting, decided_by
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.labels.truth import without_unknown
from tagstack.meta.stack.rung_spec import RungSpec

_LEAST_IMAGES = 50  # fewer scored fit images are no calibration set
_FOLDS = 5

Fitted = Callable[[], Dataset | None]


@dataclass(frozen=True, kw_only=True)
class OtherTool:
    """Another tool's name on the ladder and its output."""

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class OtherRungs:
    """Rungs of other tools and what of their outputs could not be used, a line each."""

    rungs: tuple[Rung, ...]
    notices: tuple[str, ...]


def other_rungs(
    tools: tuple[OtherTool, ...], bundle: Bundle, test: Dataset, fitted: Fitted, seed: int
) -> OtherRungs:
    """Return a rung for each tool.

    Parameters
    ----------
    tools : tuple of OtherTool
    bundle : Bundle
    test : Dataset
        Images to compare on.
    fitted : callable that returns a Dataset or None
        Labelled images that the bundle was fitted on, None where they are not at hand; called
        only for a tool with scores.
    seed : int
        Of the folds in which thresholds are fitted.

    Raises
    ------
    TagstackError
        If an output cannot be read.
    """
    outputs = [read_other(tool.name, tool.path) for tool in tools]
    judged = [_Tool(output, bundle, seed) for output in outputs]
    rungs: list[Rung] = []
    notices: list[str] = []
    for tool in judged:
        found = tool.on(test)
        rungs.append(tool.rung(found, test, fitted))
        notices += found.notices(tool.output.name)
    return OtherRungs(rungs=tuple(rungs), notices=tuple(notices))


class _Tool:
    """One tool's output under a bundle's vocabulary and threshold strategy."""

    def __init__(self, output: OtherOutput, bundle: Bundle, seed: int) -> None:
        self.output, self._bundle, self._seed = output, bundle, seed
        self._aliases = canonical_names(bundle.rules.aliases)

    def on(self, dataset: Dataset) -> OtherProba:
        """Return the tool's scores for a dataset's images."""
        return self.output.proba(dataset.scores.images, self._bundle.vocabulary, self._aliases)

    def rung(self, found: OtherProba, test: Dataset, fitted: Fitted) -> Rung:
        """Return the rung: tags as given, or by thresholds fitted like the stack's."""
        proba = found.proba
        rung = Rung(
            spec=RungSpec(name=self.output.name, title=self.output.name, kind="tool"),
            proba=proba,
            decided=decided_by(proba, np.full(proba.pairs.n_tags, 0.5, np.float32)),
            thresholds=None,
            note="another tool's tags as given; without scores its AP has one step",
        )
        if not self.output.scored:
            return rung
        calibration = self._scored(fitted())
        if calibration is not None:
            cutting = self._fitted(self.on(calibration).proba, calibration)
            note = f"another tool; thresholds fitted on {calibration.scores.n_images} fit images"
            return replace(
                rung, decided=cutting.decided(proba), thresholds=cutting.value, note=note
            )
        note = "another tool; thresholds fitted crosswise on the test images, which favours it"
        return replace(rung, decided=self._crosswise(proba, test), note=note)

    def _scored(self, fitted: Dataset | None) -> Dataset | None:
        """Return the fit images that the tool has scored, or None if they are too few."""
        if fitted is None:
            return None
        missing = set(self.on(fitted).missing)
        kept = [i for i, image in enumerate(fitted.scores.images) if image not in missing]
        return fitted.take(np.array(kept, np.intp)) if len(kept) >= _LEAST_IMAGES else None

    def _crosswise(self, proba: PairProba, test: Dataset) -> sparse.csr_array:
        """Return each fold's tags by thresholds fitted on the other folds."""
        fold_of = stratified_group_folds(test.labels, test.groups, _FOLDS, self._seed)
        order, parts = [], []
        for fold in range(_FOLDS):
            here, there = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
            cutting = self._fitted(proba.take(there), test.take(there))
            order.append(here)
            parts.append(cutting.decided(proba.take(here)))
        stacked = sparse.csr_array(sparse.vstack(parts, format="csr"))
        return stacked[np.argsort(np.concatenate(order))]

    def _fitted(self, proba: PairProba, dataset: Dataset) -> Cutting:
        """Return thresholds of the stack's strategy; infinite for tags that the tool lacks."""
        folds = stratified_group_folds(dataset.labels, dataset.groups, _FOLDS, self._seed)
        known = PairProba(
            pairs=proba.pairs, proba=proba.proba, base=np.nan_to_num(proba.base, nan=0.0)
        )
        found = fit_thresholds(
            without_unknown(known, dataset.unknown),
            dataset.labels,
            self._bundle.vocabulary,
            folds,
            self._bundle.settings.thresholds,
        )
        value = np.where(np.isnan(proba.base), np.inf, found.value).astype(np.float32)
        return Cutting(value=value, image_cut=found.image_cut)
