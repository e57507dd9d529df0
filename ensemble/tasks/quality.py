"""From a table of scores to quality tags: counted first, then as a table and in captions."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import written_whole
from tagstack.configs.quality_presets import QualityPreset, load_quality_preset
from tagstack.configs.settings import Settings
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.bundle.files import refuse_existing
from tagstack.ensemble.outputs.format import printable
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.workshop.quality.caption_merge import Merge, merge_into_captions
from tagstack.ensemble.workshop.quality.score_columns import ScoreColumns, years_of
from tagstack.ensemble.workshop.quality.tagging import QualityTags, quality_tags

_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class QualityRequest:
    """What is asked.

    Parameters
    ----------
    table : Path
        CSV or Parquet with a row for each picture.
    preset : str
        Name of a shipped one, or path of a TOML file.
    column : str, optional
        Of the score; ``score`` by default, for years ``year`` or a date.
    lower : bool
        Whether a lower score is better, as of BRISQUE.
    by : tuple of str, optional
        Columns of the strata; the preset's by default.
    out : Path, optional
        Table of the tags, ``.csv`` or ``.parquet``.
    captions : Path, optional
        Folder whose captions take up the tags.
    dry_run : bool
        Count and write nothing.
    overwrite : bool
    """

    table: Path
    preset: str
    column: str | None = None
    lower: bool = False
    by: tuple[str, ...] | None = None
    out: Path | None = None
    captions: Path | None = None
    dry_run: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class QualitySummary:
    """What there is, and what was written.

    Parameters
    ----------
    preset, source : str
    n_images, n_tagged : int
    counts : mapping of tag to int
        Every tag of the preset, the best first.
    without : mapping of reason to int
        Pictures that have no tag: no score, too young, no date, below every cut.
    strata : mapping of stratum to int
        Pictures that were ranked together.
    undefined : tuple of str
        What the preset's source leaves open.
    notices : tuple of str
    out : Path or None
    n_captions, n_without_caption : int or None
        None where no captions were asked for.
    kept : tuple of Path
    """

    preset: str
    source: str
    n_images: int
    n_tagged: int
    counts: dict[str, int]
    without: dict[str, int]
    strata: dict[str, int]
    undefined: tuple[str, ...]
    notices: tuple[str, ...]
    out: Path | None = None
    n_captions: int | None = None
    n_without_caption: int | None = None
    kept: tuple[Path, ...] = field(default_factory=tuple)


def tag_quality(request: QualityRequest, settings: Settings, progress: Progress) -> QualitySummary:
    """Count a preset's tags and write them where asked.

    Raises
    ------
    TagstackError
        If table or preset cannot be used, a column is missing or a file is in the way.
    """
    preset = load_quality_preset(request.preset)
    if request.out is not None:
        refuse_existing(request.out, overwrite=request.overwrite)
    columns = ScoreColumns.read(request.table, expected=(request.column or "score", *preset.by))
    score = _score(columns, preset, request)
    found = quality_tags(
        score,
        preset,
        strata=_strata(columns, request.by if request.by is not None else preset.by),
        ids=_ids(columns, preset),
        age_days=time.time() / 86400 - columns.dates("its age needs") if preset.needs_age else None,
        least_stratum=settings.quality.least_stratum,
    )
    notices = _notices(columns, found, -score if request.lower else score, preset)
    for notice in notices:
        progress.notice(notice)
    merge = None
    if not request.dry_run:
        if request.out is not None:
            _write(request.out, columns, score, found)
        if request.captions is not None:
            tags = dict(zip(columns.images, found.tags, strict=True))
            merge = merge_into_captions(request.captions, request.preset, tags, settings)
    return _summary(request, preset, columns, found, notices, merge)


def _score(
    columns: ScoreColumns, preset: QualityPreset, request: QualityRequest
) -> NDArray[np.float64]:
    """Return the score, higher being better."""
    if preset.kind == "year":
        own = {name.casefold() for name in columns.columns}
        if request.column is None and "year" not in own:
            return years_of(columns.dates("the year is taken from; or give a column year"))
        return columns.numbers(request.column or "year", "holds the year")
    score = columns.numbers(request.column or "score", "holds the score (--score COLUMN)")
    return -score if request.lower else score


def _strata(columns: ScoreColumns, by: tuple[str, ...]) -> list[str] | None:
    if not by:
        return None
    use = "the preset ranks within; add it, or name others by --by (--by '' for none)"
    parts = [columns.texts(name, use) for name in by]
    return [
        " / ".join(cell.strip() or "(unknown)" for cell in cells)
        for cells in zip(*parts, strict=True)
    ]


def _ids(columns: ScoreColumns, preset: QualityPreset) -> NDArray[np.float64] | None:
    if not preset.last_id or "id" not in {name.casefold() for name in columns.columns}:
        return None
    return columns.numbers("id", "holds the post's number")


def _notices(
    columns: ScoreColumns, found: QualityTags, score: NDArray[np.float64], preset: QualityPreset
) -> tuple[str, ...]:
    notices = []
    counted = score[[not why for why in found.why]]
    if not len(counted):
        notices.append("no picture has a score to go by: none has a tag")
    elif preset.kind == "rank":
        if len(counted) > 1 and (counted == counted[0]).all():
            notices.append("all scores are equal: every picture lies in the middle")
        else:
            _, n = np.unique(counted, return_counts=True)
            if n.max() > 0.05 * len(counted) and n.max() > 1:
                notices.append(
                    f"{int(n.max())} of {len(counted)} pictures share one score; they share their "
                    "tag too, so that shares differ from the preset's"
                )
    if found.pooled:
        some = ", ".join(printable(name) for name in found.pooled[:_NAMED])
        more = "" if len(found.pooled) <= _NAMED else f" and {len(found.pooled) - _NAMED} more"
        notices.append(f"strata too small to be ranked alone are ranked together: {some}{more}")
    if preset.last_id and "id" not in {name.casefold() for name in columns.columns}:
        notices.append(
            f"the table has no column id: posts above {preset.last_id}, too young for their votes, "
            "are tagged like the others"
        )
    return tuple(notices)


def _write(
    path: Path, columns: ScoreColumns, score: NDArray[np.float64], found: QualityTags
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {
        "image": [printable(name) for name in columns.images],
        "tags": [", ".join(tags) for tags in found.tags],
        "rank": [None if np.isnan(r) else round(float(r), 6) for r in found.rank],
        "stratum": [printable(name) for name in found.strata],
        "no_tag": list(found.why),
    }
    with written_whole(path) as temporary:
        if path.suffix == ".parquet":
            import pyarrow
            from pyarrow import parquet

            types = {name: pyarrow.string() for name in rows} | {"rank": pyarrow.float64()}
            parquet.write_table(
                pyarrow.table(rows, schema=pyarrow.schema(list(types.items()))), temporary
            )
            return
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            table = TableWriter(stream)
            table.writerow(tuple(rows))
            table.writerows(zip(*rows.values(), strict=True))


def _summary(
    request: QualityRequest,
    preset: QualityPreset,
    columns: ScoreColumns,
    found: QualityTags,
    notices: tuple[str, ...],
    merge: Merge | None,
) -> QualitySummary:
    counted = Counter(tag for tags in found.tags for tag in tags)
    none = Counter(
        why or "between or below the cuts"
        for why, tags in zip(found.why, found.tags, strict=True)
        if not tags
    )
    ranked = Counter(
        name for name, why in zip(found.strata, found.why, strict=True) if name and not why
    )
    return QualitySummary(
        preset=request.preset,
        source=preset.source,
        n_images=len(columns.images),
        n_tagged=sum(bool(tags) for tags in found.tags),
        counts={tag: counted[tag] for tag in preset.tags},
        without=dict(none),
        strata=dict(sorted(ranked.items())),
        undefined=preset.undefined,
        notices=notices,
        out=None if request.dry_run else request.out,
        n_captions=None if merge is None else merge.n_merged,
        n_without_caption=None if merge is None else merge.n_missing,
        kept=() if merge is None else merge.kept,
    )
