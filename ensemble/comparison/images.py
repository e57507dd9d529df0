"""What single images show: the worst ones, mix-ups inside a group, what the last step changed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.comparison.results import (
    Confusion,
    DecisionChange,
    DecisionChanges,
    TagProba,
    WorstImage,
)
from tagstack.meta.metrics.counts import canonical, count_by_image, count_by_tag

_MOST_CONFUSED = 14  # a larger matrix cannot be read
_MOST_CHANGED = 20
OTHER, NONE, SEVERAL = "other tags", "none", "several"


def worst_images(
    proba: PairProba,
    decided: sparse.csr_array,
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    images: Sequence[str],
    n_worst: int,
) -> tuple[WorstImage, ...]:
    """Return the images with most errors, wrong and missed tags counted alike.

    Images with equally many errors follow in order of name.
    """
    errors = count_by_image(decided, labels).errors
    order = sorted(
        np.flatnonzero(errors).tolist(), key=lambda image: (-errors[image], images[image])
    )
    decided, labels = canonical(decided), canonical(labels)
    result = []
    for image in order[:n_worst]:
        ours, true = _row(decided, image), _row(labels, image)
        listed = dict(zip(*_listed(proba, image), strict=True))
        result.append(
            WorstImage(
                image=images[image],
                right=_tags(ours & true, listed, proba, vocabulary),
                wrong=_tags(ours - true, listed, proba, vocabulary),
                missed=_tags(true - ours, listed, proba, vocabulary),
            )
        )
    return tuple(result)


def confusion_in(
    group: str,
    tags: Sequence[int],
    decided: sparse.csr_array,
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    unknown: sparse.csr_array | None = None,
) -> Confusion:
    """Return what was decided inside an exclusive group against what is true.

    Parameters
    ----------
    group : str
    tags : sequence of int
        Indices of the group's tags.
    decided, labels : csr_array of shape (n_images, n_tags), bool
    vocabulary : Vocabulary
    unknown : csr_array of shape (n_images, n_tags), bool, optional
        Images with such a pair in the group are left out.
    """
    tags = list(tags)
    if unknown is not None:
        known = np.diff(canonical(sparse.csr_array(unknown[:, tags])).indptr) == 0
        decided, labels = decided[known], labels[known]
    true, ours = canonical(labels)[:, tags], canonical(decided)[:, tags]
    positives = np.bincount(canonical(true).indices, minlength=len(tags))
    shown = sorted(range(len(tags)), key=lambda tag: (-positives[tag], tag))[:_MOST_CONFUSED]
    names = (*(vocabulary.tags[tags[tag]] for tag in shown), OTHER, NONE, SEVERAL)
    slot = np.full(len(tags), len(shown))
    slot[shown] = np.arange(len(shown))
    rows, columns = _slots(canonical(true), slot, names), _slots(canonical(ours), slot, names)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (rows, columns), 1)
    return Confusion(group=group, names=names, counts=counts)


def decision_changes(
    before_title: str,
    after_title: str,
    before: sparse.csr_array,
    after: sparse.csr_array,
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
) -> DecisionChanges:
    """Return what changed between two sets of decided tags, right and wrong counted apart."""
    kept, earlier, later = canonical(labels), canonical(before), canonical(after)
    added = canonical(sparse.csr_array(later > earlier))
    removed = canonical(sparse.csr_array(earlier > later))
    plus, minus = count_by_tag(added, kept), count_by_tag(removed, kept)
    columns = (plus.hits, plus.predicted - plus.hits, minus.predicted - minus.hits, minus.hits)
    changed = plus.predicted + minus.predicted
    order = sorted(np.flatnonzero(changed), key=lambda tag: (-changed[tag], tag))
    totals = [int(column.sum()) for column in columns]
    return DecisionChanges(
        before=before_title,
        after=after_title,
        added_right=totals[0],
        added_wrong=totals[1],
        removed_right=totals[2],
        removed_wrong=totals[3],
        images_changed=int(((np.diff(added.indptr) + np.diff(removed.indptr)) > 0).sum()),
        tags=tuple(
            DecisionChange(vocabulary.tags[tag], *(int(column[tag]) for column in columns))
            for tag in order[:_MOST_CHANGED]
        ),
    )


def _row(matrix: sparse.csr_array, image: int) -> set[int]:
    return set(matrix.indices[matrix.indptr[image] : matrix.indptr[image + 1]].tolist())


def _listed(proba: PairProba, image: int) -> tuple[list[int], list[float]]:
    rows = slice(proba.pairs.indptr[image], proba.pairs.indptr[image + 1])
    return proba.pairs.tag[rows].tolist(), proba.proba[rows].tolist()


def _tags(
    tags: set[int], listed: dict[int, float], proba: PairProba, vocabulary: Vocabulary
) -> tuple[TagProba, ...]:
    """Return tags with their probability, the most probable first."""
    found = [
        TagProba(tag=vocabulary.tags[tag], proba=float(listed.get(tag, proba.base[tag])))
        for tag in tags
    ]
    return tuple(sorted(found, key=lambda item: (-np.nan_to_num(item.proba), item.tag)))


def _slots(
    matrix: sparse.csr_array, slot: NDArray[np.intp], names: tuple[str, ...]
) -> NDArray[np.intp]:
    """Return each image's place among ``names``: its one tag, another tag, none, or several."""
    counts = np.diff(matrix.indptr)
    result = np.full(matrix.shape[0], len(names) - 2)
    result[counts > 1] = len(names) - 1
    one = counts == 1
    result[one] = slot[matrix.indices[matrix.indptr[:-1][one]]]
    return result
