"""A fitted probe: from the taggers' scores and features to one more member's scores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.meta.calibrators.calibration import MemberCalibration
from tagstack.meta.learners.mean import mean_logit
from tagstack.meta.probe.columns import Columns

Floats = NDArray[np.float64]

PROBE = "probe"
"""Name of the member."""
_MOST_LOGIT = 30.0
_CELLS = 2**22  # of a dense array of some images' pairs: 32 MB
_TAGS = 512  # whose weights are made float64 at a time


@dataclass(frozen=True, kw_only=True)
class PairLogits:
    """Logits of pairs, each image's tags ascending.

    Parameters
    ----------
    key : array of shape (n_pairs,), int64, ascending
        Image times the number of tags plus tag.
    logit : array of shape (n_pairs,), float32
    """

    key: NDArray[np.int64]
    logit: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A head for every tag; a pure function of each image's scores and features.

    A pair's logit is the mean of the taggers that know the tag, calibrated by category (for a tag
    that none knows, how often it comes), plus columns times weights, plus bias. It decides whether
    the pair is listed, and is shifted then.

    Parameters
    ----------
    columns : Columns
    calibration : MemberCalibration
        Of the taggers; alike for all tags of a category.
    rate : array of shape (n_tags,), float64
        Logit of how often a tag comes, where no tagger knows it.
    weights : array of shape (n_columns, n_tags), float32
        On a grid, see `columns.weights_on_grid`.
    bias : array of shape (n_tags,), float64
    shift : array of shape (n_tags,), float64
        Added to listed pairs' logits. Tags that no tagger knows all start from one logit by it:
        their own rates and biases, without each fold, would rank the images of one fold above
        those of another that has more of the tag.
    floor : float32
        Logit of a pair that is not listed, and the least of one that is.
    least : float32
        Logit from which on a pair is listed that no tagger lists.
    """

    columns: Columns
    calibration: MemberCalibration
    rate: Floats
    weights: NDArray[np.float32]
    bias: Floats
    shift: Floats
    floor: np.float32
    least: np.float32

    def apply(self, scores: Level1Scores) -> Level1Scores:
        """Return the taggers' scores with the probe's behind them, without the features.

        Parameters
        ----------
        scores : Level1Scores
            Of the taggers, over a vocabulary that the probe's begins with; with features.

        Raises
        ------
        TagstackError
            If the features are not those that it was fitted on.
        """
        return with_member(scores, self.pair_logits(scores), self.floor)

    def pair_logits(self, scores: Level1Scores) -> PairLogits:
        """Return the probe's logits of the listed pairs and of others that it finds probable."""
        widths = [own.shape[1] for own in scores.features]
        if sum(widths) != len(self.columns):
            msg = (
                f"The probe was fitted on {len(self.columns)} features, the scores of "
                f"{list(scores.members)} have {widths}. Score with the features of the same "
                "taggers (`--features`)."
            )
            raise TagstackError(msg)
        parts = list(self._parts(scores))
        return PairLogits(
            key=np.concatenate([part.key for part in parts]),
            logit=np.concatenate([part.logit for part in parts]),
        )

    def prior(self, scores: Level1Scores) -> tuple[Floats, Floats]:
        """Return the logits that listed pairs (n_pairs,) and the others (n_tags,) start from."""
        return prior_logits(scores, self.calibration, self.rate)

    def _parts(self, scores: Level1Scores) -> Iterator[PairLogits]:
        n_tags = len(self.bias)
        step = max(1, _CELLS // n_tags)
        for start in range(0, max(1, scores.n_images), step):
            part = scores.take(np.arange(start, min(start + step, scores.n_images)))
            listed, base = self.prior(part)
            dense = np.tile(base, (part.n_images, 1))
            dense[part.pairs.image, part.pairs.tag] = listed
            columns = self.columns.apply(part.features)
            for first in range(0, n_tags, _TAGS):
                block = slice(first, first + _TAGS)
                dense[:, block] += columns @ self.weights[:, block].astype(np.float64)
            dense += self.bias
            wanted = dense >= self.least
            wanted[part.pairs.image, part.pairs.tag] = True
            image, tag = wanted.nonzero()
            values = np.clip(dense[image, tag] + self.shift[tag], self.floor, _MOST_LOGIT)
            yield PairLogits(key=(image + start) * n_tags + tag, logit=values.astype(np.float32))


def prior_logits(
    scores: Level1Scores, calibration: MemberCalibration, rate: Floats
) -> tuple[Floats, Floats]:
    """Return the taggers' calibrated mean of listed pairs and of the others by tag; see `Probe`.

    Shapes (n_pairs,) and (n_tags,).
    """
    members = calibration.apply(scores)
    listed, base = mean_logit(members.listed), mean_logit(members.base)
    return (
        np.where(np.isnan(listed), rate[scores.pairs.tag], listed),
        np.where(np.isnan(base), rate, base),
    )


def with_member(scores: Level1Scores, own: PairLogits, floor: np.float32) -> Level1Scores:
    """Return scores with one member more, which knows every tag; features are left out.

    Parameters
    ----------
    scores : Level1Scores
    own : PairLogits
        Of all listed pairs, and of others.
    floor : float32
        The member's logit of the others.
    """
    n_tags = len(scores.vocabulary)
    image, tag = own.key // n_tags, (own.key % n_tags).astype(np.int32)
    logit = np.where(scores.knows[:, tag], scores.floor[:, None], np.float32(np.nan))
    listed = scores.pairs.image.astype(np.int64) * n_tags + scores.pairs.tag
    logit[:, np.searchsorted(own.key, listed)] = scores.logit
    counts = np.bincount(image, minlength=scores.n_images)
    return replace(
        scores,
        members=(*scores.members, PROBE),
        knows=np.concatenate([scores.knows, np.ones((1, n_tags), bool)]),
        floor=np.append(scores.floor, floor).astype(np.float32),
        pairs=Pairs(
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            tag=tag,
            n_tags=n_tags,
        ),
        logit=np.concatenate([logit, own.logit[None]]),
        features=(),
    )


def over_vocabulary(scores: Level1Scores, vocabulary: Vocabulary) -> Level1Scores:
    """Return scores over a vocabulary that theirs is the beginning of; nobody knows the rest.

    Raises
    ------
    TagstackError
        If it is another vocabulary.
    """
    n_own = len(scores.vocabulary)
    if vocabulary.tags[:n_own] != scores.vocabulary.tags:
        msg = (
            f"The scores have {n_own} tags that are not the first of the stack's "
            f"{len(vocabulary)}. Score with the same taggers."
        )
        raise TagstackError(msg)
    more = np.zeros((len(scores.members), len(vocabulary) - n_own), bool)
    return replace(
        scores,
        vocabulary=vocabulary,
        knows=np.concatenate([scores.knows, more], axis=1),
        pairs=replace(scores.pairs, n_tags=len(vocabulary)),
    )
