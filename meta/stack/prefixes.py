"""Scores of some of a stack's members, as if the others had never looked."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.vocabulary import Vocabulary


def prefix_scores(
    scores: Level1Scores, members: Sequence[str], vocabulary: Vocabulary
) -> Level1Scores:
    """Return the scores of some members over the whole stack's vocabulary.

    What is returned depends on these members' scores alone, not on who else scored the images: a
    pair is listed where one of them is above its floor. A tag that none of them knows is at the
    first one's floor everywhere, so that an answer to it is defined.

    Parameters
    ----------
    scores : Level1Scores
        Of these members and maybe others.
    members : sequence of str
    vocabulary : Vocabulary
        Holds every tag of the scores.
    """
    chosen = [scores.members.index(name) for name in members]
    place = np.array([vocabulary.index[tag] for tag in scores.vocabulary.tags], np.int64)
    knows = np.zeros((len(chosen), len(vocabulary)), bool)
    knows[:, place] = scores.knows[chosen]
    floor = scores.floor[chosen]
    # NaN, where a member abstains, is above nothing.
    rows = np.flatnonzero((scores.logit[chosen] > floor[:, None]).any(axis=0))
    image, tag = scores.pairs.image[rows], place[scores.pairs.tag[rows]]
    order = np.lexsort((tag, image))
    image, own = image[order], tag[order].astype(np.int32)
    logit = scores.logit[chosen][:, rows[order]]
    orphaned = np.asarray(np.logical_not(knows.any(axis=0)))
    knows[0, orphaned] = True
    logit[0, orphaned[own]] = floor[0]
    counts = np.bincount(image, minlength=scores.n_images)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return replace(
        scores,
        vocabulary=vocabulary,
        members=tuple(members),
        knows=knows,
        floor=floor,
        pairs=Pairs(indptr=indptr, tag=own, n_tags=len(vocabulary)),
        logit=logit,
        features=tuple(scores.features[m] for m in chosen) if scores.features else (),
    )
