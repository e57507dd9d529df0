"""Decisions out as labels or sidecars, and in from them."""

from pathlib import Path

from tagstack.base_models.pictures.images import file_content
from tagstack.base_models.scoring.sources import find_images
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.files import load_bundle, refuse_existing
from tagstack.ensemble.feedback.label_rows import (
    decided_rows,
    keep_labels,
    write_labels,
    write_sidecars,
)
from tagstack.ensemble.feedback.store import FILE, DecisionStore
from tagstack.ensemble.review.consequences import Consequences
from tagstack.meta.labels.label_files import SIDECARS, read_labels


def export_labels(
    review: Path, out: Path, *, bundle: Path | None, labels: Path | None, overwrite: bool
) -> int:
    """Write the decisions of a review as labels; return of how many images.

    Parameters
    ----------
    review : Path
        Folder of the review.
    out : Path
        A ``.csv`` or ``.jsonl`` file; a folder for sidecars.
    bundle : Path, optional
        By whose rules a tag implies others.
    labels : Path, optional
        Labels or sidecars from before, which the decisions correct.
    overwrite : bool

    Raises
    ------
    TagstackError
        If there are no decisions, or something is in the way.
    """
    if not (review / FILE).is_file():
        msg = f"{review} holds no decisions ({FILE}). Give the folder that `tagstack review` keeps."
        raise TagstackError(msg)
    refuse_existing(out, overwrite=overwrite)
    implied = None
    if bundle is not None:
        own = load_bundle(bundle)
        implied = Consequences(own.rules.bind(own.vocabulary)).implied
    base = None if labels is None else read_labels(labels)
    write = write_labels if out.suffix else write_sidecars
    with DecisionStore(review / FILE) as store:
        return write(decided_rows(store, implied, base), out)


def import_labels(
    review: Path, images: Path, labels: Path, who: str, sidecars: tuple[str, ...] | None
) -> int:
    """Keep what labels or sidecars say of a folder's pictures as decisions; return how many.

    Raises
    ------
    TagstackError
        If labels, pictures or decisions cannot be read.
    """
    table = read_labels(labels, sidecars=sidecars or SIDECARS)
    settings = load_settings().score
    found = find_images([images], extensions=settings.extensions)

    def content(name: str) -> str:
        return file_content(found.path(name), max_bytes=settings.max_file_bytes).sha256

    review.mkdir(parents=True, exist_ok=True)
    with DecisionStore(review / FILE) as store:
        return keep_labels(store, table, who, found.names, content, (found.origin,))
