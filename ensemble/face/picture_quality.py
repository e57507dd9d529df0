"""Quality of pictures in memory: scores by scorer, and the tags that a preset makes of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.scoring.sources import PictureSource
from tagstack.configs.errors import TagstackError
from tagstack.configs.quality_presets import load_quality_preset
from tagstack.configs.settings import Settings
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.workshop.quality.known_scores import KnownScores
from tagstack.ensemble.workshop.quality.scorers.opening import opened_scorers
from tagstack.ensemble.workshop.quality.scoring import score_pictures
from tagstack.ensemble.workshop.quality.tagging import quality_tags


@dataclass(frozen=True, kw_only=True)
class PictureQuality:
    """What scorers say of pictures.

    Parameters
    ----------
    images : tuple of str
        Names of the pictures that were read.
    scores : mapping of scorer to array of shape (n_images,), float64
        NaN where it has no number.
    lower_is_better : tuple of str
        Scorers by which less is better.
    failures : mapping of name to str
        Why a picture could not be read.
    """

    images: tuple[str, ...]
    scores: Mapping[str, NDArray[np.float64]]
    lower_is_better: tuple[str, ...]
    failures: Mapping[str, str]

    def tags(
        self,
        preset: str,
        scorer: str,
        *,
        strata: Sequence[str] | None = None,
        age_days: NDArray[np.float64] | None = None,
        least_stratum: int = 1,
        second: str | None = None,
    ) -> dict[str, tuple[str, ...]]:
        """Return the quality tags of each picture, the best first.

        Parameters
        ----------
        preset : str
            Name of a shipped one, or path of a TOML file.
        scorer : str
        strata : sequence of str, optional
            Of each picture, such as its rating: each is ranked by itself.
        age_days : array of shape (n_images,), optional
            For presets with rules about ages.
        least_stratum : int
            Strata of fewer pictures are ranked together.
        second : str, optional
            Scorer that must agree where the preset asks for two; otherwise one decides.

        Raises
        ------
        TagstackError
            If there is no such preset or score, or the preset needs what is not given.
        """
        score = self._upwards(scorer)
        chosen = load_quality_preset(preset)
        if chosen.kind == "year":
            msg = f"{preset} is about years, which no scorer tells: use `tagstack quality tag`."
            raise TagstackError(msg)
        if chosen.by and strata is None:
            msg = f"{preset} ranks within {', '.join(chosen.by)}: give strata, of each picture."
            raise TagstackError(msg)
        if chosen.needs_age and age_days is None:
            raise TagstackError(f"{preset} has rules about ages: give age_days, of each picture.")
        found = quality_tags(
            score,
            chosen,
            strata=strata,
            age_days=age_days,
            least_stratum=least_stratum,
            second=None if second is None else self._upwards(second),
        )
        return dict(zip(self.images, found.tags, strict=True))

    def _upwards(self, scorer: str) -> NDArray[np.float64]:
        """Return a scorer's scores, the higher the better."""
        if scorer not in self.scores:
            msg = f"No score {scorer!r}; there are {list(self.scores)}. Name one of these."
            raise TagstackError(msg)
        score = self.scores[scorer]
        return -score if scorer in self.lower_is_better else score


def picture_quality(
    sources: PictureSource, scorers: Sequence[str], settings: Settings, progress: Progress
) -> PictureQuality:
    """Return the scores of pictures; nothing is written.

    Raises
    ------
    TagstackError
        If a scorer cannot be used.
    """
    known = KnownScores()
    with opened_scorers(scorers, threads=settings.threads) as opened:
        counts = score_pictures(sources, opened, known, settings, progress)
        images = tuple(name for name in sources.names if name in known.pictures)
        contents = [known.pictures[name].sha256 for name in images]
        return PictureQuality(
            images=images,
            scores={
                scorer.name: np.array([known.value(c, scorer.fingerprint) for c in contents])
                for scorer in opened
            },
            lower_is_better=tuple(s.name for s in opened if s.lower_is_better),
            failures={failure.name: failure.reason for failure in counts.failures},
        )
