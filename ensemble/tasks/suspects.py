"""Lists of probably missing and probably wrong labels, written for a person to go through."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit as logit_of

from tagstack.base_models.atomic import write_text
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import load_bundle, refuse_existing
from tagstack.ensemble.bundle.honest_ground import ground_of
from tagstack.ensemble.progress import Progress
from tagstack.meta.labels.label_noise import SuspectPairs, label_suspects

MISSING, WRONG = "probably_missing.csv", "probably_wrong.csv"
_COLUMNS = ("rank", "image", "tag", "proba", "usual", "threshold", "margin")


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """One line of a list.

    ``usual`` is the mean probability of the tag's labelled pairs, ``margin`` the distance of
    ``proba`` from the tag's threshold in log-odds: above 0, the bundle tags it.
    """

    rank: int
    image: str
    tag: str
    proba: float
    usual: float
    threshold: float
    margin: float


@dataclass(frozen=True, kw_only=True)
class SuspectLists:
    """What was found, and where it was written.

    Parameters
    ----------
    missing, wrong : tuple of Suspect
        The most suspicious first.
    n_images, n_labels : int
        Images and labels that were looked at.
    n_out_of_fold : int
        Images that the stack was fitted on, judged by their out-of-fold probabilities.
    out : Path
    """

    missing: tuple[Suspect, ...]
    wrong: tuple[Suspect, ...]
    n_images: int
    n_labels: int
    n_out_of_fold: int
    out: Path


def find_suspects(
    bundle_dir: Path, source: DatasetSource, out: Path, progress: Progress, *, overwrite: bool
) -> SuspectLists:
    """Write ``probably_missing.csv`` and ``probably_wrong.csv`` into ``out``.

    Images that the bundle was fitted on are judged by their out-of-fold probabilities; without
    those they are left out.

    Raises
    ------
    TagstackError
        If bundle, scores or labels cannot be used, no image is left, or a list exists.
    """
    for name in (MISSING, WRONG):
        refuse_existing(out / name, overwrite=overwrite)
    bundle = load_bundle(bundle_dir)
    ground = ground_of(bundle_dir, source, bundle, progress)
    progress.stage("comparing labels with probabilities")
    dataset = ground.dataset
    found = label_suspects(ground.proba, dataset.labels, dataset.unknown)
    images, thresholds = dataset.scores.images, bundle.thresholds.value
    missing, wrong = (
        _named(pairs, images, bundle.vocabulary.tags, thresholds)
        for pairs in (found.missing, found.wrong)
    )
    out.mkdir(parents=True, exist_ok=True)
    for name, suspects in ((MISSING, missing), (WRONG, wrong)):
        write_text(out / name, _csv(suspects))
    return SuspectLists(
        missing=missing,
        wrong=wrong,
        n_images=dataset.scores.n_images,
        n_labels=found.n_labels,
        n_out_of_fold=ground.n_out_of_fold,
        out=out,
    )


def _named(
    pairs: SuspectPairs,
    images: tuple[str, ...],
    tags: tuple[str, ...],
    thresholds: NDArray[np.float32],
) -> tuple[Suspect, ...]:
    cut = thresholds[pairs.tag].astype(np.float64)
    # A tag that is never tagged has an infinite threshold, and is infinitely far below it.
    margin = logit_of(np.clip(pairs.proba, 1e-7, 1 - 1e-7)) - logit_of(np.clip(cut, 1e-7, 1 - 1e-7))
    margin = np.where(cut > 1, -np.inf, margin)
    rows = zip(pairs.image, pairs.tag, pairs.proba, pairs.usual, cut, margin, strict=True)
    return tuple(
        Suspect(
            rank=rank,
            image=images[image],
            tag=tags[tag],
            proba=float(proba),
            usual=float(usual),
            threshold=float(threshold),
            margin=float(distance),
        )
        for rank, (image, tag, proba, usual, threshold, distance) in enumerate(rows, 1)
    )


def _csv(suspects: tuple[Suspect, ...]) -> str:
    stream = io.StringIO()
    table = TableWriter(stream)
    table.writerow(_COLUMNS)
    for one in suspects:
        figures = (f"{one.proba:.4f}", f"{one.usual:.4f}", f"{one.threshold:.4f}")
        table.writerow((one.rank, one.image, one.tag, *figures, f"{one.margin:.2f}"))
    return stream.getvalue()
