"""A session against ONNX Runtime in fp32 on the same pictures, alone and in batches.

Trees and thresholds turn small differences of scores into other tags, so what counts is how many
decisions flip. Real pictures, not noise: noise meets few of a network's extremes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.engines.parity_report import ParityReport
from tagstack.base_models.tagger import Tagger, floor_logit

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
