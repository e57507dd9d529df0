"""The probes of an audit: the bundle's taggers look at the user's own pictures in other guises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pictures.guises import GUISES, PLAIN
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.audit.certainty import Certainty
from tagstack.ensemble.audit.companions import STACK
from tagstack.ensemble.audit.guised import GuisedPictures, Original, drawn, name_of, originals_of
from tagstack.ensemble.audit.probes import Probes, Shown
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.bundle.honest_ground import HonestGround
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.runs import score_sources
from tagstack.ensemble.scoring.taggers import loaded_taggers, scoring_settings
from tagstack.ensemble.thresholds.rung_tables import cutting_of
from tagstack.meta.stack.rung_spec import single_spec


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """Where the pictures are, and the taggers.

    Parameters
    ----------
    images : Path
        Folder below which the audited images lie under their names.
    models : tuple of str, optional
        Where the taggers are now; where they were at fit time by default.
    """

    images: Path
    models: tuple[str, ...] | None = None


def probed(
    request: ProbeRequest,
    bundle: Bundle,
    ground: HonestGround,
    decoder: Decoder,
    settings: Settings,
    progress: Progress,
) -> Probes:
    """Return how far tags of the bundle's stack and taggers move in each guise.

    Raises
    ------
    TagstackError
        If none of the audited images is there, or a tagger cannot be used.
    """
    own = scoring_settings(bundle, settings)
    asked = _Asked.of(request, ground, own, progress)
    sink = _scored(request, bundle, asked, own, progress)
    progress.stage("deciding what was probed")
    names, rows = asked.whole(sink, request.images)
    shown = _shown(bundle, ground.dataset, sink, asked.guises, names, rows, decoder)
    certainty = Certainty.of(settings)
    weightings = certainty.weightings(shown.groups)
    tags, n_tested = shown.moved_tags(bundle.vocabulary, certainty, weightings)
    return Probes(
        n_images=len(rows),
        n_groups=len(np.unique(shown.groups)),
        n_seen=int((rows < ground.n_out_of_fold).sum()),
        guises={name: GUISES[name].takes for name in asked.guises},
        moved=shown.moved(certainty, weightings),
        tags=tags,
        n_tested=n_tested,
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The pictures that are looked at, by name, where each stands among the audited images."""

    originals: Mapping[str, Original]
    names: tuple[str, ...]
    rows: NDArray[np.int64]
    guises: tuple[str, ...]

    @classmethod
    def of(
        cls, request: ProbeRequest, ground: HonestGround, settings: Settings, progress: Progress
    ) -> Self:
        """Draw pictures and find them, and say which are not there.

        Raises
        ------
        TagstackError
            If none of them is there.
        """
        dataset = ground.dataset
        seen = np.arange(dataset.scores.n_images) < ground.n_out_of_fold
        rows = drawn(dataset.contents, dataset.groups, seen, settings.audit.probe_images)
        names = tuple(dataset.scores.images[i] for i in rows)
        contents = [dataset.contents[i] for i in rows]
        originals, failures = originals_of(request.images, names, contents, settings.score)
        if not originals:
            why = failures[0].reason if failures else "there is no image"
            msg = (
                f"{request.images} has none of the {len(names)} images to probe, such as "
                f"{names[0] if names else ''!r} ({why}). Expected the folder that was scored."
            )
            raise TagstackError(msg)
        if failures:
            progress.notice(
                f"{len(failures)} of {len(names)} images to probe are not there as they were "
                f"scored, such as {failures[0].name} ({failures[0].reason})"
            )
        guises = tuple(settings.audit.guises)
        return cls(originals=originals, names=names, rows=np.asarray(rows), guises=guises)

    @property
    def every_guise(self) -> tuple[str, ...]:
        """The guises, and the pictures as they are before them."""
        return (PLAIN, *self.guises)

    def whole(self, sink: MemorySink, folder: Path) -> tuple[list[str], NDArray[np.int64]]:
        """Return the pictures that could be read in every guise, and where they stand.

        Raises
        ------
        TagstackError
            If there is none.
        """
        failed = {record.path for record in sink.failures()}
        read = [
            name in self.originals
            and not failed & {name_of(guise, name) for guise in self.every_guise}
            for name in self.names
        ]
        if not any(read):
            raise TagstackError(f"No picture of {folder} could be read in every guise.")
        names = [name for name, good in zip(self.names, read, strict=True) if good]
        return names, self.rows[np.array(read)]


def _scored(
    request: ProbeRequest, bundle: Bundle, asked: _Asked, settings: Settings, progress: Progress
) -> MemorySink:
    """Return what the bundle's taggers say of the pictures in every guise."""
    n_pictures = len(asked.originals) * len(asked.every_guise)
    progress.notice(
        f"probes: {len(bundle.members)} taggers look at {len(asked.originals)} pictures in "
        f"{len(asked.guises)} guises and as they are, {n_pictures:,} pictures "
        "(audit.probe_images, audit.guises)"
    )
    pictures = GuisedPictures(asked.originals, asked.every_guise, settings.score)
    with loaded_taggers(bundle.tagger_sources(request.models), settings) as taggers:
        sink = MemorySink(Members.of(taggers), hashes=False)
        score_sources(pictures, taggers, sink, settings, progress)
    bundle.check_members(sink.members())
    return sink


def _shown(
    bundle: Bundle,
    dataset: Dataset,
    sink: MemorySink,
    guises: Sequence[str],
    names: Sequence[str],
    rows: NDArray[np.int64],
    decoder: Decoder,
) -> Shown:
    """Return what is given of the pictures as they are and in each guise."""
    given = {
        guise: _given(bundle, sink, [name_of(guise, name) for name in names], decoder)
        for guise in (PLAIN, *guises)
    }
    return Shown(
        plain=given[PLAIN],
        guised={(guise, by): given[guise][by] for guise in guises for by in given[guise]},
        labels=sparse.csr_array(dataset.labels[rows]),
        unknown=sparse.csr_array(dataset.unknown[rows]),
        groups=dataset.groups[rows],
    )


def _given(
    bundle: Bundle, sink: MemorySink, names: Sequence[str], decoder: Decoder
) -> Mapping[str, sparse.csr_array]:
    """Return what the stack and each tagger alone give of some pictures."""
    scores = bundle.scores(sink, names)
    rungs = {
        name: rung
        for name in bundle.member_names
        if (rung := single_spec(name).name) in bundle.rung_thresholds
    }
    chosen = bundle.stacker.chosen_
    probas = bundle.stacker.predict_rungs(scores, dict.fromkeys([chosen, *rungs.values()]))
    alone = {
        name: cutting_of(bundle.rung_thresholds[rung], bundle.rung_image_cut).decided(probas[rung])
        for name, rung in rungs.items()
    }
    return {STACK: bundle.thresholds.cutting.decoded(probas[chosen], decoder), **alone}
