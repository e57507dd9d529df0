"""A fitted stack and what goes with it: everything that tagging needs except the taggers' weights.

A bundle fits the taggers it was fitted with and no others: their fingerprints (weights, contract,
preprocessing, precision, runtime) are kept. `files` writes and reads one.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.scores.member_info import was_imported
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.base_models.taggers.asked_names import asked_for
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.cascade import Cascade
from tagstack.ensemble.bundle.fitted_images import FittedImages
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.rung_tables import RungTables, cutting_of
from tagstack.ensemble.thresholds.table import Thresholds
from tagstack.ensemble.thresholds.versions import FIT
from tagstack.meta.stack.stacker import Stacker
from tagstack.meta.stack.start_stack import StartStack

NOT_JUDGED = (
    "a start bundle, made without labels: not judged on your images. `tagstack compare` judges it "
    "on labelled ones, `tagstack fit` learns from them."
)


class Fingerprinted(Protocol):
    """A tagger, or what a score store keeps of one."""

    @property
    def name(self) -> str:
        """Member name."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that changes its scores, in hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class BundleMember:
    """A tagger of a stack.

    Parameters
    ----------
    name : str
    fingerprint : str
        SHA-256 over everything that changes its scores, in hexadecimal.
    source : str
        Registry name or folder that it was found under.
    """

    name: str
    fingerprint: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A fitted stack, or what taggers give together before anyone labelled an image.

    Parameters
    ----------
    members : tuple of BundleMember
        The taggers, in the order of the scores that the stack expects.
    vocabulary : Vocabulary
    stacker : Stacker or StartStack
    rules : Rules
    thresholds : Thresholds
        For the stack's probabilities, on what the rules leave.
    rung_thresholds : mapping of rung name to array, float32
        Thresholds of every rung of the ladder, without and with rules, from the same images under
        the same strategy: see `rung_tables`. Bundles of before have none with rules.
    settings : Settings
        With which it was fitted.
    fitted_images : FittedImages
        Which images it must not be judged on.
    evidence : mapping
        What it was fitted on: images, labels, seed, the ladder of out-of-fold scores.
    threshold_version : str
        Name of the thresholds' version in use; ``fit`` is what the bundle was fitted with.
    rung_image_cut : str
        The cut of each image's list that goes with ``rung_thresholds``; empty for none.
    cascade : Cascade, optional
        Which tagger is needed for which picture, where `fit` was asked to learn it.
    out_of_fold : OutOfFold, optional
        Held only until the bundle is saved; `out_of_fold_of` reads it back where it is wanted.
    """

    members: tuple[BundleMember, ...]
    vocabulary: Vocabulary
    stacker: Stacker | StartStack
    rules: Rules
    thresholds: Thresholds
    rung_thresholds: RungTables
    settings: Settings
    fitted_images: FittedImages
    evidence: Mapping[str, Any]
    threshold_version: str = FIT
    rung_image_cut: str = ""
    cascade: Cascade | None = None
    out_of_fold: OutOfFold | None = None

    @property
    def caution(self) -> str:
        """What whoever uses it should know; empty where labels had a say."""
        unseen = isinstance(self.stacker, StartStack) and self.threshold_version == FIT
        return NOT_JUDGED if unseen else ""

    @property
    def member_names(self) -> tuple[str, ...]:
        """Names of the taggers."""
        return tuple(member.name for member in self.members)

    def rung_cutting(self, rung: str) -> Cutting:
        """Return a rung's thresholds as they are applied; its twin's are for the rules."""
        return cutting_of(self.rung_thresholds[rung], self.rung_image_cut)

    def scores(self, reader: ScoreReader, images: Sequence[str] | None = None) -> Level1Scores:
        """Return scores of images as the stack predicts from them; of all by default.

        Parameters
        ----------
        reader : ScoreReader
            With scores of the bundle's taggers.
        images : sequence of str, optional

        Raises
        ------
        TagstackError
            If the taggers, or features of them that the stack needs, are not there.
        """
        found = reader.load(images, self.member_names, features=self.stacker.needs_features)
        return self.stacker.completed(found)

    def score_chunks(
        self, reader: ScoreReader, n_images: int, images: Sequence[str]
    ) -> Iterator[Level1Scores]:
        """Yield what `scores` would return, at most ``n_images`` images at a time."""
        features, names = self.stacker.needs_features, self.member_names
        for chunk in reader.iter_chunks(n_images, images, names, features=features):
            yield self.stacker.completed(chunk)

    def tagger_sources(self, given: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return where the taggers are: as ``given``, else where they were at fit time.

        Raises
        ------
        TagstackError
            If a folder of fit time is not there, the message says how to name the new one; if a
            member was imported, that it has no tagger.
        """
        for member in self.members:
            if was_imported(member.source):
                msg = (
                    f"The bundle's member {member.name!r} is scores that were imported, so it "
                    "cannot score new pictures. Import scores of these too (`tagstack scores "
                    "import --append`) and say --scores STORE."
                )
                raise TagstackError(msg)
        if given is not None:
            return given
        for member in self.members:
            if os.sep in member.source and not os.path.isdir(asked_for(member.source)[0]):
                msg = (
                    f"The bundle's tagger {member.name!r} was in {member.source}, which is not "
                    f"there. Say where all of {[m.name for m in self.members]} are now: "
                    "--models A,B,C (names or folders)."
                )
                raise TagstackError(msg)
        return tuple(member.source for member in self.members)

    def check_members(self, members: Iterable[Fingerprinted]) -> None:
        """Refuse scores of other taggers than those the stack was fitted with.

        Raises
        ------
        TagstackError
            If a tagger is missing or its fingerprint differs; the message names it.
        """
        given = {member.name: member.fingerprint for member in members}
        for member in self.members:
            if member.name not in given:
                msg = (
                    f"The bundle needs the tagger {member.name!r}, but only {sorted(given)} were "
                    "scored. Score with all of its taggers."
                )
                raise TagstackError(msg)
            if given[member.name] != member.fingerprint:
                msg = (
                    f"Tagger {member.name!r} has fingerprint {given[member.name][:12]}, but the "
                    f"bundle was fitted with {member.fingerprint[:12]}: other weights, contract "
                    "or runtime. Use the same files, or fit again."
                )
                raise TagstackError(msg)
