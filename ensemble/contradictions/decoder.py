"""From probabilities and thresholds to tags that contradict no rule, exactly.

Of all tag sets that obey the rules, the decoder returns the one with the largest sum of
``logit(proba) - logit(threshold)``, less the penalties of soft rules broken. A tag below its
threshold is kept only if a kept tag implies it or an at-least-one rule has nothing better. The
decision for an image depends on that image alone, so neither batches nor order matter.

The probabilities are not changed: after decoding they still say what the stack believes of each
tag by itself, not given the rules.
"""

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.configs.decisions import DecoderSettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.contradictions.engines import DecodingEngine, EngineChoice
from tagstack.ensemble.contradictions.evidence import Evidence, Ints, RuleLists, merged
from tagstack.ensemble.rules.bound_rules import BoundRules

logger = logging.getLogger(__name__)

_CHUNK = 2048  # images reduced together: bounds memory, changes no result


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Tags that obey the rules.

    Parameters
    ----------
    tags : csr_array of shape (n_images, n_tags), bool
    inexact : array of shape (n_images,), bool
        Images on which the search budget ran out: legal, but perhaps not the best.
    """

    tags: sparse.csr_array
    inexact: NDArray[np.bool_]


class Decoder:
    """Decides which tags an image gets.

    Parameters
    ----------
    rules : BoundRules
    settings : DecoderSettings

    Raises
    ------
    TagstackError
        If the settings ask for an engine that is not installed.
    """

    def __init__(self, rules: BoundRules, settings: DecoderSettings) -> None:
        self.rules = rules
        self.settings = settings
        self._lists = RuleLists(rules)
        self.engines = EngineChoice(self._lists, settings)

    def decode(
        self,
        proba: PairProba,
        thresholds: NDArray[np.float32],
        worth: NDArray[np.float32] | None = None,
    ) -> sparse.csr_array:
        """Return the best legal tags of each image.

        Parameters
        ----------
        proba : PairProba
            NaN for a tag that nobody scored: it is tagged only where a kept tag implies it.
        thresholds : array of shape (n_tags,), float32
            Infinite for a tag that is never tagged for its own sake.
        worth : array of shape (n_tags,), float32, above 0, optional
            A tag gains ``worth * (proba - threshold)`` instead of what the settings say.

        Returns
        -------
        csr_array of shape (n_images, n_tags), bool

        Raises
        ------
        TagstackError
            If the numbers of tags differ, or a threshold is NaN.
        """
        decoded = self.solve(proba, thresholds, worth)
        if n_inexact := int(decoded.inexact.sum()):
            logger.warning(
                "The search budget of %d ran out on %d of %d images; their tags are legal but "
                "perhaps not the best. Raise decoder.search_budget.",
                self.settings.search_budget,
                n_inexact,
                len(decoded.inexact),
            )
        return decoded.tags

    def solve(
        self,
        proba: PairProba,
        thresholds: NDArray[np.float32],
        worth: NDArray[np.float32] | None = None,
    ) -> Decoded:
        """Return the best legal tags and where the search stopped early; see :meth:`decode`."""
        n_images = proba.pairs.n_images
        proba = self._heard(proba, thresholds)
        engine = self.engines.engine(n_images)
        keys, inexact = [np.zeros(0, np.int64)], np.zeros(n_images, bool)
        for start in range(0, n_images, _CHUNK):
            images = np.arange(start, min(start + _CHUNK, n_images))
            kept, unsure = self._solve_chunk(engine, proba.take(images), thresholds, worth)
            keys.append(kept + start * self.rules.n_tags)
            inexact[start + unsure] = True
        return Decoded(
            tags=_matrix(np.concatenate(keys), n_images, self.rules.n_tags), inexact=inexact
        )

    def evidence(
        self,
        proba: PairProba,
        thresholds: NDArray[np.float32],
        worth: NDArray[np.float32] | None = None,
    ) -> Evidence:
        """Return probabilities and thresholds as the search sees them.

        Raises
        ------
        TagstackError
            If the numbers of tags differ, or a threshold is NaN.
        """
        _check(proba, thresholds, self.rules.n_tags)
        pairs = proba.pairs
        return Evidence(
            n_images=pairs.n_images,
            n_tags=pairs.n_tags,
            start=pairs.indptr,
            key=pairs.keys(),
            proba=proba.proba,
            base=proba.base,
            threshold=thresholds.astype(np.float32),
            utility=self.settings.objective == "utility",
            worth=worth,
        )

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """Tags that may be kept below their thresholds: others imply them, or a rule asks for one.

        Shape (n_tags,).
        """
        return self._lists.wanted

    def exclusions_of(self, tag: int) -> list[int]:
        """Return the numbers of the exclusions that a tag is a member of."""
        start, end = self._lists.member.indptr[tag : tag + 2]
        return list(self._lists.member.values[start:end].tolist())

    def closed(self, keys: Ints) -> Ints:
        """Return keys (``image * n_tags + tag``) with everything that they imply, ascending.

        Shape (n_closed,).
        """
        n_tags = self.rules.n_tags
        source, above = self._lists.ancestors.expand(keys % n_tags)
        return merged(keys, (keys // n_tags)[source] * n_tags + above)

    def _heard(self, proba: PairProba, thresholds: NDArray[np.float32]) -> PairProba:
        """Return the pairs that the rules can have anything to say of: a few among very many.

        A pair below its threshold stands for nothing, unless another tag implies it or a rule asks
        for one of its kind; and what is said of it is said of an unlisted pair, while that is below
        the threshold too.
        """
        _check(proba, thresholds, self.rules.n_tags)
        always = self._lists.wanted | (proba.base >= thresholds)
        tag = proba.pairs.tag
        return proba.only(always[tag] | (proba.proba >= thresholds[tag]))

    def _solve_chunk(
        self,
        engine: DecodingEngine,
        proba: PairProba,
        thresholds: NDArray[np.float32],
        worth: NDArray[np.float32] | None,
    ) -> tuple[Ints, Ints]:
        """Return the keys of the tags kept, and the images on which the budget ran out."""
        kept = engine.solve(self.evidence(proba, thresholds, worth))
        if not len(kept.large):
            return self.closed(kept.keys), kept.inexact
        left = self.evidence(proba.take(kept.large), thresholds, worth)
        rest = self.engines.python.solve(left)
        image, tag = np.divmod(rest.keys, self.rules.n_tags)
        keys = np.concatenate([kept.keys, kept.large[image] * self.rules.n_tags + tag])
        return self.closed(keys), np.concatenate([kept.inexact, kept.large[rest.inexact]])


def implied_tags(
    decided: sparse.csr_array, rules: BoundRules, style: Literal["keep", "add", "drop"]
) -> sparse.csr_array:
    """Return decided tags with implied ones styled for export; the decision itself stays.

    Parameters
    ----------
    decided : csr_array of shape (n_images, n_tags), bool
    rules : BoundRules
    style : {"keep", "add", "drop"}
        As decided; with everything that a tag implies; or without what another tag implies.
    """
    tags = decided.astype(np.int32)
    above = tags @ rules.ancestors.astype(np.int32)
    if style == "add":
        tags = tags + above
    if style == "drop":
        tags = tags - tags.multiply(above.astype(bool))
    styled = sparse.csr_array(tags.astype(bool))
    styled.eliminate_zeros()
    styled.sort_indices()
    return styled


def _matrix(keys: Ints, n_images: int, n_tags: int) -> sparse.csr_array:
    counts = np.bincount(keys // n_tags, minlength=n_images)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    ones = np.ones(len(keys), bool)
    return sparse.csr_array((ones, keys % n_tags, indptr), shape=(n_images, n_tags))


def _check(proba: PairProba, thresholds: NDArray[np.float32], n_tags: int) -> None:
    if proba.pairs.n_tags != n_tags or thresholds.shape != (n_tags,):
        msg = (
            f"The rules are about {n_tags} tags, but proba has {proba.pairs.n_tags} and thresholds "
            f"have shape {thresholds.shape}. Use one vocabulary for all three."
        )
        raise TagstackError(msg)
    if np.isnan(thresholds).any():
        msg = (
            f"{int(np.isnan(thresholds).sum())} thresholds are NaN; give numbers, or infinity for "
            f"a tag that shall never be tagged by itself."
        )
        raise TagstackError(msg)
