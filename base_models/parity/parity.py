"""A session against ONNX Runtime in fp32 on the same pictures, alone and in batches.

Trees and thresholds turn small differences of scores into other tags, so what counts is how many
decisions flip. Real pictures, not noise: noise meets few of a network's extremes.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.atomic import write_text
from tagstack.base_models.runtimes.stored_precision import weights_of
from tagstack.base_models.taggers.fingerprint import floor_logit
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ParitySettings
from tagstack.configs.text_files import read_json

FORMAT = 1
_EXACT = ("fp32", "tf32")


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """How far a session strays from the reference on some images.

    Differences are of logits, over the (image, tag) pairs that either of the two puts above the
    store's floor, and the larger of those one by one and in batches.

    Parameters
    ----------
    tagger, fingerprint, runtime, precision : str
        What was compared.
    reference : str
        What it was compared with.
    n_images, n_asked, batch : int
        Images compared on, those looked at for it, and of one call.
    n_pairs : int
        Pairs above the floor.
    max_difference, mean_difference, p999_difference : float
    max_proba_difference : float
        Over all pairs.
    n_positives, n_flips : int
        Decisions at the published thresholds: positive ones of the reference, and those that
        differ.
    top10_overlap : float
        Share of the reference's ten highest tags that are among the session's, on average.
    max_batch_difference : float
        Between an image alone and in a batch; 0 is bit for bit.
    n_not_finite : int
        Images with a number that is not finite.
    """

    tagger: str
    fingerprint: str
    runtime: str
    precision: str
    reference: str
    n_images: int
    n_asked: int
    batch: int
    n_pairs: int
    max_difference: float
    mean_difference: float
    p999_difference: float
    max_proba_difference: float
    n_positives: int
    n_flips: int
    top10_overlap: float
    max_batch_difference: float
    n_not_finite: int

    @property
    def flip_share(self) -> float:
        """Decisions that differ, per positive decision of the reference."""
        return self.n_flips / max(self.n_positives, 1)

    def allowed_flips(self, settings: ParitySettings) -> float:
        """Return the share of flips that this precision may have."""
        if self.precision in _EXACT:
            return settings.max_flips_exact
        if weights_of(self.precision) == "fp8":
            return settings.max_flips_fp8
        if weights_of(self.precision) == "int8":
            return settings.max_flips_int8
        return settings.max_flips_half

    def fault(self, settings: ParitySettings) -> str | None:
        """Return why this is not good enough, or None."""
        if self.n_not_finite:
            return f"gave numbers that are not finite on {self.n_not_finite} of {self.n_images}"
        limit = self.allowed_flips(settings)
        # One decision may always lie on a threshold.
        if self.n_flips <= 1 or self.flip_share <= limit:
            return None
        return (
            f"decides {self.n_flips} tags of {self.n_images} images otherwise, "
            f"{self.flip_share:.1%} of {self.n_positives} positive ones; allowed are {limit:.1%}"
        )


def write_report(path: Path, report: ParityReport) -> None:
    """Write a report as JSON."""
    write_text(path, json.dumps({"format": FORMAT, **asdict(report)}, indent=1))


def read_report(path: Path) -> ParityReport | None:
    """Return the report in a file, or None where there is none that can be read."""
    try:
        content = read_json(path)
    except TagstackError:
        return None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        return None
    if set(content) != {field.name for field in fields(ParityReport)}:
        return None
    return ParityReport(**content)


_TOP = 10


def compare(
    tagger: Tagger, reference: Tagger, pixels: NDArray[np.uint8], *, batch: int
) -> ParityReport:
    """Return how a tagger's scores differ from the reference's.

    Parameters
    ----------
    tagger, reference : Tagger
        With the same vocabulary and framing.
    pixels : array of shape (n_images, height, width, 3), uint8, RGB
        Framed pictures, at least one.
    batch : int
        Pictures of one call, besides one.

    Raises
    ------
    TagstackError
        If one of them fails on the pictures.
    """
    expected = _logits(reference, pixels, 1)
    alone, batched = _logits(tagger, pixels, 1), _logits(tagger, pixels, batch)
    good = np.isfinite(expected).all(1) & np.isfinite(alone).all(1) & np.isfinite(batched).all(1)
    n_broken = int(np.count_nonzero(np.isfinite(expected).all(1) & ~good))
    expected, alone, batched = expected[good], alone[good], batched[good]
    floor = floor_logit(tagger.floor)
    seen = np.maximum(np.maximum(expected, alone), batched) > floor
    both = np.concatenate([np.abs(found - expected)[seen] for found in (alone, batched)])
    thresholds = reference.published_thresholds
    wanted, worst = _decisions(expected, thresholds), 0
    for found in (alone, batched):
        worst = max(worst, int(np.count_nonzero(_decisions(found, thresholds) != wanted)))
    info = tagger.session.info
    return ParityReport(
        tagger=tagger.name,
        fingerprint=tagger.fingerprint,
        runtime=f"{info.backend} {info.provider} " + " ".join(map(" ".join, info.versions)),
        precision=info.precision,
        reference=_named(reference),
        n_images=len(pixels),
        n_asked=len(pixels),
        batch=batch,
        n_pairs=int(np.count_nonzero(seen)),
        max_difference=_figure(both.max(initial=0.0)),
        mean_difference=_figure(both.mean() if len(both) else 0.0),
        p999_difference=_figure(np.quantile(both, 0.999) if len(both) else 0.0),
        max_proba_difference=_figure(
            max(np.abs(expit(found) - expit(expected)).max(initial=0) for found in (alone, batched))
        ),
        n_positives=int(np.count_nonzero(wanted)),
        n_flips=worst,
        top10_overlap=_figure(_overlap(expected, batched)),
        max_batch_difference=_figure(np.abs(alone - batched)[seen].max(initial=0.0)),
        n_not_finite=n_broken,
    )


def _logits(tagger: Tagger, pixels: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    parts = [tagger.logits(pixels[i : i + batch]) for i in range(0, len(pixels), batch)]
    return np.concatenate(parts)


def _decisions(logits: NDArray[np.float32], thresholds: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(expit(logits) >= thresholds)


def _overlap(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    if not expected.size:
        return 1.0
    top = min(_TOP, expected.shape[1])
    pairs = zip(_highest(expected, top), _highest(found, top), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / top for a, b in pairs]))


def _highest(logits: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    return np.argsort(-logits, axis=1, kind="stable")[:, :top]


def _figure(value: Any) -> float:
    return float(f"{float(value):.6g}")


def _named(reference: Tagger) -> str:
    info = reference.session.info
    return f"{info.backend} {info.precision} of {reference.folder.name}"
