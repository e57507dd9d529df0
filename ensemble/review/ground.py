"""What may be asked about a collection: pairs made from a bundle and scores, a chunk at a time.

Kept are pairs that are tagged, or labelled, or at least as probable as the floor, and two of the
rest for each image, so that nothing is out of reach. A chunk is a file of plain arrays under the
review's folder; a run that was interrupted goes on behind the last one. Files belong to one
bundle, one version of its thresholds and one set of pictures and labels: the folder's name is a
hash of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.scores.reading import ScoreReader
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.out_of_fold import OutOfFold, joined
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.review.pairs import PairTable, margins

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


@dataclass(frozen=True, kw_only=True)
class Ground:
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
    """

    bundle: Bundle
    reader: ScoreReader
    images: tuple[str, ...]
    contents: tuple[str, ...]
    floor: float
    folder: Path
    out_of_fold: OutOfFold | None = None
    known: Known | None = None

    @cached_property
    def decoder(self) -> Decoder:
        """The rules, ready."""
        return Decoder(self.bundle.rules.bind(self.bundle.vocabulary), self.bundle.settings.decoder)

    @property
    def n_chunks(self) -> int:
        """How many chunks there are."""
        return -(-len(self.images) // CHUNK)

    def scores(self, images: Sequence[str]) -> Level1Scores:
        """Return the members' scores of some images."""
        return self.bundle.scores(self.reader, images)

    def table(self, number: int) -> PairTable:
        """Return the pairs of one chunk, from its file where there is one."""
        if (kept := read_chunk(self.folder, number)) is not None:
            return kept
        images = np.arange(number * CHUNK, min((number + 1) * CHUNK, len(self.images)))
        scores = self.scores([self.images[i] for i in images])
        proba = self._proba(scores, [self.contents[i] for i in images])
        table = self._pairs(proba, images, np.random.default_rng(number))
        path = _chunk(self.folder, number)
        with written_whole(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **{f.name: getattr(table, f.name) for f in fields(table)})
        return table

    def _proba(self, scores: Level1Scores, contents: Sequence[str]) -> PairProba:
        """Return probabilities, those of fitted images out of fold where the bundle kept them."""
        if self.out_of_fold is None:
            return self.bundle.stacker.predict_proba(scores)
        rows = self.out_of_fold.rows(contents)
        known, fresh = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        kept = self.out_of_fold.proba.take(rows[known])
        if not len(fresh):
            return kept
        own = self.bundle.stacker.predict_proba(scores.take(fresh))
        if not len(known):
            return own
        return joined(kept, own).take(np.argsort(np.concatenate([known, fresh])))

    def _pairs(self, proba: PairProba, images: Keys, rng: np.random.Generator) -> PairTable:
        n_tags, cutting = len(self.bundle.vocabulary), self.bundle.thresholds.cutting
        tagged = _keys(cutting.decoded(proba, self.decoder))
        has = self._has(tagged, images)
        listed = proba.pairs.keys()
        key = np.unique(np.concatenate([listed, tagged, has]))
        value = proba.base[key % n_tags].astype(np.float32)
        value[np.searchsorted(key, listed)] = proba.proba
        value = np.nan_to_num(value)  # nobody scored it: as improbable as can be
        least = self._thresholds(proba, key)
        holds, kept = np.isin(key, has), np.isin(key, tagged) | (value >= self.floor)
        kept |= holds
        kept |= _strays(~kept, key // n_tags, len(images), rng)
        tag, near = key % n_tags, np.abs(margins(value, least)) < _NEAR
        return PairTable(
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

    def _thresholds(self, proba: PairProba, key: Keys) -> NDArray[np.float32]:
        """Return what each pair must reach, the image's own cut included."""
        n_tags, cutting = len(self.bundle.vocabulary), self.bundle.thresholds.cutting
        if not cutting.image_cut:
            return cutting.value[key % n_tags]
        ends = np.searchsorted(key // n_tags, np.arange(proba.pairs.n_images + 1))
        parts = [
            least[key[ends[i] : ends[i + 1]] % n_tags]
            for i, least in enumerate(cutting.images(proba))
        ]
        return np.concatenate(parts)

    def _has(self, tagged: Keys, images: Keys) -> Keys:
        """Return what images have now: as labelled; as tagged where no label speaks."""
        if self.known is None:
            return tagged
        n_tags = len(self.bundle.vocabulary)
        unknown = _keys(sparse.csr_array(self.known.unknown[images]))
        silent = ~self.known.labelled[images][tagged // n_tags] | np.isin(tagged, unknown)
        labels = _keys(sparse.csr_array(self.known.labels[images]))
        return np.unique(np.concatenate([labels, tagged[silent]]))


def _chunk(folder: Path, number: int) -> Path:
    return folder / f"pairs-{number:06d}.npz"


def read_chunk(folder: Path, number: int) -> PairTable | None:
    """Return the pairs of a chunk's file; None where there is none that is whole."""
    try:
        with np.load(_chunk(folder, number), allow_pickle=False) as arrays:
            return PairTable(**{field.name: arrays[field.name] for field in fields(PairTable)})
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
