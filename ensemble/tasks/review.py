"""A review: bundle, scores, pictures, labels and decisions opened together, ready for the page."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Thread

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.scores.store import ScoreStore
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import MANIFEST, load_bundle, out_of_fold_of
from tagstack.ensemble.cascade.routing import Route
from tagstack.ensemble.feedback.store import FILE, DecisionStore
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.review.desk import Desk
from tagstack.ensemble.review.frozen import frozen_slice
from tagstack.ensemble.review.ground import CHUNK, Known, ReviewGround
from tagstack.ensemble.review.kept import PAIRS, PairsAbout
from tagstack.ensemble.rules.hygiene import canonical_names
from tagstack.ensemble.scoring.runs import found_images, score_to_store
from tagstack.ensemble.scoring.taggers import loaded_taggers, scoring_settings
from tagstack.ensemble.tasks.tag_request import decision_key
from tagstack.ensemble.tasks.tag_scoring import score_in_stages
from tagstack.meta.labels.labels import align_labels
from tagstack.meta.labels.near_duplicates import near_duplicate_groups

SCORES = "scores"


@dataclass(frozen=True, kw_only=True)
class ReviewRequest:
    """What is reviewed.

    Parameters
    ----------
    bundle : Path
    images : Path
        Folder of the pictures; no other picture is ever shown.
    out : Path
        Folder for the decisions and what can be made again.
    scores : Path, optional
        Score store of the pictures; scored into ``out`` without it.
    labels : Path, optional
        What the pictures have, as far as that is known.
    models : tuple of str, optional
        Where the bundle's taggers are now, for scoring.
    cascade : float, optional
        Largest share of the taggers' cost, for a bundle with a cascade.
    cascade_loss : float, optional
        Largest loss of micro-F1 instead.
    """

    bundle: Path
    images: Path
    out: Path
    scores: Path | None = None
    labels: Path | None = None
    models: tuple[str, ...] | None = None
    cascade: float | None = None
    cascade_loss: float | None = None


@contextmanager
def opened_review(request: ReviewRequest, settings: Settings, progress: Progress) -> Iterator[Desk]:
    """Open a review; its pairs are made in the background, from where an earlier run stopped.

    Raises
    ------
    TagstackError
        If bundle, pictures, scores, labels or decisions cannot be used or do not go together.
    """
    bundle = load_bundle(request.bundle)
    _make_folder(request.out)
    with DecisionStore(request.out / FILE) as store:
        desk = _desk(request, bundle, store, settings, progress)
        making = Thread(target=desk.prepare, name="pairs")
        making.start()
        try:
            yield desk
        finally:
            desk.stop()
            making.join()  # what still computes when Python ends takes it down


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TagstackError(f"Cannot write to {out}: {error.strerror or error}.") from error


def _desk(
    request: ReviewRequest,
    bundle: Bundle,
    store: DecisionStore,
    settings: Settings,
    progress: Progress,
) -> Desk:
    if not request.images.is_dir():
        raise TagstackError(f"{request.images} is no folder; give the folder of the pictures.")
    root = Path(request.images).absolute()
    route = Route.asked(bundle, settings.cascade, request.cascade, request.cascade_loss)
    names = found_images([root], settings, progress).names
    reader = _scores(request, bundle, route, root, settings, progress)
    bundle.check_members(reader.members())
    if route is None:
        images = tuple(reader.scored(names, bundle.member_names))
    else:
        images = tuple(route.scored(names, reader))
    if not images:
        msg = (
            f"None of the {len(names)} pictures in {root} has scores in {reader.title}. Score that "
            "folder, or leave --scores out."
        )
        raise TagstackError(msg)
    if left := len(names) - len(images):
        progress.notice(f"{left} of {len(names)} pictures have no scores and are left out.")
    records = reader.image_records()
    contents = tuple(records[name].sha256 for name in images)
    known = _known(request, bundle, reader, images, progress)
    ground = ReviewGround(
        bundle=bundle,
        reader=reader,
        images=images,
        contents=contents,
        floor=settings.output.score_floor,
        folder=_pairs_folder(request, bundle, route, images, contents, known, settings),
        out_of_fold=out_of_fold_of(request.bundle),
        known=known,
        route=route,
    )

    @cache
    def groups() -> NDArray[np.int64]:
        near = settings.score.near_duplicates
        return near_duplicate_groups(reader.picture_hashes(images), near)

    def judging() -> NDArray[np.bool_]:
        return frozen_slice(store, contents, groups(), settings.review.judging, settings.seed)

    manifest = file_sha256(request.bundle / MANIFEST)
    return Desk(ground, store, root, settings.review, manifest, judging, groups)


def _scores(
    request: ReviewRequest,
    bundle: Bundle,
    route: Route | None,
    root: Path,
    settings: Settings,
    progress: Progress,
) -> ScoreStore:
    """Return the scores of the pictures, after scoring them where none are given."""
    if request.scores is not None:
        return ScoreStore(request.scores)
    own = scoring_settings(bundle, settings)
    sources = found_images([root], own, progress)
    with loaded_taggers(bundle.tagger_sources(request.models), own) as taggers:
        bundle.check_members(taggers)
        store = request.out / SCORES
        if route is None:
            score_to_store(sources, taggers, store, own, progress)
        else:
            score_in_stages(route, sources, taggers, store, own, progress)
    return ScoreStore(request.out / SCORES)


def _known(
    request: ReviewRequest,
    bundle: Bundle,
    reader: ScoreStore,
    images: tuple[str, ...],
    progress: Progress,
) -> Known | None:
    """Return what labels say of the pictures; None without any."""
    if request.labels is None:
        return None
    wanted = bundle.settings.labels
    source = DatasetSource(scores=reader, labels=request.labels)
    aligned = align_labels(
        source.read(wanted),
        images,
        bundle.vocabulary,
        canonical_names(bundle.rules.aliases),
        groups=bundle.rules.groups,
        unknown_if_absent=wanted.unknown_if_absent,
        least_understood=wanted.least_understood,
    )
    for notice in aligned.notices:
        progress.notice(notice)
    labelled = np.zeros(len(images), bool)
    labelled[aligned.rows] = True
    shape = (len(images), len(bundle.vocabulary))
    return Known(
        labels=_spread(aligned.matrix, aligned.rows, shape),
        unknown=_spread(aligned.unknown, aligned.rows, shape),
        labelled=labelled,
    )


def _spread(
    matrix: sparse.csr_array, rows: NDArray[np.int64], shape: tuple[int, int]
) -> sparse.csr_array:
    """Return a matrix with empty rows where an image is not among ``rows``."""
    counts = np.zeros(shape[0], np.int64)
    counts[rows] = np.diff(matrix.indptr)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_array((matrix.data, matrix.indices, indptr), shape=shape)


def _pairs_folder(
    request: ReviewRequest,
    bundle: Bundle,
    route: Route | None,
    images: tuple[str, ...],
    contents: tuple[str, ...],
    known: Known | None,
    settings: Settings,
) -> Path:
    """Return the folder of the pairs that these inputs give; those of others are deleted."""
    manifest, key = file_sha256(request.bundle / MANIFEST), "" if route is None else route.key
    digest = hashlib.sha256(decision_key(manifest, bundle, key).encode())
    digest.update(repr(settings.output.score_floor).encode())
    for name, content in zip(images, contents, strict=True):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + content.encode())
    if known is not None:
        for matrix in (known.labels, known.unknown):
            digest.update(matrix.indptr.tobytes() + matrix.indices.tobytes())
        digest.update(known.labelled.tobytes())
    folder = request.out / PAIRS / digest.hexdigest()[:16]
    if folder.parent.is_dir():
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    about = PairsAbout(
        bundle=manifest, n_chunks=-(-len(images) // CHUNK),
        images=images, contents=contents,
    )  # fmt: skip
    about.save(folder)
    return folder
