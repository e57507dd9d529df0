"""The scores of a run of `tag`: looked up in a store, or made where a picture has none.

Taggers are loaded only where a picture is to be scored, and asked one after the other where a
cascade decides which of them it needs.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from tagstack.base_models.scores.reading import ScoreReader
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scoring.sources import ImageFailure, ImageSources
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.cascade.routing import Route
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.runs import FAILURES, score_to_store, write_failures
from tagstack.ensemble.scoring.taggers import scoring_settings
from tagstack.ensemble.tasks.stored_scores import NamedContents, hashed
from tagstack.ensemble.tasks.tag_plan import Pictures
from tagstack.ensemble.tasks.tag_request import TagRequest

SCORES = ".scores"  # a store in the output folder

# Gives the taggers of some names under settings, for as long as the block runs.
Taggers: TypeAlias = Callable[[Sequence[str], Settings], AbstractContextManager[Sequence[Tagger]]]


@dataclass(frozen=True)
class TagScoring:
    """What one call of `tag_images` scores, and where it reads scores from.

    Parameters
    ----------
    request : TagRequest
    settings : Settings
    progress : Progress
    bundle : Bundle
    sources : ImageSources
    store : Path
        Score store of the output folder.
    taggers : callable
        Gives the bundle's taggers.
    route : Route, optional
        The cascade, if one is asked for.
    """

    request: TagRequest
    settings: Settings
    progress: Progress
    bundle: Bundle
    sources: ImageSources
    store: Path
    taggers: Taggers
    route: Route | None = None

    def settled(
        self, pictures: Pictures, current: Set[str], lacking: Set[str]
    ) -> tuple[dict[str, str], tuple[ImageFailure, ...]]:
        """Return the content of every picture that has scores, by name, and what failed.

        Parameters
        ----------
        pictures : Pictures
        current : set of str
            Pictures whose files are what they should be.
        lacking : set of str
            Those of them that need their scores all the same.
        """
        if self.request.scores is not None:
            return self._looked_up(self.request.scores, pictures, current)
        failures = self._score(pictures, current, lacking)
        return self._contents(pictures, failures), failures

    def _looked_up(
        self, store: Path, pictures: Pictures, current: Set[str]
    ) -> tuple[dict[str, str], tuple[ImageFailure, ...]]:
        """Return the contents that a store has scores of; the others fail."""
        reader = ScoreStore(store)
        self.bundle.check_members(reader.members())
        read, failed = hashed(self.sources, pictures.unknown, self.settings, self.progress)
        contents = {**pictures.known, **{name: record.sha256 for name, record in read.items()}}
        members = list(self.bundle.member_names)
        there = set(NamedContents(reader, contents).scored(list(contents), members)) | current
        lacking = {
            name: f"{store} has no scores of it by all of {', '.join(members)}"
            for name in contents.keys() - there
        }
        failures = [ImageFailure(name, why) for name, why in {**failed, **lacking}.items()]
        return (
            {name: contents[name] for name in sorted(contents) if name in there},
            (*self.sources.failures, *failures),
        )

    def _score(
        self, pictures: Pictures, current: Set[str], lacking: Set[str]
    ) -> tuple[ImageFailure, ...]:
        """Score what has no scores yet; without loading a tagger where that is nothing."""
        names = set(pictures.unknown)
        needed = {
            n: sha256 for n, sha256 in pictures.known.items() if n not in current or n in lacking
        }
        names |= needed.keys() - (self._scored(needed) if self.route is None else set())
        if not names:
            return self.sources.failures
        models = self.bundle.tagger_sources(self.request.models)
        settings = scoring_settings(self.bundle, self.settings)
        sources = replace(self.sources, names=tuple(sorted(names)))
        if self.request.ray is not None:
            return self._on_cluster(self.request.ray, sources, models, settings)
        with self.taggers(models, settings) as taggers:
            self.bundle.check_members(taggers)
            if self.route is not None:
                return score_in_stages(
                    self.route,
                    sources,
                    taggers,
                    self.store,
                    settings,
                    self.progress,
                    retry_failed=self.request.retry_failed,
                )
            return score_to_store(
                sources,
                taggers,
                self.store,
                settings,
                self.progress,
                retry_failed=self.request.retry_failed,
            ).failures

    def _on_cluster(
        self, address: str, sources: ImageSources, models: Sequence[str], settings: Settings
    ) -> tuple[ImageFailure, ...]:
        """Score pictures with the workers of a cluster; no tagger is loaded here."""
        from tagstack.ensemble.cluster.scoring import score_on_cluster

        if self.route is not None:
            msg = (
                "--ray asks all taggers, --cascade only those that a picture needs. Expected one "
                "of the two. Leave one out."
            )
            raise TagstackError(msg)
        return score_on_cluster(
            sources,
            models,
            self.store,
            settings,
            self.progress,
            address=address,
            retry_failed=self.request.retry_failed,
            check=self.bundle.check_members,
        ).failures

    def _scored(self, contents: Mapping[str, str]) -> set[str]:
        """Return those pictures whose contents have scores of the bundle's taggers."""
        if not contents:
            return set()
        store = ScoreStore(self.store)
        try:
            self.bundle.check_members(store.members())
        except TagstackError:  # no store, a damaged one, or scores of other taggers
            return set()
        records, members = store.image_records(), list(self.bundle.member_names)
        same = [n for n, sha256 in contents.items() if n in records and records[n].sha256 == sha256]
        return set(store.scored(same, members))

    def _contents(self, pictures: Pictures, failures: Sequence[ImageFailure]) -> dict[str, str]:
        """Return the SHA-256 of every picture that has scores now."""
        contents = dict(pictures.known)
        if pictures.unknown:
            failed = {failure.name for failure in failures}
            read = ScoreStore(self.store).image_records()
            for name in pictures.unknown:
                if name in read and name not in failed and name in pictures.seen:
                    contents[name] = read[name].sha256
        return dict(sorted(contents.items()))

    def reader(self, wanted: Mapping[str, str]) -> ScoreReader:
        """Return the scores of some pictures, given with their contents."""
        if self.request.scores is not None:
            return NamedContents(ScoreStore(self.request.scores), wanted)
        return ScoreStore(self.store)


def score_in_stages(
    route: Route,
    sources: ImageSources,
    taggers: Sequence[Tagger],
    store: Path,
    settings: Settings,
    progress: Progress,
    *,
    retry_failed: bool = False,
) -> tuple[ImageFailure, ...]:
    """Score pictures with a cascade's first taggers, and those that go on with the next ones.

    Returns
    -------
    tuple of ImageFailure
        The pictures that some tagger could not look at.
    """
    by_name = {tagger.name: tagger for tagger in taggers}
    failures: list[ImageFailure] = []
    counts = []
    for stage in range(route.n_stages):
        summary = score_to_store(
            sources,
            [by_name[name] for name in route.newcomers(stage)],
            store,
            settings,
            progress,
            retry_failed=retry_failed,
        )
        failures += summary.failures
        reader = ScoreStore(store)
        here = reader.scored(sources.names, route.members(stage))
        going_on = route.going_on(stage, reader, here)
        counts.append(len(here) - len(going_on))
        sources = replace(sources, names=tuple(going_on), failures=())
        if not going_on:
            break
    counts += [0] * (route.n_stages - len(counts))
    progress.notice(route.said(counts))
    write_failures(store / FAILURES, failures)
    return tuple(failures)
