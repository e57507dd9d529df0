"""How labelled images meet what the stack was fitted on, and what its taggers were trained on."""

import numpy as np

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.bundle.fitted_images import FittedImages
from tagstack.meta.labels.training_range import NO_ID, TrainingOverlap, image_ids, training_overlaps
from tagstack.meta.labels.truth import Evidence


def unseen(dataset: Dataset, fitted: FittedImages) -> tuple[Dataset, tuple[str, ...]]:
    """Return a dataset without the images that a bundle was fitted on, and notices about that.

    Images that look like a fitted one are left out, too.

    Raises
    ------
    TagstackError
        If no image is left.
    """
    seen = fitted.holds(dataset)
    alike = fitted.resembles(dataset) & ~seen
    if (seen | alike).all():
        msg = (
            f"All {len(seen)} images were used to fit this bundle, or look like one that was; "
            "a comparison on them proves nothing. Choose others with --where."
        )
        raise TagstackError(msg)
    near = fitted.holds_titles(dataset.titles) & ~seen & ~alike
    notices = []
    if seen.any():
        first = dataset.scores.images[int(seen.argmax())]
        notices.append(
            f"{int(seen.sum())} of {len(seen)} images were used to fit this bundle, copies "
            f"included, such as {first}; they are left out"
        )
    if alike.any():
        first = dataset.scores.images[int(alike.argmax())]
        notices.append(
            f"{int(alike.sum())} images look like one that the bundle was fitted on, such as "
            f"{first}; they are left out"
        )
    if near.any():
        notices.append(
            f"{int(near.sum())} images belong to a group that the bundle was fitted on; the "
            "stack may know them too well"
        )
    return dataset.take(np.flatnonzero(~seen & ~alike)), tuple(notices)


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
