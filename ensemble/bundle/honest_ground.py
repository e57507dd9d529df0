"""Labelled images with probabilities of models that had not seen them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset, DatasetSource, load_dataset
from tagstack.ensemble.bundle.files import out_of_fold_of
from tagstack.ensemble.bundle.out_of_fold import OutOfFold, joined
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.rules.hygiene import canonical_names


@dataclass(frozen=True, kw_only=True)
class HonestGround:
    """Labelled images with probabilities from models that had not seen them."""

    dataset: Dataset
    proba: PairProba
    n_out_of_fold: int
    notices: tuple[str, ...]
    kept_rows: NDArray[np.int64]

    def rung_probas(
        self, bundle: Bundle, kept: OutOfFold | None, rungs: tuple[str, ...] | None = None
    ) -> Mapping[str, PairProba] | None:
        """Return some rungs' probabilities of these images; None where they are not all kept.

        Of every rung by default.
        """
        rungs, n_old = bundle.stacker.rungs_ if rungs is None else rungs, self.n_out_of_fold
        old = {} if kept is None or not n_old else kept.rungs(bundle.stacker.chosen_)
        if n_old and not set(rungs) <= set(old):
            return None
        fresh = np.arange(n_old, self.dataset.scores.n_images)
        if not len(fresh):
            return {rung: old[rung].take(self.kept_rows) for rung in rungs}
        new = bundle.stacker.predict_rungs(self.dataset.scores.take(fresh), rungs)
        if not n_old:
            return new
        return {rung: joined(old[rung].take(self.kept_rows), new[rung]) for rung in rungs}


def ground_of(
    directory: Path, source: DatasetSource, bundle: Bundle, progress: Progress
) -> HonestGround:
    """Return the labelled images of ``source`` that a bundle can be held against honestly.

    Parameters
    ----------
    directory : Path
        Folder of the bundle, for the out-of-fold probabilities it keeps.
    source : DatasetSource
    bundle : Bundle
    progress : Progress

    Raises
    ------
    TagstackError
        If scores or labels cannot be used, or no image is left.
    """
    return honest_ground(bundle, out_of_fold_of(directory), source, progress)


def honest_ground(
    bundle: Bundle, kept: OutOfFold | None, source: DatasetSource, progress: Progress
) -> HonestGround:
    """Return what `ground_of` does, with the out-of-fold probabilities given."""
    dataset = load_dataset(
        source,
        aliases=canonical_names(bundle.rules.aliases),
        groups=bundle.rules.groups,
        labels=bundle.settings.labels,
        near_duplicates=bundle.settings.score.near_duplicates,
        bundle=bundle,
    )
    rows = _rows(kept, dataset)
    fitted = bundle.fitted_images.holds(dataset)
    known = rows >= 0
    fresh = ~fitted & ~bundle.fitted_images.resembles(dataset)
    cautions = (f"This is {bundle.caution}",) if bundle.caution else ()
    notices = (*cautions, *dataset.notices, *_notices(fitted, known, fresh, kept))
    for notice in notices:
        progress.notice(notice)
    progress.stage("predicting")
    return _joined(bundle, dataset, kept, rows, known, fresh, notices)


def _joined(
    bundle: Bundle,
    dataset: Dataset,
    kept: OutOfFold | None,
    rows: NDArray[np.int64],
    known: NDArray[np.bool_],
    fresh: NDArray[np.bool_],
    notices: tuple[str, ...],
) -> HonestGround:
    """Return fitted images with kept probabilities, then fresh ones with predicted ones."""
    first, second = np.flatnonzero(known), np.flatnonzero(fresh & ~known)
    if not len(first) and not len(second):
        msg = (
            "No image is left to calibrate on: the bundle was fitted on all of them and keeps no "
            "out-of-fold probabilities (thresholds.keep_out_of_fold). Choose others with --where."
        )
        raise TagstackError(msg)
    taken = dataset.take(np.concatenate([first, second]))
    parts = [] if kept is None or not len(first) else [kept.proba.take(rows[first])]
    if len(second):
        parts.append(bundle.stacker.predict_proba(dataset.scores.take(second)))
    proba = parts[0] if len(parts) == 1 else joined(*parts)
    return HonestGround(
        dataset=taken,
        proba=proba,
        n_out_of_fold=len(first),
        notices=notices,
        kept_rows=rows[first],
    )


def _rows(kept: OutOfFold | None, dataset: Dataset) -> NDArray[np.int64]:
    if kept is None:
        return np.full(dataset.scores.n_images, -1, np.int64)
    return kept.rows(dataset.contents)


def _notices(
    fitted: NDArray[np.bool_],
    known: NDArray[np.bool_],
    fresh: NDArray[np.bool_],
    kept: OutOfFold | None,
) -> tuple[str, ...]:
    n_images, notices = len(fitted), []
    if known.any():
        notices.append(
            f"{int(known.sum())} of {n_images} images were used to fit this bundle; their "
            "out-of-fold probabilities are used"
        )
    if lost := int((~known & ~fresh).sum()):
        why = "" if kept is not None else "; the bundle keeps no out-of-fold probabilities"
        notices.append(
            f"{lost} of {n_images} images were used to fit this bundle or look like one that "
            f"was{why}; they are left out"
        )
    return tuple(notices)
