"""From level-1 scores to the final tags of each image, with what led to them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.contradictions.decoder import Decoder, implied_tags


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
    """

    def __init__(
        self,
        bundle: Bundle,
        floor: float,
        always: tuple[str, ...] = (),
        implied: Literal["keep", "add", "drop"] = "keep",
    ) -> None:
        self.bundle = bundle
        self.floor = floor
        self.implied = implied
        self.always = np.array([bundle.vocabulary.index[tag] for tag in always], np.int32)
        self.decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)

    def judge(self, scores: Level1Scores, proba: PairProba | None = None) -> Iterator[TaggedImage]:
        """Yield what is tagged in each image, in the order of the scores.

        Parameters
        ----------
        scores : Level1Scores
        proba : PairProba, optional
            What the stack says of them, where that is known already.
        """
        cutting = self.bundle.thresholds.cutting
        proba = self.bundle.stacker.predict_proba(scores) if proba is None else proba
        proposed = cutting.decided(proba)
        final = cutting.decoded(proba, self.decoder)
        styled = implied_tags(final, self.decoder.rules, self.implied)
        for i, (image, least) in enumerate(zip(scores.images, cutting.images(proba), strict=True)):
            kept = _row(final, i)
            changed = np.setxor1d(kept, _row(proposed, i))
            rules = self._rules(proba, i) if len(changed) else {}
            entries = self._entries(scores, proba, i, kept, least, rules)
            shown = {self.bundle.vocabulary.tags[tag] for tag in _row(styled, i)}
            styled_entries = (replace(e, in_caption=e.tag in shown) for e in entries)
            yield TaggedImage(image=image, entries=tuple(styled_entries))

    def _rules(self, proba: PairProba, image: int) -> dict[str, str]:
        """Return the id of the rule behind each changed tag of one image."""
        one = proba.take(np.array([image]))
        changes = self.bundle.thresholds.cutting.explained(one, self.decoder, margins=False)
        return {change.tag: change.rule for change in changes}

    def _entries(
        self,
        scores: Level1Scores,
        proba: PairProba,
        image: int,
        kept: NDArray[np.int32],
        least: NDArray[np.float32],
        rules: Mapping[str, str],
    ) -> tuple[TagEntry, ...]:
        """Return an image's tags and candidates, most probable first."""
        rows = slice(scores.pairs.indptr[image], scores.pairs.indptr[image + 1])
        position = {int(tag): rows.start + i for i, tag in enumerate(scores.pairs.tag[rows])}
        above = scores.pairs.tag[rows][proba.proba[rows] >= self.floor]
        entries = [
            self._entry(
                scores, proba, int(tag), position.get(int(tag)), tag in kept, least[tag], rules
            )
            for tag in np.unique(np.concatenate([above, kept, self.always]))
        ]
        return tuple(sorted(entries, key=lambda entry: (-entry.proba, entry.tag)))

    def _entry(
        self,
        scores: Level1Scores,
        proba: PairProba,
        tag: int,
        pair: int | None,
        tagged: bool,
        threshold: np.float32,
        rules: Mapping[str, str],
    ) -> TagEntry:
        logits = np.where(scores.knows[:, tag], scores.floor, np.nan)
        logits = logits if pair is None else scores.logit[:, pair]
        name = self.bundle.vocabulary.tags[tag]
        return TagEntry(
            tag=name,
            category=self.bundle.vocabulary.categories[tag],
            proba=float(proba.base[tag] if pair is None else proba.proba[pair]),
            threshold=float(threshold),
            votes={
                member: None if np.isnan(logit) else float(expit(logit))
                for member, logit in zip(scores.members, logits, strict=True)
            },
            tagged=tagged,
            rule=rules.get(name, ""),
        )


def _row(tags: sparse.csr_array, image: int) -> NDArray[np.int32]:
    """Return the tag indices of one image."""
    row: NDArray[np.int32] = tags.indices[tags.indptr[image] : tags.indptr[image + 1]]
    return row
