"""What a fit says of itself in its bundle: what it saw and tried, and what the choice rests on."""

import hashlib
from dataclasses import asdict
from typing import Any

import numpy as np

from tagstack.configs.json_values import plain
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.thresholds.fitting import Thresholds
from tagstack.meta.labels.training_range import TrainingOverlap
from tagstack.meta.stack.stacker import Stacker


def labels_sha256(dataset: Dataset) -> str:
    """Return the SHA-256 of the image names with their label indices and what is unknown."""
    state = hashlib.sha256("\n".join(dataset.scores.images).encode("utf-8", "surrogateescape"))
    for matrix in (dataset.labels, dataset.unknown):
        for array in (matrix.indptr, matrix.indices):
            state.update(array.astype(np.int64).tobytes())
    return state.hexdigest()


def fit_evidence(
    dataset: Dataset,
    overlaps: tuple[TrainingOverlap, ...],
    stacker: Stacker,
    settings: Settings,
) -> dict[str, Any]:
    """Return what a bundle keeps of labels, choice and tuning, and of what members are worth."""
    content = {
        "n_images": dataset.scores.n_images,
        "n_groups": int(dataset.groups.max()) + 1,
        "n_labels": int(dataset.labels.nnz),
        "n_unknown": int(dataset.unknown.nnz),
        "labels_sha256": labels_sha256(dataset),
        "seed": settings.seed,
        "device": settings.stack.device,
        "chosen": stacker.chosen_,
        "ladder": [asdict(row) for row in stacker.ladder_],
        "n_judged": stacker.n_judged_,
        "rounds": stacker.rounds_,
        "candidate_recall": stacker.candidate_recall_,
        "bands": [asdict(band) for band in stacker.bands_],
        "rehearsal": _rehearsal(stacker),
        "tuning": _tuning(stacker),
        **_members(stacker),
        "training_overlaps": [asdict(overlap) for overlap in overlaps],
        "notices": [*dataset.notices, *(overlap.notice for overlap in overlaps)],
    }
    # A score that no fold defines is null: NaN is not JSON.
    return {key: plain(value) for key, value in content.items()}


def saw_of(dataset: Dataset, thresholds: Thresholds, n_given: int) -> dict[str, Any]:
    """Return what the labels hold, and how many tags the fit gives where they have how many."""
    n_images = dataset.scores.n_images
    return {
        "n_tags": len(dataset.scores.vocabulary),
        "no_positive": int((thresholds.positives == 0).sum()),
        "pooled": thresholds.state.count("pooled"),
        "tags_per_image": n_given / n_images,
        "labels_per_image": int(dataset.labels.nnz) / n_images,
    }


def _rehearsal(stacker: Stacker) -> dict[str, Any] | None:
    held = stacker.rehearsal_
    if held is None:
        return None
    scores = [asdict(score) for score in held.scores]
    return {"n_images": held.n_images, "scores": scores, "switched_off": dict(held.off)}


def _members(stacker: Stacker) -> dict[str, Any]:
    """Return what each member adds, and how far the members err together."""
    found: dict[str, Any] = {}
    if stacker.diversity_ is not None:
        found["diversity"] = asdict(stacker.diversity_)
    if stacker.member_worth_ is not None:
        found["members_worth"] = [asdict(loss) for loss in stacker.member_worth_.losses]
        found["members_worth_rung"] = stacker.member_worth_.rung
    return found


def _tuning(stacker: Stacker) -> dict[str, Any] | None:
    found = stacker.tuning_
    if found is None:
        return None
    return {**asdict(found), "settings": found.settings.model_dump(mode="json")}
