"""What may be asked about a collection: pairs made from a bundle and scores, a chunk at a time.

Kept are pairs that are tagged, or labelled, or at least as probable as the floor, and two of the
rest for each image, so that nothing is out of reach. A chunk is a file of plain arrays under the
review's folder; a run that was interrupted goes on behind the last one. Files belong to one
bundle, one version of its thresholds and one set of pictures and labels: the folder's name is a
hash of these.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.orders import distinct
from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.out_of_fold import OutOfFold, joined
from tagstack.ensemble.cascade.routing import Route, answering
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.review.pairs import ReviewPairs, margins
from tagstack.ensemble.thresholds.deciding import Cutting

CHUNK = 512  # images: what is lost when a run is interrupted, and what the page first waits for
_STRAYS = 2  # pairs an image from below the floor
_NEAR = 0.5  # log-odds on either side of a threshold that count as near it

Keys = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What labels say: both of shape (n_images, n_tags), bool; an image without labels is unknown.

    ``labelled`` of shape (n_images,), bool.
    """

    labels: sparse.csr_array
    unknown: sparse.csr_array
    labelled: NDArray[np.bool_]


class _Answer(NamedTuple):
    """Some images of a chunk, ascending or not, and what one stack says of them."""

    images: Keys
    proba: PairProba
    cutting: Cutting


@dataclass(frozen=True, kw_only=True)
class ReviewGround:
    """What pairs are made from.

    Parameters
    ----------
    bundle : Bundle
    reader : ScoreReader
        Scores of the bundle's taggers.
    images : tuple of str
        Names, scored by all of them.
    contents : tuple of str
        SHA-256 of each picture in hexadecimal.
    floor : float
        Pairs from this probability on are asked about.
    folder : Path
        Where the chunks are.
    out_of_fold : OutOfFold, optional
    known : Known, optional
    route : Route, optional
        Of a cascade that is asked for. Images that the bundle kept out of fold are answered by all
        taggers all the same: no head's answer was kept so.
    """

    bundle: Bundle
    reader: ScoreReader
    images: tuple[str, ...]
    contents: tuple[str, ...]
    floor: float
    folder: Path
    out_of_fold: OutOfFold | None = None
    known: Known | None = None
    route: Route | None = None

    @cached_property
    def decoder(self) -> Decoder:
        """The rules, ready."""
        return Decoder(self.bundle.rules.bind(self.bundle.vocabulary), self.bundle.settings.decoder)

    @property
    def n_chunks(self) -> int:
        """How many chunks there are."""
        return -(-len(self.images) // CHUNK)

    def answering(self, image: str) -> tuple[Bundle, Level1Scores]:
        """Return what answers for an image, and its scores as that takes them."""
        return answering(self.bundle, self.route, image, lambda _: self.reader)

    def table(self, number: int) -> ReviewPairs:
        """Return the pairs of one chunk, from its file where there is one."""
        if (kept := read_chunk(self.folder, number)) is not None:
            return kept
        images = np.arange(number * CHUNK, min((number + 1) * CHUNK, len(self.images)))
        answers = list(self._answers(images))
        table = self._pairs(answers, images, np.random.default_rng(number))
        path = _chunk(self.folder, number)
        with written_whole(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **{f.name: getattr(table, f.name) for f in fields(table)})
        return table

    def _answers(self, images: Keys) -> Iterator[_Answer]:
        """Yield what is said of some images, of fitted ones out of fold where that was kept."""
        fresh = images
        if self.out_of_fold is not None:
            rows = self.out_of_fold.rows([self.contents[i] for i in images])
            if (rows >= 0).any():
                kept = self.out_of_fold.proba.take(rows[rows >= 0])
                yield _Answer(images[rows >= 0], kept, self.bundle.thresholds.cutting)
            fresh = images[rows < 0]
        names = [self.images[i] for i in fresh]
        if self.route is None and names:
            proba = self.bundle.stacker.predict_proba(self.bundle.scores(self.reader, names))
            yield _Answer(fresh, proba, self.bundle.thresholds.cutting)
        elif self.route is not None:
            place = dict(zip(names, fresh, strict=True))
            for stage, scores, proba in self.route.answered(self.reader, names):
                own = np.array([place[name] for name in scores.images])
                yield _Answer(own, proba, self.route.stage_bundle(stage).thresholds.cutting)

    def _pairs(
        self, answers: Sequence[_Answer], images: Keys, rng: np.random.Generator
    ) -> ReviewPairs:
        n_tags = len(self.bundle.vocabulary)
        order = np.argsort(np.concatenate([own.images for own in answers]))
        proba = reduce(joined, [own.proba for own in answers]).take(order)
        parts = [(_keys(own.cutting.decoded(own.proba, self.decoder)), own) for own in answers]
        tagged = np.sort(np.concatenate([_moved(key, own, images, n_tags) for key, own in parts]))
        has = self._has(tagged, images)
        listed = proba.pairs.keys()
        key = distinct(np.concatenate([listed, tagged, has]))
        value = proba.base[key % n_tags].astype(np.float32)
        value[np.searchsorted(key, listed)] = proba.proba
        value = np.nan_to_num(value)  # nobody scored it: as improbable as can be
        least = self._thresholds(answers, images, key)
        holds, kept = np.isin(key, has), np.isin(key, tagged) | (value >= self.floor)
        kept |= holds
        kept |= _strays(~kept, key // n_tags, len(images), rng)
        tag, near = key % n_tags, np.abs(margins(value, least)) < _NEAR
        return ReviewPairs(
            image=(key[kept] // n_tags + images[0]).astype(np.int32),
            tag=tag[kept].astype(np.int32),
            proba=value[kept],
            threshold=least[kept],
            tagged=np.isin(key[kept], tagged),
            has=holds[kept],
            wrong=np.bincount(tag[holds], 1.0 - value[holds], n_tags).astype(np.float64),
            missing=np.bincount(tag[~holds], value[~holds], n_tags).astype(np.float64),
            n_has=np.bincount(tag[holds], minlength=n_tags),
            n_near=np.bincount(tag[near & kept], minlength=n_tags),
            n_pairs=np.bincount(tag[kept], minlength=n_tags),
        )

    def _thresholds(
        self, answers: Sequence[_Answer], images: Keys, key: Keys
    ) -> NDArray[np.float32]:
        """Return what each pair must reach, the image's own cut included."""
        n_tags, found = len(self.bundle.vocabulary), np.empty(len(key), np.float32)
        ends = np.searchsorted(key // n_tags, np.arange(len(images) + 1))
        for answer in answers:
            cuts = answer.cutting.images(answer.proba)
            for image, least in zip(answer.images - images[0], cuts, strict=True):
                rows = slice(ends[image], ends[image + 1])
                found[rows] = least[key[rows] % n_tags]
        return found

    def _has(self, tagged: Keys, images: Keys) -> Keys:
        """Return what images have now: as labelled; as tagged where no label speaks."""
        if self.known is None:
            return tagged
        n_tags = len(self.bundle.vocabulary)
        unknown = _keys(sparse.csr_array(self.known.unknown[images]))
        silent = ~self.known.labelled[images][tagged // n_tags] | np.isin(tagged, unknown)
        labels = _keys(sparse.csr_array(self.known.labels[images]))
        return distinct(np.concatenate([labels, tagged[silent]]))


def _moved(key: Keys, answer: _Answer, images: Keys, n_tags: int) -> Keys:
    """Return an answer's pairs by the place that its images have in the chunk."""
    image = answer.images[key // n_tags] - images[0]
    return np.asarray(image * n_tags + key % n_tags, np.int64)


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"pairs-{number:06d}.npz"


def read_chunk(folder: Path, number: int) -> ReviewPairs | None:
    """Return the pairs of a chunk's file; None where there is none that is whole."""
    try:
        with np.load(_chunk(folder, number), allow_pickle=False) as arrays:
            return ReviewPairs(**{field.name: arrays[field.name] for field in fields(ReviewPairs)})
    except (OSError, ValueError, KeyError, EOFError):
        return None  # it is made again


def _strays(
    free: NDArray[np.bool_], image: Keys, n_images: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return a few pairs of each image, drawn alike from those that are free."""
    found = np.zeros(len(free), bool)
    rows = rng.permutation(np.flatnonzero(free))
    order = np.argsort(image[rows], kind="stable")
    starts = np.searchsorted(image[rows][order], np.arange(n_images))
    rank = np.arange(len(rows)) - starts[image[rows][order]]
    found[rows[order[rank < _STRAYS]]] = True
    return found


def _keys(tags: sparse.csr_array) -> Keys:
    rows = np.repeat(np.arange(tags.shape[0], dtype=np.int64), np.diff(tags.indptr))
    return np.asarray(rows * tags.shape[1] + tags.indices, np.int64)
