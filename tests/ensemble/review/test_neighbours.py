"""The pictures most like one, as a plain loop over cosines finds them."""

import numpy as np

from tagstack.ensemble.review.neighbours import Neighbours
from tagstack.ensemble.review.pairs import ReviewPairs


def test_the_most_alike_with_and_without_a_tag(rng: np.random.Generator) -> None:
    n_images, n_tags = 25, 6
    dense = np.where(rng.random((n_images, n_tags)) < 0.6, rng.random((n_images, n_tags)), 0.0)
    dense[4] = 0.0  # a picture of which nothing is probable
    image, tag = np.nonzero(dense)
    proba = dense[image, tag].astype(np.float32)
    has = proba > 0.5
    count = np.zeros(n_tags, np.int64)
    table = ReviewPairs(
        image=image.astype(np.int32), tag=tag.astype(np.int32), proba=proba, threshold=proba,
        tagged=has, has=has, wrong=np.zeros(n_tags), missing=np.zeros(n_tags), n_has=count,
        n_near=count, n_pairs=count,
    )  # fmt: skip
    found = Neighbours(table)
    for own in (0, 7, 24):
        for asked in range(n_tags):
            like = [
                (dense[own] @ dense[i]) / max(np.linalg.norm(dense[i]), 1e-12)
                for i in range(n_images)
            ]
            order = [i for i in np.argsort(like)[::-1] if i != own and like[i] > 0]
            with_it = [i for i in order if dense[i, asked] > 0.5][:3]
            without = [i for i in order if dense[i, asked] <= 0.5][:3]
            assert found.of(own, asked, 3) == (with_it, without)
    assert found.of(4, 0, 3) == ([], [])
    assert Neighbours(ReviewPairs.empty(3)).of(0, 1, 3) == ([], [])
