"""Which taggers look at which picture, and what each is tagged with where it ends."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.pictures.picture_hash import PictureHashes
from tagstack.base_models.scores.reading import Digests, ImageRecord, ScoredMember, ScoreReader
from tagstack.configs.cascade import CascadeSettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.cascade import Cascade, FrontierRow
from tagstack.ensemble.bundle.decisions import Judge, TaggedImage
from tagstack.ensemble.thresholds.versions import FIT

_CHUNK = 1000  # images looked at together: bounds memory, changes no result


@dataclass(frozen=True)
class Route:
    """A bundle's cascade under one row of its table.

    Parameters
    ----------
    bundle : Bundle
        With a cascade.
    row : FrontierRow
    """

    bundle: Bundle
    row: FrontierRow

    @classmethod
    def asked(
        cls,
        bundle: Bundle,
        settings: CascadeSettings,
        share: float | None = None,
        loss: float | None = None,
    ) -> "Route | None":
        """Return the route of what is asked for, else of the settings; None where all look.

        Raises
        ------
        TagstackError
            As `of`.
        """
        if share is None and loss is None:
            share = settings.cost if settings.cost < 1 else None
            loss = settings.loss if settings.loss > 0 else None
        return cls.of(bundle, share, loss)

    @classmethod
    def of(
        cls, bundle: Bundle, share: float | None = None, loss: float | None = None
    ) -> "Route | None":
        """Return the route of a largest share of the cost or a largest loss; None for neither.

        Raises
        ------
        TagstackError
            If both are said, the bundle has no cascade or its thresholds are others by now, or no
            row is that cheap.
        """
        if share is None and loss is None:
            return None
        if share is not None and loss is not None:
            msg = (
                "Both --cascade and --cascade-loss are said, or cascade.cost and cascade.loss; one "
                "decides. Leave one out."
            )
            raise TagstackError(msg)
        cascade = bundle.cascade
        if cascade is None:
            msg = "This bundle has no cascade. Fit one with `tagstack fit --cascade`."
            raise TagstackError(msg)
        if bundle.threshold_version != FIT:
            msg = (
                f"The cascade was fitted with the thresholds of {FIT!r}, but version "
                f"{bundle.threshold_version!r} is in use. Say `tagstack thresholds use {FIT}`, or "
                "tag without the cascade."
            )
            raise TagstackError(msg)
        if share is not None:
            return cls(bundle, cascade.row_of_cost(share))
        return cls(bundle, cascade.row_of_loss(loss or 0.0))

    @property
    def n_stages(self) -> int:
        """How often it may be that further taggers look."""
        return len(self._cascade.heads) + 1

    @property
    def key(self) -> str:
        """What decides beside the bundle."""
        return f"cascade {self.row.least_promise!r}"

    def members(self, stage: int) -> tuple[str, ...]:
        """Return the taggers that have looked at a stage, in the bundle's order."""
        heads = self._cascade.heads
        return heads[stage].members if stage < len(heads) else self.bundle.member_names

    def newcomers(self, stage: int) -> tuple[str, ...]:
        """Return the taggers that look at this stage for the first time."""
        before = self.members(stage - 1) if stage else ()
        return tuple(name for name in self.members(stage) if name not in before)

    def going_on(self, stage: int, reader: ScoreReader, names: Sequence[str]) -> list[str]:
        """Return those of the pictures, scored up to a stage, that go on to the next."""
        if stage >= self.n_stages - 1:
            return []
        found: list[str] = []
        for scores in self._chunks(stage, reader, names):
            _, _, ends = self._answer(stage, scores)
            found += [name for name, end in zip(scores.images, ends, strict=True) if not end]
        return found

    def tagged(
        self, reader: ScoreReader, names: Sequence[str], judges: "Judges"
    ) -> dict[str, TaggedImage]:
        """Return the tags of pictures, each from the stage at which it ends."""
        done = {
            image.image: image
            for stage, scores, proba in self.answered(reader, names)
            for image in judges.of(stage).judge(scores, proba)
        }
        return {name: done[name] for name in names if name in done}

    def answered(
        self, reader: ScoreReader, names: Sequence[str]
    ) -> Iterator[tuple[int, Level1Scores, PairProba]]:
        """Yield pictures, some at a time, with the stage at which they end and what it says.

        Scores are as the stage's stack takes them. Those that end early come first.
        """
        left = list(names)
        for stage in range(self.n_stages - 1):
            going_on: list[str] = []
            for scores in self._chunks(stage, reader, left):
                own, proba, ends = self._answer(stage, scores)
                here = np.flatnonzero(ends)
                if len(here):
                    yield stage, own.take(here), proba.take(here)
                going_on += [scores.images[i] for i in np.flatnonzero(~ends)]
            left = going_on
        for scores in self.bundle.score_chunks(reader, _CHUNK, left) if left else ():
            yield self.n_stages - 1, scores, self.bundle.stacker.predict_proba(scores)

    def answered_alone(
        self, image: str, look: Callable[[tuple[str, ...]], ScoreReader]
    ) -> tuple[Bundle, Level1Scores]:
        """Return what answers for one picture, and its scores as that takes them.

        Parameters
        ----------
        image : str
        look : callable
            Asks some taggers, and gives a reader of what they say of the picture.
        """
        readers = []
        for stage in range(self.n_stages):
            readers.append(look(self.newcomers(stage)))
            joined = JoinedReader(readers)
            if not self.going_on(stage, joined, [image]):
                break
        (found,) = self.answered(joined, [image])
        return self.stage_bundle(found[0]), found[1]

    def scored(self, names: Sequence[str], reader: ScoreReader) -> list[str]:
        """Return those of the pictures that have scores up to where they end, in their order."""
        left, done = list(names), set()
        for stage in range(self.n_stages):
            here = list(reader.scored(left, self.members(stage)))
            left = self.going_on(stage, reader, here)
            done |= {*here} - {*left}
        return [name for name in names if name in done]

    def stage_bundle(self, stage: int) -> Bundle:
        """Return what answers where a picture ends at a stage."""
        heads = self._cascade.heads
        if stage == len(heads):
            return self.bundle
        head, members = heads[stage], self.bundle.members
        return replace(
            self.bundle,
            members=tuple(member for member in members if member.name in head.members),
            stacker=head.stacker,
            thresholds=head.thresholds,
            cascade=None,
        )

    def said(self, counts: Sequence[int]) -> str:
        """Return in words how many pictures ended where, and what the taggers had to do."""
        total, seconds = max(sum(counts), 1), self._cascade.stage_seconds
        spent = sum(n * own for n, own in zip(counts, seconds, strict=True))
        parts = [
            f"{n:,} after {'all' if i == self.n_stages - 1 else ', '.join(self.members(i))}"
            for i, n in enumerate(counts)
        ]
        return (
            f"Cascade: of {sum(counts):,} pictures {'; '.join(parts)}. The networks' cost is "
            f"{spent / (total * seconds[-1]):.0%} of all of them."
        )

    @property
    def _cascade(self) -> Cascade:
        if self.bundle.cascade is None:
            msg = "This bundle has no cascade. Fit one with `tagstack fit --cascade`."
            raise TagstackError(msg)
        return self.bundle.cascade

    def _chunks(
        self, stage: int, reader: ScoreReader, names: Sequence[str]
    ) -> Iterable[Level1Scores]:
        if not names:
            return ()
        heads = self._cascade.heads[: stage + 1]
        features = any(head.stacker.needs_features for head in heads)
        return reader.iter_chunks(_CHUNK, names, self.members(stage), features=features)

    def _answer(
        self, stage: int, scores: Level1Scores
    ) -> tuple[Level1Scores, PairProba, NDArray[np.bool_]]:
        """Return scores as the head takes them, its probabilities, and which images end here."""
        heads = self._cascade.heads
        own = heads[stage].completed(scores)
        proba, before = heads[stage].proba(own), None
        if stage:
            earlier = heads[stage - 1]
            before = earlier.proba(earlier.completed(scores))
        promise = self._cascade.promise(stage, proba, before)
        return own, proba, promise < self.row.least_promise


def answering(
    bundle: Bundle, route: Route | None, image: str, look: Callable[[tuple[str, ...]], ScoreReader]
) -> tuple[Bundle, Level1Scores]:
    """Return what answers for one picture, and its scores as that takes them.

    Parameters
    ----------
    bundle : Bundle
    route : Route or None
        Of a cascade that is asked for.
    image : str
    look : callable
        Asks some taggers, and gives a reader of what they say of the picture.
    """
    if route is not None:
        return route.answered_alone(image, look)
    return bundle, bundle.scores(look(bundle.member_names), [image])


class Judges:
    """The judge of each stage of a route, made when it is first wanted.

    Parameters
    ----------
    route : Route
    floor, implied, detailed
        As `Judge` takes them.
    """

    def __init__(
        self,
        route: Route,
        floor: float,
        *,
        implied: Literal["keep", "add", "drop"] = "keep",
        detailed: bool = True,
    ) -> None:
        self._route = route
        self._floor, self._implied, self._detailed = floor, implied, detailed
        self._made: dict[int, Judge] = {}

    def of(self, stage: int) -> Judge:
        """Return a stage's judge."""
        if stage not in self._made:
            self._made[stage] = Judge(
                self._route.stage_bundle(stage),
                self._floor,
                implied=self._implied,
                detailed=self._detailed,
            )
        return self._made[stage]


class JoinedReader(ScoreReader):
    """Scores of some members here, of others there, of pictures that the first reader knows.

    Parameters
    ----------
    readers : sequence of ScoreReader
        Of different members.
    """

    def __init__(self, readers: Sequence[ScoreReader]) -> None:
        self._readers = readers

    @property
    def title(self) -> str:
        """What messages call it."""
        return self._readers[0].title

    def scored_members(self) -> Mapping[str, ScoredMember]:
        """Return the members of all readers."""
        return {k: v for reader in self._readers for k, v in reader.scored_members().items()}

    def image_records(self) -> Mapping[str, ImageRecord]:
        """Return the pictures of the first."""
        return self._readers[0].image_records()

    def hashes_of(self, digests: Digests) -> PictureHashes:
        """Return what contents look like."""
        return self._readers[0].hashes_of(digests)
