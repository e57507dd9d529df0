"""Says what a training set leaves out and why; moves it aside only where that is asked for."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.atomic import written_whole
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.tables import TableWriter, read_table
from tagstack.ensemble.bundle.files import refuse_existing
from tagstack.ensemble.outputs.format import printable
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.workshop.changing_alone import changing_alone
from tagstack.ensemble.workshop.dataset.caption_text import key_of
from tagstack.ensemble.workshop.dataset.filtering import (
    Facts,
    Filters,
    check_filters,
    rare_tags,
    reason_of,
)
from tagstack.ensemble.workshop.dataset.folder import CaptionFolder
from tagstack.ensemble.workshop.dataset.pictures import MeasuredPictures
from tagstack.ensemble.workshop.dataset.reading import tags_of_pictures, writing_of
from tagstack.ensemble.workshop.dataset.undo import FolderChanges, Move
from tagstack.meta.labels.image_names import match_names

LEFT_OUT = ".left-out"
# Danbooru's numbers of categories, as WD's tag files have them.
_NUMBERS = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta",
            "9": "rating"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FilterRequest:
    """What is asked.

    Parameters
    ----------
    folder : Path
    filters : Filters
    out : Path
        Manifest: CSV of what is left out and why.
    table : Path, optional
        CSV with a column ``image`` and any of ``id``, ``rating``, ``created_at``, ``quality``.
    vocabulary : Path, optional
        CSV with columns ``name`` or ``tag``, and ``category``; without, every tag is general.
    apply : bool
        Move what is left out.
    overwrite : bool
    """

    folder: Path
    filters: Filters
    out: Path
    table: Path | None = None
    vocabulary: Path | None = None
    apply: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """What was left out.

    Parameters
    ----------
    n_images, n_kept : int
    reasons : dict of str to int
        Pictures by the filter that they fail first.
    n_rare_tags : int
        Tags on too few of the pictures that stay; the manifest names them.
    n_moved : int
        Files.
    stayed : tuple of (str, str)
        Files that could not be moved, and why.
    out : Path
    undo : Path or None
    """

    n_images: int
    n_kept: int
    reasons: dict[str, int]
    n_rare_tags: int
    n_moved: int
    stayed: tuple[tuple[str, str], ...]
    out: Path
    undo: Path | None


def filter_pictures(request: FilterRequest, settings: Settings, progress: Progress) -> Filtered:
    """Write which pictures and tags a training set leaves out, and move them where asked.

    Raises
    ------
    TagstackError
        If folder, table or vocabulary cannot be used, or the manifest is in the way.
    """
    refuse_existing(request.out, overwrite=request.overwrite)
    changes = request.apply and request.folder.is_dir()
    with changing_alone(request.folder, changes=changes):
        return _filtered(request, settings, progress)


def _filtered(request: FilterRequest, settings: Settings, progress: Progress) -> Filtered:
    own = settings.dataset
    folder = CaptionFolder.of(
        request.folder, extensions=settings.score.extensions, endings=own.caption_extensions
    )
    category = _categories(request.vocabulary)
    left_out, counts = _left_out(request, folder, settings, category, progress)
    rare = rare_tags(counts, request.filters, category)
    _write(request.out, left_out, rare)
    moves = _moves(folder, left_out) if request.apply else []
    changes = FolderChanges(folder.root, lambda n: progress.stage("moving files", n, len(moves)))
    stayed = changes.move(moves)
    return Filtered(
        n_images=len(folder.images),
        n_kept=len(folder.images) - len(left_out),
        reasons=dict(Counter(reason for reason, _ in left_out.values()).most_common()),
        n_rare_tags=len(rare),
        n_moved=changes.n_changed,
        stayed=tuple(stayed),
        out=request.out,
        undo=changes.path,
    )


def _left_out(
    request: FilterRequest,
    folder: CaptionFolder,
    settings: Settings,
    category: Callable[[str], str],
    progress: Progress,
) -> tuple[dict[str, tuple[str, str]], Counter[str]]:
    """Return why each picture is left out, and on how many of the others each tag is."""
    filters, measured = request.filters, MeasuredPictures(folder, settings.score)
    columns = columns_of(request.table, folder)
    check_filters(filters, columns.values())
    left_out: dict[str, tuple[str, str]] = {}
    pixels: dict[str, int] = {}
    tags_of: dict[str, frozenset[str]] = {}
    counts: Counter[str] = Counter()
    for image, tags in tags_of_pictures(folder, writing_of(folder), progress):
        size = measured.size(image) if filters.needs_pictures else None
        facts = Facts(name=image, tags=tags, columns=columns.get(image, {}), size=size)
        reason, seen = reason_of(facts, filters, category)
        if reason:
            left_out[image] = reason, seen
            continue
        counts.update(tags)
        if filters.near_duplicates:
            pixels[image], tags_of[image] = (size[0] * size[1] if size else 0), tags
    if filters.near_duplicates:
        for image, kept in _copies(pixels, measured, progress).items():
            left_out[image] = "near-duplicate", f"of {kept}"
            counts.subtract(tags_of[image])
    return left_out, counts


def _copies(
    pixels: Mapping[str, int], measured: MeasuredPictures, progress: Progress
) -> dict[str, str]:
    """Return near-duplicates and what stays for each: the largest picture, the first of equals."""
    names = tuple(pixels)
    groups: defaultdict[int, list[str]] = defaultdict(list)
    for name, group in zip(names, measured.groups(names, progress).tolist(), strict=True):
        groups[group].append(name)
    found = {}
    for own in groups.values():
        kept = min(own, key=lambda name: (-pixels[name], name))
        found.update({name: kept for name in own if name != kept})
    return found


def _moves(folder: CaptionFolder, left_out: Mapping[str, object]) -> list[Move]:
    """Return the moves of pictures, each after its captions that no picture needs any more."""
    needed = {
        caption
        for image, own in folder.captions_of.items()
        if image not in left_out
        for caption in own
    }
    names = [
        name
        for image in sorted(left_out)
        for name in (*(c for c in folder.captions_of[image] if c not in needed), image)
    ]
    return [Move(name, f"{LEFT_OUT}/{name}") for name in dict.fromkeys(names)]


def columns_of(path: Path | None, folder: CaptionFolder) -> dict[str, Mapping[str, str]]:
    """Return the row of a table that each picture has; none without a table."""
    if path is None:
        return {}
    expected = ("image", "id", "rating", "created_at", "quality")
    table = read_table(path, what="table", expected=expected, errors="surrogateescape")
    column = table.first_of("image", "filename", "file_name", "file", "path")
    if column is None:
        msg = f"{path} lacks the column 'image'. It has {table.shown}."
        raise TagstackError(msg)
    rows: dict[str, Mapping[str, str]] = {}
    for row in table.rows:
        name = row.cells[column]
        if rows.setdefault(name, row.cells) != row.cells:
            msg = (
                f"{path}, line {row.line}: {name!r} is there twice, with different cells. Keep one."
            )
            raise TagstackError(msg)
    matched = match_names(tuple(rows), folder.images, roots=(str(folder.root),))
    if same := matched.doubled():
        raise TagstackError(f"{path}: {same[0]!r} and {same[1]!r} are one picture. Keep one row.")
    found = matched.found
    if not found and folder.images:
        msg = (
            f"{path} names none of the {len(folder.images)} pictures: it has "
            f"{next(iter(rows), 'no row')!r}, the folder {folder.images[0]!r}."
        )
        raise TagstackError(msg)
    return {folder.images[i]: rows[name] for name, meant in found.items() for i in meant}


def _categories(path: Path | None) -> Callable[[str], str]:
    """Return what tells a tag's category; without a vocabulary every tag is general."""
    if path is None:
        return lambda _: "general"
    table = read_table(path, what="vocabulary", expected=("name", "tag", "category"))
    name, kind = table.first_of("name", "tag"), table.first_of("category")
    if name is None or kind is None:
        msg = f"{path} has {table.shown}. Expected columns 'name' (or 'tag') and 'category'."
        raise TagstackError(msg)
    known = {
        key_of(row.cells[name]): _NUMBERS.get(row.cells[kind], row.cells[kind])
        for row in table.rows
    }
    return lambda tag: known.get(tag, "unknown")


def _write(path: Path, left_out: Mapping[str, tuple[str, str]], rare: Mapping[str, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        written_whole(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        table = TableWriter(stream)
        table.writerow(("what", "name", "reason", "detail"))
        for image in sorted(left_out):
            table.writerow(map(printable, ("image", image, *left_out[image])))
        for tag in sorted(rare):
            table.writerow(("tag", tag, "rare-tag", str(rare[tag])))
