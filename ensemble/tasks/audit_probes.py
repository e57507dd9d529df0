"""The probes of an audit: the bundle's taggers look at the user's own pictures in other guises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from tagstack.base_models.pictures.guises import GUISES, PLAIN
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.audit.certainty import Certainty
from tagstack.ensemble.audit.companions import STACK
from tagstack.ensemble.audit.guised import GuisedPictures, drawn, name_of, originals_of
from tagstack.ensemble.audit.probes import Probes, Shown
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.runs import score_sources
from tagstack.ensemble.scoring.taggers import loaded_taggers, scoring_settings
from tagstack.ensemble.tasks.honest_ground import Ground
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
    ground: Ground,
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
    dataset = ground.dataset
    n_images = dataset.scores.n_images
    seen = np.arange(n_images) < ground.n_out_of_fold
    chosen = drawn(dataset.contents, dataset.groups, seen, settings.audit.probe_images)
    names = [dataset.scores.images[i] for i in chosen]
    contents = [dataset.contents[i] for i in chosen]
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
            f"{len(failures)} of {len(names)} images to probe are not there as they were scored, "
            f"such as {failures[0].name} ({failures[0].reason})"
        )
    guises = tuple(settings.audit.guises)
    progress.notice(
        f"probes: {len(bundle.members)} taggers look at {len(originals)} pictures in "
        f"{len(guises)} guises and as they are, {len(originals) * (1 + len(guises)):,} pictures "
        "(audit.probe_images, audit.guises)"
    )
    own = scoring_settings(bundle, settings)
    pictures = GuisedPictures(originals, (PLAIN, *guises), own.score)
    with loaded_taggers(bundle.tagger_sources(request.models), own) as taggers:
        sink = MemorySink(Members.of(taggers), hashes=False)
        score_sources(pictures, taggers, sink, own, progress)
    bundle.check_members(sink.members())
    progress.stage("deciding what was probed")
    failed = {record.path for record in sink.failures()}
    whole = [
        (name, int(i))
        for name, i in zip(names, chosen, strict=True)
        if name in originals and not failed & {name_of(guise, name) for guise in (PLAIN, *guises)}
    ]
    if not whole:
        msg = f"No picture of {request.images} could be read in every guise."
        raise TagstackError(msg)
    shown_names, rows = [name for name, _ in whole], np.array([i for _, i in whole])
    given = {
        guise: _given(bundle, sink, [name_of(guise, name) for name in shown_names], decoder)
        for guise in (PLAIN, *guises)
    }
    shown = Shown(
        plain=given[PLAIN],
        guised={(guise, by): given[guise][by] for guise in guises for by in given[guise]},
        labels=sparse.csr_array(dataset.labels[rows]),
        unknown=sparse.csr_array(dataset.unknown[rows]),
        groups=dataset.groups[rows],
    )
    certainty = Certainty.of(settings)
    weightings = certainty.weightings(shown.groups)
    tags, n_tested = shown.moved_tags(bundle.vocabulary, certainty, weightings)
    return Probes(
        n_images=len(rows),
        n_groups=len(np.unique(dataset.groups[rows])),
        n_seen=int(seen[rows].sum()),
        guises={name: GUISES[name].takes for name in guises},
        moved=shown.moved(certainty, weightings),
        tags=tags,
        n_tested=n_tested,
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
