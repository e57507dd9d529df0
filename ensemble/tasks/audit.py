"""What a bundle's tags favour: kinds of images against the rest, and tags given for company."""

import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tagstack import __version__
from tagstack.base_models.atomic import write_text
from tagstack.configs.settings import Settings
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.audit.companions import Companion, companions_of
from tagstack.ensemble.audit.slices import ImageCounts, Look, looks_at, slices_of
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import load_bundle, refuse_existing
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.tasks.calibrate import ground_of
from tagstack.meta.metrics.bootstrap import Weightings

AUDIT, SLICES, COMPANIONS = "audit.json", "slices.csv", "companions.csv"


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to audit on which images.

    Parameters
    ----------
    bundle : Path
    source : DatasetSource
    by : tuple of str
        Label columns to slice by; all by default, except the grouping one.
    out : Path
        Folder for the results.
    overwrite : bool
    """

    bundle: Path
    source: DatasetSource
    out: Path
    by: tuple[str, ...] = ()
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found.

    Parameters
    ----------
    n_images, n_groups, n_out_of_fold : int
        Images that were looked at, their groups, and those of them that the bundle was fitted on,
        which are judged by their out-of-fold probabilities.
    thresholds : str
        Version in use.
    confidence, false_discovery_rate : float
    looks : tuple of Look
    pooled : tuple of (column, values)
        Small values that stand together.
    companions : tuple of Companion
    n_pairs : int
        Pairs of tags over which the false discovery rate holds.
    notices : tuple of str
    out : Path
    """

    n_images: int
    n_groups: int
    n_out_of_fold: int
    thresholds: str
    confidence: float
    false_discovery_rate: float
    looks: tuple[Look, ...]
    pooled: tuple[tuple[str, tuple[str, ...]], ...]
    companions: tuple[Companion, ...]
    n_pairs: int
    notices: tuple[str, ...]
    out: Path

    def plain(self) -> dict[str, Any]:
        """Return it for JSON: no number there is NaN."""
        found = {key: value for key, value in asdict(self).items() if key != "out"}
        pooled = [{"column": column, "values": list(values)} for column, values in self.pooled]
        return {
            "tagstack": __version__,
            **found,
            "pooled": pooled,
            "notices": list(self.notices),
            "looks": [_plain(asdict(row)) for row in self.looks],
            "companions": [_plain(asdict(row)) for row in self.companions],
        }


def audit_bundle(request: AuditRequest, settings: Settings, progress: Progress) -> Audit:
    """Write ``audit.json``, ``slices.csv`` and ``companions.csv`` into a folder.

    Raises
    ------
    TagstackError
        If bundle, scores, labels or a column cannot be used, no image is left, or the audit
        exists.
    """
    refuse_existing(request.out / AUDIT, overwrite=request.overwrite)
    bundle = load_bundle(request.bundle)
    ground = ground_of(request.bundle, request.source, bundle, progress)
    dataset, compare = ground.dataset, settings.compare
    by = request.by or tuple(sorted(set(dataset.columns) - {request.source.group or "", "id"}))
    slices, notices = slices_of(dataset.columns, by, compare.max_slice_values)
    for notice in notices:
        progress.notice(notice)
    progress.stage("deciding")
    decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)
    decided = bundle.thresholds.cutting.decoded(ground.proba, decoder)
    progress.stage("resampling")
    weightings = Weightings(dataset.groups, resamples=compare.resamples, seed=settings.seed)
    sureness = {
        "confidence": compare.confidence,
        "false_discovery_rate": compare.false_discovery_rate,
    }
    counts = ImageCounts.of(ground.proba, decided, dataset.labels, dataset.unknown)
    looks = looks_at(slices, counts, dataset.groups, weightings, **sureness)
    progress.stage("looking for companions")
    met = companions_of(
        decided, dataset.labels, dataset.unknown, dataset.groups, bundle.vocabulary, **sureness
    )
    found = Audit(
        n_images=dataset.scores.n_images,
        n_groups=len(set(dataset.groups.tolist())),
        n_out_of_fold=ground.n_out_of_fold,
        thresholds=bundle.threshold_version,
        looks=looks,
        pooled=tuple((own.column, own.pooled) for own in slices if own.pooled),
        companions=met.found,
        n_pairs=met.n_tested,
        notices=(*ground.notices, *notices),
        out=request.out,
        **sureness,
    )
    _write(found)
    return found


def _write(found: Audit) -> None:
    found.out.mkdir(parents=True, exist_ok=True)
    write_text(found.out / SLICES, _csv([f.name for f in fields(Look)], found.looks))
    write_text(found.out / COMPANIONS, _csv([f.name for f in fields(Companion)], found.companions))
    # Written last: without it, the folder is what an interrupted run left.
    text = json.dumps(found.plain(), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(found.out / AUDIT, text + "\n")


def _csv(names: Sequence[str], rows: Iterable[Look | Companion]) -> str:
    stream = io.StringIO()
    table = TableWriter(stream)
    table.writerow(names)
    for row in rows:
        own = _plain(asdict(row)).values()
        table.writerow(f"{v:.6g}" if isinstance(v, float) else "" if v is None else v for v in own)
    return stream.getvalue()


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
