"""The frozen slice: pictures that judge and are never fitted on, chosen by chance once for all."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tagstack.ensemble.feedback.store import DecisionStore

_SEED = "slice seed"


def frozen_slice(
    store: DecisionStore,
    contents: Sequence[str],
    groups: NDArray[np.int64],
    share: float,
    seed: int,
) -> NDArray[np.bool_]:
    """Return which pictures judge, shape (n_images,), bool; kept in the store for ever.

    Pictures of one group of near-duplicates lie on one side. A new picture goes where its group
    is already; a group that nobody knew is drawn by a hash, so that the order of arrival does not
    matter.

    Parameters
    ----------
    store : DecisionStore
    contents : sequence of str
        SHA-256 of each picture.
    groups : array of shape (n_images,), int64
        Equal for near-duplicates.
    share : float, in [0, 1)
        Of the groups that are drawn now; what was said before stays.
    seed : int
        Counts when the store is new.
    """
    said = store.judges(contents)
    salt = store.fact(_SEED, str(seed))
    members: defaultdict[int, list[int]] = defaultdict(list)
    for place, group in enumerate(groups.tolist()):
        members[group].append(place)
    judging = np.zeros(len(contents), bool)
    fresh: dict[str, bool] = {}
    for own in members.values():
        known = [said[i] for i in own if said[i] is not None]
        side = known[0] if known else _drawn(min(contents[i] for i in own), salt) < share
        for i in own:
            before = said[i]
            judging[i] = bool(side) if before is None else before
            if before is None:
                fresh[contents[i]] = bool(side)
    if fresh:
        store.freeze(fresh)
    return judging


def _drawn(content: str, salt: str) -> float:
    """Return a number in [0, 1) that looks random and is always the same."""
    digest = hashlib.sha256(f"{salt}\0{content}".encode()).digest()
    return float(int.from_bytes(digest[:7], "big") / 2**56)
