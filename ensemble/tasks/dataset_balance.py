"""Proposes repeats for the concept folders of a training folder, and writes them for a trainer."""

from collections.abc import Mapping
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.files import refuse_existing
from tagstack.ensemble.workshop.dataset.concepts import Concept, balanced, dataset_toml
from tagstack.ensemble.workshop.dataset.folder import CaptionFolder


def balance_concepts(
    source: Path,
    weights: Mapping[str, float],
    settings: Settings,
    *,
    most: int,
    out: Path | None = None,
    overwrite: bool = False,
) -> tuple[Concept, ...]:
    """Return the concept folders with proposed repeats; write a dataset TOML where asked.

    Parameters
    ----------
    source : Path
    weights : mapping of folder to float
        Wished-for share of an epoch against 1 of the others.
    settings : Settings
    most : int
        Repeats at most.
    out : Path, optional
    overwrite : bool

    Raises
    ------
    TagstackError
        If there is no concept folder with pictures, or a weight names none.
    """
    if out is not None:
        refuse_existing(out, overwrite=overwrite)
    own = settings.dataset
    folder = CaptionFolder.of(
        source, extensions=settings.score.extensions, endings=own.caption_extensions
    )
    concepts = balanced(folder.images, weights, most=most)
    names = [concept.folder for concept in concepts]
    if not concepts:
        msg = f"{source} has no folders with pictures. Give the folder above 10_mychar."
        raise TagstackError(msg)
    if strange := sorted(set(weights) - set(names)):
        msg = f"--weight names {strange}, which are no concept folders. There are: {names[:10]}."
        raise TagstackError(msg)
    if out is not None:
        write_text(out, dataset_toml(str(folder.root), concepts, own.caption_extensions[0]))
    return concepts
