"""From level-1 scores to the final tags of each image, with what led to them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.contradictions.decoder import Decoder, implied_tags
from tagstack.ensemble.contradictions.explanations import Change


@dataclass(frozen=True, kw_only=True)
class TagEntry:
    """One tag of one image.

    Parameters
    ----------
    tag, category : str
    proba : float
        Calibrated probability of the stack, in [0, 1], before rules were applied. It stays as it
        is when a rule adds or removes the tag.
    threshold : float
        The tag was proposed if ``proba >= threshold``.
    votes : mapping of member name to float or None
        Each tagger's own probability; None where it does not know the tag.
    tagged : bool
        Whether the tag is in the final set, after the rules.
    rule : str
        Id of the rule that added or removed the tag; empty if none did.
    in_caption : bool
        Whether captions show the tag once it is tagged; ``output.implied`` may leave out what
        another tag implies.
    """

    tag: str
    category: str
    proba: float
    threshold: float
    votes: Mapping[str, float | None]
    tagged: bool
    rule: str = ""
    in_caption: bool = True


@dataclass(frozen=True, kw_only=True)
class TaggedImage:
    """One image's candidates, most probable first.

    Parameters
    ----------
    image : str
        Path relative to the tagged folder.
    entries : tuple of TagEntry
        Every tag in the final set and every other candidate above the score floor.
    failure : str
        Why the image has no tags at all; empty for one that was tagged.
    """

    image: str
    entries: tuple[TagEntry, ...]
    failure: str = ""

    @property
    def tags(self) -> tuple[TagEntry, ...]:
        """The final set."""
        return tuple(entry for entry in self.entries if entry.tagged)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the final set, most probable first."""
        return tuple(entry.tag for entry in self.tags)


class Judge:
    """Applies a bundle to scores: probabilities, then rules and thresholds at once.

    Parameters
    ----------
    bundle : Bundle
    floor : float
        Candidates that are not tagged are listed from this probability on.
    always : tuple of str
        Tags that are listed whatever their probability.
    implied : {"keep", "add", "drop"}
        Which implied tags captions show. The decoder leaves closed sets, so "add" adds nothing
        to "keep".
    detailed : bool
        Whether to say what led to the tags: other candidates, the taggers' votes, the rules'
        names. For captions alone that is most of the work.
    """

    def __init__(
        self,
        bundle: Bundle,
        floor: float,
        always: tuple[str, ...] = (),
        implied: Literal["keep", "add", "drop"] = "keep",
        *,
        detailed: bool = True,
    ) -> None:
        self.bundle = bundle
        self.floor = floor
        self.detailed = detailed
        self.implied = implied
        self.always = np.array([bundle.vocabulary.index[tag] for tag in always], np.int32)
        self.decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)

    def judge(
        self,
        scores: Level1Scores,
        proba: PairProba | None = None,
        changes: Sequence[Change] | None = None,
    ) -> Iterator[TaggedImage]:
        """Yield what is tagged in each image, in the order of the scores.

        Parameters
        ----------
        scores : Level1Scores
        proba : PairProba, optional
            What the stack says of them, where that is known already.
        changes : sequence of Change, optional
            What the rules change on the one image, where that is known already.
        """
        cutting = self.bundle.thresholds.cutting
        proba = self.bundle.stacker.predict_proba(scores) if proba is None else proba
        if (
            self.detailed and scores.n_images == 1 and changes is None
        ):  # naming the rules decides as well
            changes = cutting.explained(proba, self.decoder, margins=False)
        proposed = cutting.decided(proba)
        if changes is None:
            final = cutting.decoded(proba, self.decoder)
        else:
            final = self._after(proposed, changes)
        styled = final  # decided sets are closed: there is nothing to add to them
        if self.implied != "keep":
            styled = implied_tags(final, self.decoder.rules, self.implied)
        for i, (image, least) in enumerate(zip(scores.images, cutting.images(proba), strict=True)):
            kept = _row(final, i)
            rules = {}
            if self.detailed and len(np.setxor1d(kept, _row(proposed, i))):
                rules = self._rules(proba, i, changes)
            entries = self._entries(scores, proba, i, kept, _row(styled, i), least, rules)
            yield TaggedImage(image=image, entries=entries)

    def _after(self, proposed: sparse.csr_array, changes: Sequence[Change]) -> sparse.csr_array:
        """Return the tags of the one image after the rules."""
        index = self.bundle.vocabulary.index
        changed = np.array([index[change.tag] for change in changes], np.int32)
        tags = np.setxor1d(_row(proposed, 0), changed).astype(np.int32)
        row = (np.ones(len(tags), bool), tags, np.array([0, len(tags)]))
        return sparse.csr_array(row, shape=proposed.shape)

    def _rules(
        self, proba: PairProba, image: int, changes: Sequence[Change] | None
    ) -> dict[str, str]:
        """Return the id of the rule behind each changed tag of one image."""
        if changes is None:
            one = proba.take(np.array([image]))
            changes = self.bundle.thresholds.cutting.explained(one, self.decoder, margins=False)
        return {change.tag: change.rule for change in changes}

    def _entries(
        self,
        scores: Level1Scores,
        proba: PairProba,
        image: int,
        kept: NDArray[np.int32],
        shown: NDArray[np.int32],
        least: NDArray[np.float32],
        rules: Mapping[str, str],
    ) -> tuple[TagEntry, ...]:
        """Return an image's tags and candidates, most probable first."""
        first, last = scores.pairs.indptr[image : image + 2]
        own, tags = scores.pairs.tag[first:last], kept
        if self.detailed:
            above = own[proba.proba[first:last] >= self.floor]
            tags = np.unique(np.concatenate([above, kept, self.always]))
        listed = np.flatnonzero(np.isin(tags, own))
        pairs = first + np.searchsorted(own, tags[listed])
        values = proba.base[tags]
        values[listed] = proba.proba[pairs]
        votes = self._votes(scores, tags, listed, pairs) if self.detailed else [{} for _ in tags]
        vocabulary = self.bundle.vocabulary
        columns = zip(
            tags.tolist(), values.tolist(), least[tags].tolist(), votes,
            np.isin(tags, kept).tolist(), np.isin(tags, shown).tolist(), strict=True,
        )  # fmt: skip
        entries = [
            TagEntry(
                tag=vocabulary.tags[tag],
                category=vocabulary.categories[tag],
                proba=value,
                threshold=threshold,
                votes=of_tag,
                tagged=tagged,
                rule=rules.get(vocabulary.tags[tag], ""),
                in_caption=in_caption,
            )
            for tag, value, threshold, of_tag, tagged, in_caption in columns
        ]
        return tuple(sorted(entries, key=lambda entry: (-entry.proba, entry.tag)))

    def _votes(
        self,
        scores: Level1Scores,
        tags: NDArray[np.int32],
        listed: NDArray[np.intp],
        pairs: NDArray[np.intp],
    ) -> list[dict[str, float | None]]:
        """Return every member's probability of an image's tags.

        Parameters
        ----------
        scores : Level1Scores
        tags : array of shape (n_chosen,), int32
        listed, pairs : arrays of shape (n_listed,), integer
            Which of them are listed, and at which pairs.
        """
        logits = np.where(scores.knows[:, tags], scores.floor[:, None], np.float32(np.nan))
        logits[:, listed] = scores.logit[:, pairs]
        return [
            {
                member: None if isnan(vote) else vote
                for member, vote in zip(scores.members, votes, strict=True)
            }
            for votes in expit(logits).T.tolist()
        ]


def _row(tags: sparse.csr_array, image: int) -> NDArray[np.int32]:
    """Return the tag indices of one image."""
    row: NDArray[np.int32] = tags.indices[tags.indptr[image] : tags.indptr[image + 1]]
    return row
