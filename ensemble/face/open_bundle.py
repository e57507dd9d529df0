"""A bundle whose taggers are open, with the judge of what they say."""

from collections.abc import Sequence
from typing import Self

from tagstack.base_models.scores.members import NO_ROWS, Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scoring.pipeline import score_images
from tagstack.base_models.scoring.sources import PictureSource
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.threads import let_idle_threads_sleep, thread_count
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.decisions import Judge
from tagstack.ensemble.face.in_memory import Told
from tagstack.ensemble.scoring.taggers import check_runtimes


class OpenBundle:
    """A bundle's taggers, which stay open between pictures, and the judge of their scores.

    Parameters
    ----------
    loaded : sequence of Tagger
        The bundle's own, in any order; freed by `close`.
    bundle : Bundle
    settings : Settings
    checked : bool
        Whether other backends than the reference were compared already: otherwise they are, on
        the first pictures.

    Raises
    ------
    TagstackError
        If the bundle was fitted with other taggers.
    """

    def __init__(
        self,
        loaded: Sequence[Tagger],
        bundle: Bundle,
        settings: Settings,
        *,
        checked: bool = False,
    ) -> None:
        bundle.check_members(loaded)
        by_name = {tagger.name: tagger for tagger in loaded}
        self._taggers = {member.name: by_name[member.name] for member in bundle.members}
        self.members = Members.of(tuple(self._taggers.values()))
        self.judge = Judge(bundle, settings.output.score_floor, implied=settings.output.implied)
        self.no_scores = self.members.joined((), [NO_ROWS] * len(self._taggers))
        self._loaded = loaded
        self._settings = settings
        self._checked = checked

    @classmethod
    def of(cls, bundle: Bundle, settings: Settings, models: tuple[str, ...] | None) -> Self:
        """Open a bundle's taggers where they are now; where they were at fit time for None."""
        let_idle_threads_sleep()
        threads = thread_count(settings.threads)
        loaded = load_taggers(bundle.tagger_sources(models), settings.score, threads=threads)
        try:
            return cls(loaded, bundle, settings)
        except BaseException:  # whatever it was, nobody else would free them
            _close(loaded)
            raise

    def score(
        self, pictures: PictureSource, sink: MemorySink, names: Sequence[str] | None = None
    ) -> None:
        """Score pictures with all taggers, or with those for which `sink_of` made the sink."""
        if not self._checked:
            check_runtimes(pictures, tuple(self._taggers.values()), self._settings, Told())
            self._checked = True
        threads = self._settings.threads
        score_images(pictures, self._some(names), sink, self._settings.score, threads=threads)

    def sink_of(self, names: Sequence[str] | None = None) -> MemorySink:
        """Return an empty sink for all taggers or some of them."""
        members = self.members if names is None else Members.of(self._some(names))
        return MemorySink(members, hashes=False)

    def judging(self, bundle: Bundle, settings: Settings) -> Self:
        """Return the same taggers, open, with the judge of another bundle."""
        return type(self)(self._loaded, bundle, settings, checked=self._checked)

    def close(self) -> None:
        """Free the taggers."""
        _close(self._loaded)

    def _some(self, names: Sequence[str] | None) -> list[Tagger]:
        every = self._taggers.items()
        return [tagger for name, tagger in every if names is None or name in names]


def _close(taggers: Sequence[Tagger]) -> None:
    for tagger in taggers:
        tagger.close()
