"""A backend or precision is compared with the reference before its first use.

Everything but ONNX Runtime in fp32 is compared with that on some of the pictures at hand, once.
The report lies beside the engine, or in the cache under the tagger's fingerprint; a session that
is too far off is refused.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.parity.parity import ParityReport, compare, read_report, write_report
from tagstack.base_models.parity.quantised_folder import source_of
from tagstack.base_models.pictures.framed_pixels import framed_picture
from tagstack.base_models.pictures.images import DecodingBudget, ImageError
from tagstack.base_models.pictures.preprocess import Framing
from tagstack.base_models.runtimes.selection import REFERENCE
from tagstack.base_models.runtimes.stored_precision import quantised_as
from tagstack.base_models.scoring.sources import PictureSource
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.base_models.user_cache import cache_root
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings


def verify_first_use(
    sources: PictureSource, taggers: Sequence[Tagger], settings: ScoreSettings, *, threads: int
) -> tuple[ParityReport, ...]:
    """Compare taggers that have no report yet with the reference; refuse those too far off.

    Parameters
    ----------
    sources : PictureSource
        Pictures to compare on; ``score.parity.images`` of them, evenly spaced.
    taggers : sequence of Tagger
    settings : ScoreSettings
    threads : int
        Of the reference.

    Returns
    -------
    tuple of ParityReport
        Those made now.

    Raises
    ------
    TagstackError
        If a tagger's scores are too far from the reference.
    """
    made = []
    for tagger in taggers:
        if not needs_report(tagger):
            continue
        path = report_path(tagger, settings)
        report = read_report(path)
        wanted = min(settings.parity.images, len(sources.names))
        # Two taggers of one network share its engine, and so the place of the report.
        known = report is not None and report.fingerprint == tagger.fingerprint
        if report is None or not known or report.n_asked < wanted:
            found = verify(sources, tagger, settings, threads=threads)
            if found is None:  # no picture could be read; scoring says why
                continue
            report = found
            write_report(path, report)
            made.append(report)
        refuse_if_bad(report, settings)
    return tuple(made)


def verify(
    sources: PictureSource, tagger: Tagger, settings: ScoreSettings, *, threads: int
) -> ParityReport | None:
    """Return a new report of a tagger, or None if no picture could be read."""
    n_asked = min(settings.parity.images, len(sources.names))
    pixels = sample_pixels(sources, tagger.framing, settings, n_asked)
    if not len(pixels):
        return None
    reference = reference_of(tagger, threads=threads)
    try:
        report = compare(tagger, reference, pixels, batch=settings.parity.batch)
        # Pictures that cannot be read are not tried again at every run.
        return replace(report, n_asked=n_asked)
    finally:
        reference.close()


def needs_report(tagger: Tagger) -> bool:
    """Return whether a tagger is anything but a float32 file in ONNX Runtime on the CPU."""
    info = tagger.session.info
    exact = (info.backend, info.precision) == ("ort", "fp32")
    if exact or info.backend != "ort":
        return not exact
    # A quantised file in the reference runtime can only be compared with what it was made from.
    return source_of(tagger.folder, tagger.contract.files.model) is not None


def has_lost_its_source(tagger: Tagger) -> bool:
    """Return whether a quantised tagger cannot be compared: what it was made from is gone."""
    return tagger.session.info.precision.startswith(("int8", "fp8")) and (
        source_of(tagger.folder, tagger.contract.files.model) is None
    )


def report_path(tagger: Tagger, settings: ScoreSettings) -> Path:
    """Return where a tagger's report lies: beside its engine, or in the cache."""
    info = tagger.session.info
    if info.engine is not None:
        return info.engine.with_suffix(".parity.json")
    facts = [tagger.fingerprint, info.versions, info.device, tagger.published_thresholds.tolist()]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return cache_root(settings.engines.folder) / "parity" / f"{tagger.name}-{key[:32]}.json"


def reference_of(tagger: Tagger, *, threads: int) -> Tagger:
    """Return the tagger in ONNX Runtime and fp32; for a quantised one, what it was made from.

    Raises
    ------
    TagstackError
        If that is not where it was, or has changed.
    """
    folder = tagger.folder
    if quantised_as(folder / tagger.contract.files.model) is not None:
        folder = source_of(folder, tagger.contract.files.model) or folder
    plain = load_tagger(
        folder,
        floor=tagger.floor,
        threads=threads,
        smoke=False,
        runtime=REFERENCE,
        scaled_decoding=tagger.scaled_decoding,
    )
    return replace(plain, mirror=tagger.mirror)  # compared with what sees the same


def sample_pixels(
    sources: PictureSource, framing: Framing, settings: ScoreSettings, n_images: int
) -> NDArray[np.uint8]:
    """Return framed pictures, evenly spaced among the sources; unreadable ones are passed over.

    Shape (n_read, height, width, 3), at most ``n_images`` of them.
    """
    n_images = min(n_images, len(sources.names))
    picked = np.linspace(0, len(sources.names) - 1, n_images).round().astype(int)
    budget = DecodingBudget(settings.decode_mib << 20)
    found = [np.empty((0, framing.height, framing.width, framing.planes), np.uint8)]
    for number in picked:
        name = sources.names[number]
        try:
            picture = framed_picture(
                sources.picture(name, sources.identify(name, settings)),
                [framing],
                max_pixels=settings.max_pixels,
                max_side=settings.max_side,
                budget=budget,
                hashed=False,
            )
        except ImageError:
            continue
        found.append(picture.pixels[framing][None])
    return np.concatenate(found)


def refuse_if_bad(report: ParityReport, settings: ScoreSettings) -> None:
    """Raise a TagstackError if a report is beyond the limits."""
    fault = report.fault(settings.parity)
    if fault is not None:
        msg = (
            f"{report.tagger} in {report.precision} ({report.runtime}) is too far from "
            f"{report.reference}: it {fault}. Use another score.precision or score.backend, or "
            f"allow it in score.parity."
        )
        raise TagstackError(msg)
