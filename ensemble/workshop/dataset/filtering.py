"""Which pictures a training set leaves out, by the filters that published taggers were made with.

WD's taggers leave out pictures with fewer than 10 general tags and tags on fewer than 600 pictures,
and split by id modulo 1000 (SW-CV-ModelZoo). A picture is left out for the first filter that it
fails, in a fixed order, and near-duplicates are looked for among what is left.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import PurePosixPath

from tagstack.configs.errors import TagstackError

RATINGS = frozenset(("general", "sensitive", "questionable", "explicit", "safe"))


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What a training set demands; what is None or empty demands nothing.

    Parameters
    ----------
    least_general : int
        General tags of a picture.
    least_images : mapping of category to int
        Pictures of a tag of that category; ``"*"`` stands for every other category.
    ratings : tuple of str
        Allowed ones.
    least_side, least_pixels : int
        Of a picture, in pixels.
    created_before, created_after : str
        ISO dates; the first for pictures too young to have votes.
    least_quality : float, optional
    ids : tuple of (int, int, int), optional
        Modulus, first and last remainder that stay.
    near_duplicates : bool
        Whether only one picture of a group of near-duplicates stays.
    """

    least_general: int = 0
    least_images: Mapping[str, int] = field(default_factory=dict)
    ratings: tuple[str, ...] = ()
    least_side: int = 0
    least_pixels: int = 0
    created_before: str = ""
    created_after: str = ""
    least_quality: float | None = None
    ids: tuple[int, int, int] | None = None
    near_duplicates: bool = False

    @property
    def needs_pictures(self) -> bool:
        """Whether pictures must be opened."""
        return bool(self.least_side or self.least_pixels or self.near_duplicates)


def check_filters(filters: Filters, columns: Iterable[Mapping[str, str]]) -> None:
    """Hold filters to what is known: each would leave out every picture, or any, without it.

    Parameters
    ----------
    filters : Filters
    columns : iterable of mapping of str to str
        The rows that a table has for pictures.

    Raises
    ------
    TagstackError
        If a filter or a cell is no date, a filter asks for a column that no row has, for a quality
        that is no number, or for a rating that neither boorus nor the table have.
    """
    rows = list(columns)
    dates = {"--created-before": filters.created_before, "--created-after": filters.created_after}
    for option, text in dates.items():
        if text:
            _check_date(text, option)
            _check_column("created_at", option, rows)
    if any(dates.values()):
        for row in rows:
            _check_date(row["created_at"] or "1970", f"created_at of {row!r:.60}")
    if filters.least_quality is not None:
        if not math.isfinite(filters.least_quality):
            msg = f"--least-quality is {filters.least_quality}. Expected a number."
            raise TagstackError(msg)
        _check_column("quality", "--least-quality", rows)
    known = {row["rating"] for row in rows if row.get("rating")} | RATINGS
    for rating in filters.ratings:
        if rating not in known:
            msg = f"--rating {rating!r} is on no picture. Expected some of {sorted(known)[:12]}."
            raise TagstackError(msg)


def _check_column(name: str, option: str, rows: Sequence[Mapping[str, str]]) -> None:
    if not any(name in row for row in rows):
        msg = f"{option} looks at the column {name!r}, which no picture has; give it by --table."
        raise TagstackError(msg)


def _check_date(text: str, what: str) -> None:
    found = re.fullmatch(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?(?:[T ].*)?", text.strip())
    try:
        if found is None:
            raise ValueError
        date(*(int(part or 1) for part in found.groups()))
    except ValueError as error:
        msg = f"{what}: {text!r:.40} is no ISO date. Expected one such as 2024-12-31."
        raise TagstackError(msg) from error


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of one picture.

    Parameters
    ----------
    name : str
    tags : frozenset of str
    columns : mapping of str to str
        Of the user's table.
    size : (int, int), optional
        Width and height.
    """

    name: str
    tags: frozenset[str]
    columns: Mapping[str, str]
    size: tuple[int, int] | None = None


def reason_of(facts: Facts, filters: Filters, category: Callable[[str], str]) -> tuple[str, str]:
    """Return why a picture is left out: the filter, and what it saw; two empty texts for staying.

    Parameters
    ----------
    facts : Facts
    filters : Filters
    category : callable
        Category of a tag.
    """
    return next(_reasons(facts, filters, category), ("", ""))


def rare_tags(
    counts: Counter[str], filters: Filters, category: Callable[[str], str]
) -> dict[str, int]:
    """Return the tags on too few pictures, with their number."""
    least = filters.least_images
    return {tag: n for tag, n in counts.items() if n < least.get(category(tag), least.get("*", 0))}


def ids_of(text: str) -> tuple[int, int, int]:
    """Return modulus, first and last remainder of a text such as ``1000:0-899``.

    Raises
    ------
    TagstackError
        If it has another form, or a remainder that the modulus cannot leave.
    """
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9})-(\d{1,9})", text.strip())
    modulus, first, last = map(int, found.groups()) if found else (0, 0, 0)
    if not first <= last < modulus:
        msg = f"{text!r} is no range of ids. Expected MODULUS:FIRST-LAST, such as 1000:0-899."
        raise TagstackError(msg)
    return modulus, first, last


def _reasons(
    facts: Facts, filters: Filters, category: Callable[[str], str]
) -> Iterator[tuple[str, str]]:
    columns = facts.columns
    if filters.ids is not None and (why := _fault_of_id(facts, filters.ids)):
        yield "ids", why
    if filters.ratings:
        rating = columns.get("rating") or next(iter(sorted(facts.tags & RATINGS)), "")
        if rating not in filters.ratings:
            yield "rating", rating or "unknown"
    created = columns.get("created_at", "")
    if filters.created_before and not (created and created < filters.created_before):
        yield "created-before", created or "unknown"
    if filters.created_after and not created >= filters.created_after:
        yield "created-after", created or "unknown"
    if filters.least_quality is not None:
        quality = _number(columns.get("quality", ""))
        if quality is None or not quality >= filters.least_quality:
            yield "quality", columns.get("quality") or "unknown"
    if filters.least_general:
        n_general = sum(category(tag) == "general" for tag in facts.tags)
        if n_general < filters.least_general:
            yield "general-tags", str(n_general)
    if filters.least_side or filters.least_pixels:
        width, height = facts.size or (0, 0)
        if min(width, height) < filters.least_side or width * height < filters.least_pixels:
            yield "size", f"{width}x{height}" if facts.size else "unreadable"


def _fault_of_id(facts: Facts, ids: tuple[int, int, int]) -> str:
    """Return what is wrong with an id: the column ``id``, or the digits of the file's name."""
    modulus, first, last = ids
    digits = re.search(r"\d{1,18}", PurePosixPath(facts.name).stem)
    text = facts.columns.get("id") or (digits.group() if digits else "")
    if not re.fullmatch(r"[0-9]{1,18}", text):
        return "no id"
    return "" if first <= int(text) % modulus <= last else f"{int(text) % modulus}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
