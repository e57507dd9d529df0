"""From the output of ``tag`` to what may be applied unseen, and what people look at first.

The tags are decided anew from the scores in the output folder, with the thresholds in use, and
held against labelled images: those of the fit, which the bundle keeps, or others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.pictures.picture_hash import PictureHashes
from tagstack.base_models.scores.store import ScoreStore
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.acceptance.conformal import accepted, p_values
from tagstack.ensemble.acceptance.evidence import LabelledProposals, distance, typical_sureness
from tagstack.ensemble.acceptance.proposals import Proposals
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import load_bundle, out_of_fold_of, refuse_existing
from tagstack.ensemble.bundle.fitted_labels import FittedLabels
from tagstack.ensemble.bundle.honest_ground import honest_ground
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.outputs.format import printable
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.tasks.tag_scoring import SCORES

NOT_PROMISED = (
    "Promised on average over batches like the labelled images, not for each batch, each tag or "
    "other kinds of pictures; right means what the labels call right."
)
_CHUNK = 512  # images decided together


@dataclass(frozen=True, kw_only=True)
class AcceptRequest:
    """What is asked.

    Parameters
    ----------
    bundle : Path
    tags : Path
        Output folder of ``tag``, or a score store.
    out : Path
        CSV of the accepted tags.
    queue : Path, optional
        CSV of the others; beside ``out`` by default.
    source : DatasetSource, optional
        Labelled images to hold the batch against; those of the fit by default.
    overwrite : bool
    """

    bundle: Path
    tags: Path
    out: Path
    queue: Path | None = None
    source: DatasetSource | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """What was written.

    Parameters
    ----------
    rate : float
        Share of wrong tags that is promised at most, on average.
    n_images, n_proposed, n_accepted : int
        Of the batch.
    n_whole : int
        Images of which every tag is accepted.
    n_tags_proposed, n_tags_accepted : int
        Different tags.
    least_sure : float or None
        Sureness of the least sure accepted tag.
    n_labelled, n_groups, n_wrong, n_labelled_proposals : int
        What it rests on: labelled images, groups, proposals there and wrong ones among them.
    thresholds : str
        Version in use.
    out, queue : Path
    notices : tuple of str
    """

    rate: float
    n_images: int
    n_proposed: int
    n_accepted: int
    n_whole: int
    n_tags_proposed: int
    n_tags_accepted: int
    least_sure: float | None
    n_labelled: int
    n_groups: int
    n_wrong: int
    n_labelled_proposals: int
    thresholds: str
    out: Path
    queue: Path
    notices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Batch:
    images: tuple[str, ...]
    contents: tuple[str, ...]
    hashes: PictureHashes
    proposals: Proposals


def accept_tags(request: AcceptRequest, settings: Settings, progress: Progress) -> Acceptance:
    """Write which tags of a batch may be applied unseen, and which may not.

    Raises
    ------
    TagstackError
        If bundle, scores or labels cannot be used, or a file is in the way.
    """
    if not request.out.name:
        raise TagstackError(f"{request.out} is no name of a file. Give one that ends in .csv.")
    queue = request.queue or request.out.with_name(f"{request.out.stem}-queue.csv")
    if queue == request.out:
        raise TagstackError(f"--queue and --out are both {queue}; expected two files.")
    for path in (request.out, queue):
        refuse_existing(path, overwrite=request.overwrite)
    bundle = load_bundle(request.bundle)
    decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)
    rate = settings.accept.fdr
    labelled = _labelled(request, bundle, decoder, rate, progress)
    batch = _batch(request.tags, bundle, decoder, progress)
    chosen, p_value, seen = _chosen(bundle, labelled, batch, rate)
    notices = tuple(_notices(labelled, batch, seen, settings.accept.unlike))
    for notice in notices:
        progress.notice(notice)
    _write(request.out, bundle, batch, p_value, chosen)
    _write(queue, bundle, batch, p_value, ~chosen)
    return _summary(bundle, labelled, batch, chosen, (request.out, queue), rate, notices)


def _labelled(
    request: AcceptRequest, bundle: Bundle, decoder: Decoder, rate: float, progress: Progress
) -> LabelledProposals:
    """Return the proposals of labelled images, judged by their labels."""
    kept = out_of_fold_of(request.bundle)
    if request.source is not None:
        ground = honest_ground(bundle, kept, request.source, progress)
        dataset = ground.dataset
        proba, truth = (
            ground.proba,
            FittedLabels(labels=dataset.labels, unknown=dataset.unknown, groups=dataset.groups),
        )
    elif kept is not None and kept.truth is not None:
        proba, truth = kept.proba, kept.truth
    else:
        msg = (
            f"{request.bundle} keeps no labelled images to hold the batch against: it is a start "
            "bundle, of before 0.2.0, or was fitted with thresholds.keep_out_of_fold = false. Give "
            "labelled images: --scores STORE --labels FILE."
        )
        raise TagstackError(msg)
    proposals = Proposals.of(proba, bundle.thresholds.cutting, decoder)
    return LabelledProposals.of(proposals, truth, decoder.rules.ancestors, rate)


def _batch(folder: Path, bundle: Bundle, decoder: Decoder, progress: Progress) -> _Batch:
    """Return what the thresholds in use give the pictures of an output folder."""
    store = _store(folder)
    bundle.check_members(store.members())
    members = [member.name for member in bundle.members]
    records = store.image_records()
    names = store.scored(sorted(records), members)
    if not names:
        raise TagstackError(f"{folder} has no picture that all of {members} scored. Tag it first.")
    parts: list[Proposals] = []
    images: list[str] = []
    for chunk in bundle.score_chunks(store, _CHUNK, names):
        proba = bundle.stacker.predict_proba(chunk)
        parts.append(Proposals.of(proba, bundle.thresholds.cutting, decoder))
        images.extend(chunk.images)
        progress.stage("deciding", len(images), len(names))
    return _Batch(
        images=tuple(images),
        contents=tuple(records[name].sha256 for name in images),
        hashes=store.picture_hashes(images),
        proposals=_joined(parts),
    )


def _store(folder: Path) -> ScoreStore:
    """Return the scores in an output folder of `tag`, or the store that a folder is."""
    store = ScoreStore(folder / SCORES if (folder / SCORES).is_dir() else folder)
    try:
        store.members()
    except TagstackError as error:
        msg = (
            f"{folder} holds no scores ({SCORES}): it is no output folder of `tagstack tag`, or "
            "was made with --scores. Give that store instead."
        )
        raise TagstackError(msg) from error
    return store


def _joined(parts: list[Proposals]) -> Proposals:
    before = np.cumsum([0, *(part.n_images for part in parts)])

    def column(read: Callable[[Proposals], NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([read(part) for part in parts])

    moved = [part.image + start for part, start in zip(parts, before, strict=False)]
    return Proposals(
        image=np.concatenate(moved),
        tag=np.concatenate([part.tag for part in parts]),
        proba=column(lambda part: part.proba),
        sureness=column(lambda part: part.sureness),
        n_images=int(before[-1]),
    )


def _chosen(
    bundle: Bundle, labelled: LabelledProposals, batch: _Batch, rate: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
    """Return which proposals are accepted, their p-values (1 if not judged), and seen images."""
    fitted = bundle.fitted_images
    seen = fitted.holds(batch) | fitted.resembles(batch)
    proposals = batch.proposals
    free = labelled.judged[proposals.tag] & ~seen[proposals.image]
    own = proposals.take(free)
    p_value = np.ones(len(proposals))
    p_value[free] = p_values(labelled.wrongs, own.sureness, own.image, int((~seen).sum()))
    chosen = np.zeros(len(proposals), bool)
    chosen[free] = accepted(p_value[free], rate)
    return chosen, p_value, seen


def _notices(
    labelled: LabelledProposals, batch: _Batch, seen: NDArray[np.bool_], unlike: float
) -> Iterator[str]:
    if labelled.n_left_out:
        yield f"{labelled.n_left_out} labelled images are left out: most of their tags are unknown"
    if n_unjudged := int((~labelled.judged).sum()):
        yield (
            f"{n_unjudged} tags go to the queue, since labels leave them, or what they imply, "
            "unknown too often"
        )
    if seen.any():
        yield (
            f"{int(seen.sum())} of {len(seen)} pictures were used to fit this bundle or look like "
            "one that was: nothing of them is accepted"
        )
    here = batch.proposals
    fresh = here.take(labelled.judged[here.tag] & ~seen[here.image])
    if (apart := distance(labelled.typical, typical_sureness(fresh))) > unlike:
        yield (
            "these pictures are not like the labelled ones: how sure their tags are differs by "
            f"{apart:.2f} (Kolmogorov's distance, accept.unlike is {unlike:g}), so the promise may "
            "not hold; label some of them"
        )


def _write(
    path: Path,
    bundle: Bundle,
    batch: _Batch,
    p_value: NDArray[np.float64],
    chosen: NDArray[np.bool_],
) -> None:
    """Write proposals as CSV: file name, tag, probability, p-value."""
    proposals, tags = batch.proposals, bundle.vocabulary.tags
    names = [printable(image) for image in batch.images]
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        written_whole(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        table = TableWriter(stream)
        table.writerow(("filename", "tag", "score", "p_value"))
        for row in np.flatnonzero(chosen).tolist():
            name, tag = names[proposals.image[row]], tags[proposals.tag[row]]
            table.writerow((name, tag, f"{proposals.proba[row]:.4f}", f"{p_value[row]:.3g}"))


def _summary(
    bundle: Bundle,
    labelled: LabelledProposals,
    batch: _Batch,
    chosen: NDArray[np.bool_],
    written: tuple[Path, Path],
    rate: float,
    notices: tuple[str, ...],
) -> Acceptance:
    proposals = batch.proposals
    left = np.bincount(proposals.image[~chosen], minlength=proposals.n_images)
    given = np.bincount(proposals.image, minlength=proposals.n_images)
    return Acceptance(
        rate=rate,
        n_images=proposals.n_images,
        n_proposed=len(proposals),
        n_accepted=int(chosen.sum()),
        n_whole=int(((given > 0) & (left == 0)).sum()),
        n_tags_proposed=len(np.unique(proposals.tag)),
        n_tags_accepted=len(np.unique(proposals.tag[chosen])),
        least_sure=float(proposals.sureness[chosen].min()) if chosen.any() else None,
        n_labelled=labelled.n_images,
        n_groups=labelled.wrongs.n_groups,
        n_wrong=labelled.n_wrong,
        n_labelled_proposals=labelled.n_proposals,
        thresholds=bundle.threshold_version,
        out=written[0],
        queue=written[1],
        notices=notices,
    )
