"""Warns where taggers were trained on the very images that a stack is fitted or judged on."""

from tagstack.ensemble.dataset import Dataset
from tagstack.meta.training_range import NO_ID, TrainingOverlap, image_ids, training_overlaps
from tagstack.meta.truth import Evidence


def overlaps_of(dataset: Dataset, seed: int) -> tuple[TrainingOverlap, ...]:
    """Return, for each member with a known training range, how it meets these images.

    Ids come from the label column ``id``, else from file names that are whole numbers. Nothing is
    returned where no image has an id.

    Parameters
    ----------
    dataset : Dataset
    seed : int
        Of the resamples behind the intervals.
    """
    ids = image_ids(dataset.scores.images, dataset.columns.get("id"))
    if (ids == NO_ID).all():
        return ()
    return training_overlaps(
        dataset.scores,
        Evidence.of(dataset.labels, dataset.unknown),
        dataset.groups,
        ids,
        [member.training for member in dataset.members],
        seed=seed,
    )
