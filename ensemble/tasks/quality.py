"""From a table of scores to quality tags: counted first, then as a table and in captions."""

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import written_whole
from tagstack.configs.errors import TagstackError
from tagstack.configs.quality_presets import QualityPreset, load_quality_preset
from tagstack.configs.settings import Settings
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.bundle.files import refuse_existing
from tagstack.ensemble.outputs.format import printable
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.workshop.quality.caption_merge import Merge, merge_into_captions
from tagstack.ensemble.workshop.quality.score_columns import ScoreColumns, day_of, years_of
from tagstack.ensemble.workshop.quality.scorers.opening import built_in_directions
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
    lower : bool, optional
        Whether a lower score is better, as of BRISQUE. By default as the built-in scorer of the
        column's name has it; no, for other columns.
    by : tuple of str, optional
        Columns of the strata; the preset's by default.
    out : Path, optional
        Table of the tags, ``.csv`` or ``.parquet``.
    captions : Path, optional
        Folder whose captions take up the tags.
    dry_run : bool
        Count and write nothing.
    overwrite : bool
    as_of : str, optional
        The date that ages are counted from, so that a later run gives the same; now by default.
    more : Path, optional
        Table with further columns by picture, such as rating and date.
    second : str, optional
        Column of the score that must agree where the preset asks for two; higher is better, or as
        the built-in scorer of its name has it.
    """

    table: Path
    preset: str
    column: str | None = None
    lower: bool | None = None
    by: tuple[str, ...] | None = None
    out: Path | None = None
    captions: Path | None = None
    dry_run: bool = False
    overwrite: bool = False
    as_of: str | None = None
    more: Path | None = None
    second: str | None = None


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
    as_of : str or None
        The moment that ages were counted from, where the preset has a rule about them.
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
    as_of: str | None = None
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
    day = _day(request)
    if request.out is not None:
        refuse_existing(request.out, overwrite=request.overwrite)
    columns = _columns(request, preset)
    lower = _is_lower(request) and preset.kind != "year"
    score = _score(columns, preset, request)
    found = quality_tags(
        -score if lower else score,
        preset,
        strata=_strata(columns, request.by if request.by is not None else preset.by),
        ids=_ids(columns, preset),
        age_days=day - columns.dates("its age needs") if preset.needs_age else None,
        least_stratum=settings.quality.least_stratum,
        second=_second(columns, request),
    )
    if request.out is None and request.captions is None and not request.dry_run:
        msg = "Nothing says where the tags go: give --out FILE, --captions FOLDER, or --dry-run."
        raise TagstackError(msg)
    notices = (*_told(request, preset, lower), *_notices(columns, found, score, preset))
    for notice in notices:
        progress.notice(notice)
    merge = None
    if not request.dry_run:
        if request.out is not None:
            _write(request.out, columns, found)
        if request.captions is not None:
            tags = dict(zip(columns.images, found.tags, strict=True))
            merge = merge_into_captions(request.captions, request.preset, tags, settings)
    as_of = _moment(day) if preset.needs_age else None
    return _summary(request, preset, columns, found, notices, merge, as_of)


def _day(request: QualityRequest) -> float:
    """Return the days since 1970 of the moment that ages are counted from."""
    if request.as_of is None:
        return time.time() / 86400
    day = day_of(request.as_of, "--as-of")
    if np.isnan(day):
        msg = f"--as-of: {request.as_of!r:.60} is no date; expected one such as 2024-05-31."
        raise TagstackError(msg)
    return day


def _moment(day: float) -> str:
    return datetime.fromtimestamp(round(day * 86400), UTC).isoformat()


def _columns(request: QualityRequest, preset: QualityPreset) -> ScoreColumns:
    expected = (request.column or "score", *preset.by)
    columns = ScoreColumns.read(request.table, expected=expected)
    if request.more is None:
        return columns
    return columns.joined(ScoreColumns.read(request.more, expected=expected))


def _is_lower(request: QualityRequest) -> bool:
    if request.lower is not None:
        return request.lower
    return built_in_directions().get((request.column or "score").casefold(), False)


def _told(request: QualityRequest, preset: QualityPreset, lower: bool) -> tuple[str, ...]:
    """Return what was decided for the user, to be said."""
    said = []
    if lower and request.lower is None:
        said.append(
            f"the lowest {request.column} is taken for the best, as its scorer has it; "
            "--higher-is-better says otherwise"
        )
    if preset.needs_age and request.as_of is None:
        said.append("ages are counted from now: give --as-of DATE for the same tags on another day")
    if preset.has_second and request.second is None:
        said.append(
            "the preset asks for two scores at one end; one decides: --second-score names another"
        )
    if request.second is not None and not preset.has_second:
        said.append("--second-score changes nothing: the preset asks for one score")
    if request.as_of is not None and not preset.needs_age:
        said.append("--as-of changes nothing: the preset has no rule about ages")
    return tuple(said)


def _score(
    columns: ScoreColumns, preset: QualityPreset, request: QualityRequest
) -> NDArray[np.float64]:
    """Return the score as it stands in the table, or the year."""
    if preset.kind == "year":
        own = {name.casefold() for name in columns.columns}
        if request.column is None and "year" not in own:
            return years_of(columns.dates("the year is taken from; or give a column year"))
        return columns.numbers(request.column or "year", "holds the year")
    return columns.numbers(request.column or "score", "holds the score (--score COLUMN)")


def _second(columns: ScoreColumns, request: QualityRequest) -> NDArray[np.float64] | None:
    if request.second is None:
        return None
    score = columns.numbers(request.second, "holds the second score (--second-score)")
    return -score if built_in_directions().get(request.second.casefold(), False) else score


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


def _write(path: Path, columns: ScoreColumns, found: QualityTags) -> None:
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
    as_of: str | None,
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
        as_of=as_of,
        out=None if request.dry_run else request.out,
        n_captions=None if merge is None else merge.n_merged,
        n_without_caption=None if merge is None else merge.n_missing,
        kept=() if merge is None else merge.kept,
    )
