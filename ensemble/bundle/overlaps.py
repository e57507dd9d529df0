"""How labelled images meet what their taggers were trained on."""

from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.meta.labels.training_range import NO_ID, TrainingOverlap, image_ids, training_overlaps
from tagstack.meta.labels.truth import Evidence


def overlaps_of(dataset: Dataset, seed: int) -> tuple[TrainingOverlap, ...]:
    """Return, for each member with a known training range, how it meets these images.

    Ids come from the label column ``id``, else from file names that are whole numbers; taggers
    trained by `tagstack train` know their images by content.

    Parameters
    ----------
    dataset : Dataset
    seed : int
        Of the resamples behind the intervals.
    """
    ids = image_ids(dataset.scores.images, dataset.columns.get("id"))
    trainings = [member.training for member in dataset.members]
    if (ids == NO_ID).all() and not any(own and own.contents for own in trainings):
        return ()
    return training_overlaps(
        dataset.scores,
        Evidence.of(dataset.labels, dataset.unknown),
        dataset.groups,
        ids,
        trainings,
        seed=seed,
        contents=dataset.contents,
    )
