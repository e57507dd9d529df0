"""The members of a run over their joint vocabulary: how each member's scores become pairs.

Every sink and every reader joins scores here, so that a picture's scores are the same whether
they went through a store, through shards or through memory alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.orders import distinct
from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.scores.member_info import MemberInfo, info_of_tagger
from tagstack.base_models.taggers.fingerprint import floor_logit
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError

# One member's scores of some images: image (position), tag (in its own vocabulary), logit.
Rows: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float16]]
NO_ROWS: Rows = (np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float16))


@dataclass(frozen=True)
class Members:
    """Members in the order of a run, with what joining their scores needs.

    Parameters
    ----------
    infos : tuple of MemberInfo
    """

    infos: tuple[MemberInfo, ...]

    @classmethod
    def of(cls, taggers: Sequence[Tagger]) -> "Members":
        """Return the members that loaded taggers are.

        Raises
        ------
        TagstackError
            If there is none, or two share a name.
        """
        names = [tagger.name for tagger in taggers]
        if len(set(names)) < len(names) or not names:
            msg = f"Members need distinct names, got {names}. Change `name` in one tagger.toml."
            raise TagstackError(msg)
        return cls(tuple(info_of_tagger(tagger) for tagger in taggers))

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(info.name for info in self.infos)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Union of their tags."""
        return Vocabulary.union(info.vocabulary for info in self.infos)

    @cached_property
    def knows(self) -> NDArray[np.bool_]:
        """Whether a member has a tag at all, shape (n_members, n_tags), bool."""
        known = np.zeros((len(self.infos), len(self.vocabulary)), bool)
        for row, place in zip(known, self._places, strict=True):
            row[place] = True
        return known

    @cached_property
    def floor(self) -> NDArray[np.float32]:
        """Logit of what a member scored below its floor, shape (n_members,), float32."""
        return np.array([floor_logit(info.floor) for info in self.infos], np.float32)

    @cached_property
    def _places(self) -> tuple[NDArray[np.int64], ...]:
        """Index of each member's own tags in the joint vocabulary."""
        index = self.vocabulary.index
        return tuple(
            np.array([index[tag] for tag in info.vocabulary.tags], np.int64) for info in self.infos
        )

    def joined(self, names: Sequence[str], rows: Sequence[Rows]) -> Level1Scores:
        """Return the scores of images that all members have scored.

        Parameters
        ----------
        names : sequence of n_images str
        rows : sequence of n_members Rows
            Every score at or above the member's floor, in any order.
        """
        n_tags = len(self.vocabulary)
        keyed = [
            image * n_tags + place[tag]
            for (image, tag, _), place in zip(rows, self._places, strict=True)
        ]
        keys = distinct(np.concatenate(keyed))
        tag = (keys % n_tags).astype(np.int32)
        counts = np.bincount(keys // n_tags, minlength=len(names))
        logit = np.where(self.knows[:, tag], self.floor[:, None], np.float32(np.nan))
        for values, key, (_, _, own) in zip(logit, keyed, rows, strict=True):
            values[np.searchsorted(keys, key)] = own
        return Level1Scores(
            images=tuple(names),
            vocabulary=self.vocabulary,
            members=self.names,
            knows=self.knows,
            floor=self.floor,
            pairs=Pairs(
                indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
                tag=tag,
                n_tags=n_tags,
            ),
            logit=logit,
        )
