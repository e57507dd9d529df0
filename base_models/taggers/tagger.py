"""A tagger: a folder with a model, a tag file and a contract, loaded and checked.

A tagger maps framed pixels to logits over its own vocabulary. It refuses to load when file and
contract contradict each other, because a wrong colour order or a second sigmoid yields scores
that look almost right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from tagstack.base_models.contract import Contract, with_features
from tagstack.base_models.pictures.preprocess import (
    Framing,
    framing_from_input,
    input_tensor,
)
from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.runtimes.selection import REFERENCE, RuntimeChoice, open_session
from tagstack.base_models.taggers.asked_names import MIRRORED
from tagstack.base_models.taggers.checked import CheckNote
from tagstack.base_models.taggers.fingerprint import member_fingerprint
from tagstack.base_models.taggers.last_product import check_features, features_of
from tagstack.base_models.taggers.mirrored import Mirror
from tagstack.base_models.taggers.own_folder import tagger_files
from tagstack.base_models.taggers.tag_files import (
    counts_from_rows,
    read_tag_file,
    thresholds_from_rows,
    vocabulary_from_rows,
)
from tagstack.base_models.taggers.tag_metrics import with_metrics
from tagstack.base_models.taggers.timm_contract import contract_of_folder
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError

# A float32 probability says nothing beyond 1e-7 from 0 and 1.
_PROBA_LIMIT = 1e-7
# Keeps logits where float16 is finer than 1/32.
_LOGIT_LIMIT = 30.0
# Features are kept as float16, which ends here.
_FEATURE_LIMIT = float(np.finfo(np.float16).max)
# Rounding in a sigmoid may leave [0, 1] by this much; a logit leaves it by more.
_PROBA_SLACK = 1e-3
# With fewer tags than this, the range of the outputs says too little about their scale.
_MIN_TAGS_FOR_SCALE = 8


@dataclass(frozen=True, kw_only=True)
class Tagger:
    """A loaded tagger.

    Parameters
    ----------
    folder : Path
    name : str
        Member name, unique within a stack: the contract's, with `MIRRORED` for a mirrored pass.
    source : str
        What it was asked for by: a registry name or a folder.
    contract : Contract
    vocabulary : Vocabulary
        Tags in output order, aliases applied, categories as names.
    published_thresholds : array of shape (n_tags,), float32, in [0, 1]
        Each tag's own published threshold, else its category's, else the contract's default.
    published_counts : array of shape (n_tags,), float32
        Training images with each tag as the tag file tells them; NaN where it does not.
    fingerprint : str
        SHA-256 in hexadecimal over everything that changes a score: model and tag file, contract,
        preprocessing, precision, runtime class and the store's floor.
    floor : float
        Probabilities below this are not stored.
    session : Session
    scaled_decoding : bool
        Whether large JPEGs are decoded at a part of their size for it.
    mirror : Mirror, optional
        Of a tagger that sees the mirrored picture as well.
    """

    folder: Path
    name: str
    source: str
    contract: Contract
    vocabulary: Vocabulary
    published_thresholds: NDArray[np.float32]
    published_counts: NDArray[np.float32]
    fingerprint: str
    floor: float
    session: Session
    scaled_decoding: bool
    mirror: Mirror | None = None

    @cached_property
    def framing(self) -> Framing:
        """The pixels it wants; taggers with equal framings share them."""
        return framing_from_input(self.contract.input, scaled_decoding=self.scaled_decoding)

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of framed images.

        Parameters
        ----------
        pixels : array of shape (n_images, height, width, 3), uint8, RGB

        Returns
        -------
        array of shape (n_images, n_tags), float32
            Within [-30, 30]; a row in which the model gave a number that is not finite is NaN
            throughout.

        Raises
        ------
        TagstackError
            If declared probabilities leave [0, 1], or the output is not as wide as the tag file.
        """
        return self.outputs(pixels)[0]

    @property
    def n_passes(self) -> int:
        """How often the network runs for a picture."""
        return 1 if self.mirror is None else self.mirror.n_passes

    @property
    def sided_tags(self) -> tuple[str, ...]:
        """Tags that a mirrored pass leaves out."""
        sided = () if self.mirror is None else self.mirror.sided
        return tuple(tag for tag, one in zip(self.vocabulary.tags, sided, strict=False) if one)

    @property
    def n_features(self) -> int:
        """Width of the features that are kept of each image; 0 for scores alone."""
        return self.session.info.n_features

    def outputs(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Return the logits of framed images and their features; see `logits`.

        Returns
        -------
        logits : array of shape (n_images, n_tags), float32
            NaN throughout for an image with a score or a feature that is not finite.
        features : array of shape (n_images, n_features), float16
        """
        logits, features = self._seen(pixels)
        if self.mirror is not None and len(pixels):
            logits_too, features_too = self._seen(self.mirror.turned(pixels))
            logits = self.mirror.mean(logits, logits_too)
            features = (features + features_too) * np.float32(0.5)
        if not self.n_features:
            return logits, features.astype(np.float16)
        logits[~np.isfinite(features).all(axis=1)] = np.nan
        kept = np.nan_to_num(features).clip(-_FEATURE_LIMIT, _FEATURE_LIMIT)
        return logits, kept.astype(np.float16)

    def _seen(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return logits and features of pictures as they lie there."""
        raw, features = self._split(self._rows(pixels))
        return self.logits_from_raw(raw), features

    def logits_from_raw(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits that the model's outputs stand for; see `logits`.

        Of the shape of ``raw``.
        """
        whole = np.isfinite(raw).all(axis=1)
        if whole.all():
            return self._logits_of_finite(raw)
        logits = np.full(raw.shape, np.nan, np.float32)
        logits[whole] = self._logits_of_finite(raw[whole])
        return logits

    def raw(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the model's scores as they are, shape (n_images, n_tags), float32."""
        return self._split(self._rows(pixels))[0]

    def raw_features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the model's features as they are, shape (n_images, n_features), float32."""
        return self._split(self._rows(pixels))[1]

    def _rows(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        on_device = self.session.info.takes_pixels
        rows = self.session.run(pixels if on_device else input_tensor(pixels, self.contract.input))
        n_scores = rows.shape[1] - self.n_features
        if len(pixels) and n_scores != len(self.vocabulary):
            raise TagstackError(_width_message(self.folder, self.contract, n_scores, self))
        return rows.reshape(len(pixels), len(self.vocabulary) + self.n_features)

    def _split(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return rows[:, : len(self.vocabulary)], rows[:, len(self.vocabulary) :]

    def close(self) -> None:
        """Free the model."""
        self.session.close()

    def _logits_of_finite(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.contract.output.kind == "probabilities":
            return self._logit_of_probabilities(raw).astype(np.float32)
        return raw.clip(-_LOGIT_LIMIT, _LOGIT_LIMIT).astype(np.float32, copy=False)

    def _logit_of_probabilities(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        if raw.size and not (-_PROBA_SLACK <= raw.min() and raw.max() <= 1 + _PROBA_SLACK):
            msg = (
                f"{self.folder}: the contract declares probabilities, but the outputs reach from "
                f"{raw.min():.4g} to {raw.max():.4g}; expected [0, 1]. They look like logits: set "
                f'[output] kind = "logits".'
            )
            raise TagstackError(msg)
        return np.asarray(logit(raw.astype(np.float64).clip(_PROBA_LIMIT, 1 - _PROBA_LIMIT)))


def load_tagger(
    folder: Path,
    *,
    floor: float,
    threads: int,
    source: str | None = None,
    smoke: bool = True,
    runtime: RuntimeChoice = REFERENCE,
    scaled_decoding: bool = False,
    features: bool = False,
    sided: Sequence[str] | None = None,
    contract: Contract | None = None,
) -> Tagger:
    """Load the tagger in a folder and check it against its contract.

    Parameters
    ----------
    folder : Path
        Holds ``tagger.toml`` and the files it names, or what `timm_contract` reads instead.
    floor : float
        Probabilities below this will not be stored.
    threads : int
        Images that run side by side.
    source : str, optional
        Name it was asked for by, for messages; the folder by default.
    smoke : bool
        Run two synthetic images and check the scale of the outputs, unless this tagger passed that
        before under this runtime (see `checked`).
    runtime : RuntimeChoice
        Backend and precision; by default ONNX Runtime in fp32.
    scaled_decoding : bool
        Decode large JPEGs at a part of their size: faster, and other scores.
    features : bool
        Whether the features are wanted beside the scores.
    sided : sequence of str, optional
        ``score.sided``, for a tagger that shall see the mirrored picture as well.
    contract : Contract, optional
        Instead of the folder's own.

    Raises
    ------
    TagstackError
        If a file is missing or broken, or file and contract contradict each other; or no features
        are found where they are wanted.
    """
    contract = contract or contract_of_folder(folder)
    contract = with_features(contract, features_of(folder, contract) if features else None)
    rows = read_tag_file(folder / contract.files.tags, contract.tags)
    files = tagger_files(folder, contract)
    if files.metrics is not None:
        rows = with_metrics(rows, files.metrics)
    vocabulary = vocabulary_from_rows(rows, contract)
    session = open_session(files.model, contract, runtime, threads=threads)
    mirror = None if sided is None else Mirror.of(vocabulary.tags, sided)
    tagger = Tagger(
        folder=folder,
        name=contract.name if mirror is None else contract.name + MIRRORED,
        source=source or str(folder),
        contract=contract,
        vocabulary=vocabulary,
        published_thresholds=thresholds_from_rows(rows, contract),
        published_counts=counts_from_rows(rows),
        fingerprint=member_fingerprint(
            files, contract, vocabulary, session, floor, scaled_decoding, mirror
        ),
        floor=floor,
        session=session,
        scaled_decoding=scaled_decoding,
        mirror=mirror,
    )
    if session.n_outputs not in (None, len(vocabulary)):
        raise TagstackError(_width_message(folder, contract, session.n_outputs, tagger))
    if smoke:
        _check_once(tagger)
    return tagger


def _check_once(tagger: Tagger) -> None:
    note = CheckNote(tagger.fingerprint, tagger.session.info)
    if not note.exists():
        smoke_test(tagger)
        note.write()


def smoke_test(tagger: Tagger) -> NDArray[np.float32]:
    """Run a flat and a noisy image; return the raw outputs, shape (2, n_tags).

    Raises
    ------
    TagstackError
        If an output is not finite, or the outputs cannot be on the scale that the contract says.
    """
    pixels = smoke_pixels(tagger)
    raw = tagger.raw(pixels)
    if not np.isfinite(raw).all():
        msg = (
            f"{tagger.folder}: {np.count_nonzero(~np.isfinite(raw))} of {raw.size} outputs are not "
            f"finite (NaN or infinite) on a plain image. The model file is broken; fetch it again."
        )
        raise TagstackError(msg)
    tagger.logits_from_raw(raw)
    if tagger.n_features:
        check_features(tagger, pixels)
    _check_scale(tagger, raw)
    return raw


def smoke_pixels(tagger: Tagger) -> NDArray[np.uint8]:
    """Return a flat and a noisy image, shape (2, height, width, 3), uint8."""
    shape = (tagger.framing.height, tagger.framing.width, tagger.framing.planes)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return unpadded(np.stack([np.full(shape, 128, np.uint8), noise]))


def unpadded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return made-up pixels without padding, where they have a plane for it.

    Of the shape of ``pixels``, which are (n_images, side, side, channels).
    """
    pixels[..., 3:] = 0
    return pixels


def _check_scale(tagger: Tagger, raw: NDArray[np.float32]) -> None:
    low, high = float(raw.min()), float(raw.max())
    if raw.shape[1] < _MIN_TAGS_FOR_SCALE or low < 0 or high > 1:
        return
    if tagger.contract.output.kind == "logits":
        msg = (
            f"{tagger.folder}: the contract declares logits, but every output lies in [0, 1] "
            f"({low:.4g} to {high:.4g}): they are probabilities already, and a second sigmoid "
            f'would ruin them. Set [output] kind = "probabilities".'
        )
        raise TagstackError(msg)
    if low >= 0.5 and high <= 0.74:
        msg = (
            f"{tagger.folder}: every output lies in [0.5, 0.731] ({low:.4g} to {high:.4g}), as "
            f"after two sigmoids; expected most tags near 0. Export the model with one sigmoid."
        )
        raise TagstackError(msg)


def _width_message(folder: Path, contract: Contract, width: int | None, tagger: Tagger) -> str:
    return (
        f"{folder}: the model gives {width} scores, but {contract.files.tags} lists "
        f"{len(tagger.vocabulary)} tags; expected one for each. Use the tag file that was "
        f"published with this model."
    )
