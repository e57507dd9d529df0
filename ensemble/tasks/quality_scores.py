"""From pictures to a table of quality scores, which goes on where it was."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagstack.base_models.atomic import file_sha256, written_whole
from tagstack.base_models.scoring.sources import ImageFailure, ImageSources
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import SCORERS
from tagstack.configs.settings import Settings
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.outputs.format import printable
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.runs import found_images
from tagstack.ensemble.workshop.quality.known_scores import ScoreRecord
from tagstack.ensemble.workshop.quality.scorers.opening import opened_scorers
from tagstack.ensemble.workshop.quality.scorers.scorer import Scorer
from tagstack.ensemble.workshop.quality.scoring import ScoringCounts, score_pictures

_OWN = ("image", "error")  # columns that no scorer may be called


@dataclass(frozen=True, kw_only=True)
class QualityScores:
    """What was found, and what became of it.

    Parameters
    ----------
    scorers : tuple of str
    n_found : int
        Files that were seen: scored, up to date, failed or passed over.
    n_scored, n_current, n_failed, n_passed_over : int
    ranges : mapping of scorer to (lowest, median, highest)
        Of the pictures that have a number.
    without : mapping of scorer to int
        Pictures that were read and have no number by it.
    lower_is_better : tuple of str
        Scorers by which less is better.
    failures : tuple of ImageFailure
    scores : Path
    """

    scorers: tuple[str, ...]
    n_found: int
    n_scored: int
    n_current: int
    n_failed: int
    n_passed_over: int
    ranges: Mapping[str, tuple[float, float, float]]
    without: Mapping[str, int]
    lower_is_better: tuple[str, ...]
    failures: tuple[ImageFailure, ...]
    scores: Path


def score_quality(
    images: list[Path],
    names: tuple[str, ...],
    table: Path,
    settings: Settings,
    progress: Progress,
    *,
    overwrite: bool = False,
) -> QualityScores:
    """Score pictures and write the table, whole or not at all; run again to resume.

    Parameters
    ----------
    images : list of Path
        Files or folders.
    names : tuple of str
        Scorers by name or folder.
    table : Path
        ``.csv`` or ``.parquet``: a row a picture, a column a scorer that was ever asked for.
    overwrite : bool
        Whether a table is replaced that somebody else wrote or changed.

    Raises
    ------
    TagstackError
        If a scorer cannot be used, there is no picture, or the table is somebody else's.
    """
    if table.suffix not in (".csv", ".parquet"):
        msg = f"{table} is no table's name; expected one that ends in .csv or .parquet."
        raise TagstackError(msg)
    with opened_scorers(names, threads=settings.threads) as scorers:
        _check_columns(scorers)
        sources = found_images(images, settings, progress)
        with ScoreRecord(table) as record:
            if table.exists() and not overwrite and not record.owns(table):
                msg = (
                    f"{table} was not written by this command, or was changed since. Name another "
                    "table, or pass --overwrite to replace it."
                )
                raise TagstackError(msg)
            counts = score_pictures(sources, scorers, record, settings, progress)
            record.name_scorers((s.name, s.fingerprint) for s in scorers)
            _write(table, sources, record, counts)
            return _summary(table, sources, scorers, record, counts)


def _check_columns(scorers: tuple[Scorer, ...]) -> None:
    for scorer in scorers:
        if scorer.name.casefold() in _OWN:
            msg = f"A scorer is called {scorer.name!r}, as a column of every table. Rename it."
            raise TagstackError(msg)


def _write(table: Path, sources: ImageSources, record: ScoreRecord, counts: ScoringCounts) -> None:
    rows = _rows(sources, record, counts)
    columns = ("image", *record.scorers, "error")
    with written_whole(table) as temporary:
        if table.suffix == ".parquet":
            _parquet(temporary, columns, list(rows))
        else:
            # Names keep their bytes, so that the file is found again by what the table says.
            with temporary.open(
                "w", encoding="utf-8", errors="surrogateescape", newline=""
            ) as stream:
                writer = TableWriter(stream)
                writer.writerow(columns)
                writer.writerows(rows)
        record.name_table(file_sha256(temporary))


def _rows(
    sources: ImageSources, record: ScoreRecord, counts: ScoringCounts
) -> Iterator[tuple[object, ...]]:
    failed = {failure.name: failure.reason for failure in counts.failures}
    keys = tuple(record.scorers.values())
    for name in sources.names:
        if name in failed:
            yield (name, *[None] * len(keys), failed[name])
        else:
            sha256 = record.pictures[name].sha256
            values = (record.value(sha256, key) for key in keys)
            yield (name, *(None if np.isnan(v) else float(f"{v:.9g}") for v in values), "")


def _parquet(path: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    import pyarrow
    from pyarrow import parquet

    types = [pyarrow.string(), *[pyarrow.float64()] * (len(columns) - 2), pyarrow.string()]
    shown = [(printable(str(name)), *rest) for name, *rest in rows]
    parts = [pyarrow.array([row[i] for row in shown], type=kind) for i, kind in enumerate(types)]
    parquet.write_table(pyarrow.table(parts, names=list(columns)), path)


def _summary(
    table: Path,
    sources: ImageSources,
    scorers: tuple[Scorer, ...],
    record: ScoreRecord,
    counts: ScoringCounts,
) -> QualityScores:
    failed = {failure.name for failure in counts.failures}
    contents = [record.pictures[name].sha256 for name in sources.names if name not in failed]
    ranges: dict[str, tuple[float, float, float]] = {}
    without: dict[str, int] = {}
    for scorer in scorers:
        values = np.array([record.value(sha256, scorer.fingerprint) for sha256 in contents])
        some = values[~np.isnan(values)]
        without[scorer.name] = len(values) - len(some)
        if len(some):
            low, middle, high = np.quantile(some, [0, 0.5, 1])
            ranges[scorer.name] = (float(low), float(middle), float(high))
    n_passed_over = sum(sources.passed_over.values())
    through = counts.n_scored + counts.n_current + len(counts.failures) + n_passed_over
    if through != sources.n_found:
        msg = (
            f"{sources.n_found} files were found, but {through} were scored, known, failed or "
            "passed over. This is a fault of tagstack. Please report it."
        )
        raise TagstackError(msg)
    return QualityScores(
        scorers=tuple(scorer.name for scorer in scorers),
        n_found=sources.n_found,
        n_scored=counts.n_scored,
        n_current=counts.n_current,
        n_failed=len(counts.failures),
        n_passed_over=n_passed_over,
        ranges=ranges,
        without=without,
        lower_is_better=tuple(s.name for s in scorers if s.lower_is_better),
        failures=counts.failures,
        scores=table,
    )


@dataclass(frozen=True, kw_only=True)
class ScorerRow:
    """A scorer that can be used by name: what it measures, and who offers it."""

    name: str
    title: str
    meaning: str
    lower_is_better: bool
    package: str


def known_scorers() -> tuple[ScorerRow, ...]:
    """Return every scorer that can be used by name; one that is broken is left to `doctor`."""
    rows = []
    for name in SCORERS.names():
        try:
            with opened_scorers((name,), threads=1) as (scorer,):
                rows.append(
                    ScorerRow(
                        name=name,
                        title=scorer.title,
                        meaning=scorer.meaning,
                        lower_is_better=scorer.lower_is_better,
                        package=SCORERS.offer(name).package,
                    )
                )
        except TagstackError:
            continue
    return tuple(rows)
