"""From pictures and labels on disk to what a network learns from: pixels, tags, two sides."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tagstack.base_models.contract import Channels, Input, Resample
from tagstack.base_models.pictures.preprocess import framing_from_input
from tagstack.base_models.scoring.sources import ImageSources, find_images
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.training.material import NAMED, Parted, parted_material
from tagstack.ensemble.training.request import TrainRequest
from tagstack.meta.labels.image_names import match_names
from tagstack.meta.labels.label_files import LabelTable, read_labels
from tagstack.meta.labels.labels import AlignedLabels, align_labels

if TYPE_CHECKING:
    from tagstack.base_models.training.pixels import FramedImages
    from tagstack.base_models.training.starts import Start


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything that decides a training.

    Parameters
    ----------
    request : TrainRequest
    settings : Settings
    start : Start
    contract : Input
    vocabulary : Vocabulary
    framed : FramedImages
    parted : Parted
    notices : tuple of str
    """

    request: TrainRequest
    settings: Settings
    start: "Start"
    contract: Input
    vocabulary: Vocabulary
    framed: "FramedImages"
    parted: Parted
    notices: tuple[str, ...]


def prepared(request: TrainRequest, settings: Settings, work: Path, progress: Progress) -> Prepared:
    """Return what a training is made of; its pixels lie in ``work``, which is made.

    Raises
    ------
    TagstackError
        If pictures, labels or weights cannot be used.
    """
    from tagstack.base_models.training.architectures import colours_of, size_of
    from tagstack.base_models.training.starts import start_from

    table = label_rows(request, settings)
    start = start_from(request.start)
    contract = _input(size_of(start, settings.train.size), colours_of(start), start.resample)
    work.mkdir(parents=True, exist_ok=True)
    sources = find_images(request.images, extensions=settings.score.extensions)
    framed = _framed(sources, table, contract, settings, work, progress)
    vocabulary = _vocabulary(table, settings.train.least_positives)
    aligned = align_labels(table, framed.names, vocabulary, roots=[sources.origin])
    parted = parted_material(
        table, framed, aligned, settings,
        group=request.group, left_out=request.left_out, against=request.against,
    )  # fmt: skip
    failed = [f"{name} cannot be read: {reason}" for name, reason in framed.failures[:NAMED]]
    return Prepared(
        request=request,
        settings=settings,
        start=start,
        contract=contract,
        vocabulary=vocabulary,
        framed=framed,
        parted=parted,
        notices=(*failed, *_said(aligned, settings.train.least_positives), *parted.notices),
    )


def label_rows(request: TrainRequest, settings: Settings) -> LabelTable:
    """Return the label rows that are meant."""
    table = request.labels
    if isinstance(table, Path):
        sidecars = request.sidecars or settings.labels.sidecar_extensions
        return read_labels(table, sidecars=sidecars, where=request.where)
    return table.where(request.where)


def _input(size: int, colours: tuple[Channels, Channels], resample: Resample) -> Input:
    """Return how pictures are seen: whole, on white."""
    mean, std = colours
    return Input.model_validate({
        "layout": "NCHW", "colour": "RGB", "size": size, "geometry": "fit_pad",
        "resample": resample, "mean": mean, "std": std, "batch": "dynamic",
    })  # fmt: skip


def _framed(
    sources: ImageSources,
    table: LabelTable,
    contract: Input,
    settings: Settings,
    work: Path,
    progress: Progress,
) -> "FramedImages":
    """Return the labelled pictures; those without labels are not read."""
    from tagstack.base_models.training.pixels import framed_images

    if table.by_stem:
        stems = {row.image for row in table.rows}
        names = [n for n in sources.names if n in stems or n.rpartition(".")[0] in stems]
    else:
        asked = [row.image for row in table.rows]
        meant = match_names(asked, sources.names, roots=[sources.origin]).found
        names = [sources.names[i] for i in sorted({i for own in meant.values() for i in own})]
    if not names:
        msg = (
            f"None of the {len(table.rows)} rows of {table.source} names one of the "
            f"{len(sources.names)} pictures: it names {table.rows[0].image!r}, the folder has "
            f"{sources.names[0]!r}. Write paths relative to the folder of pictures."
        )
        raise TagstackError(msg)
    framing = framing_from_input(contract, scaled_decoding=settings.score.scaled_decoding)
    threads = settings.threads or 2
    return framed_images(
        sources, names, framing, settings.score, work, threads=threads, told=progress.stage
    )


def _vocabulary(table: LabelTable, least: int) -> Vocabulary:
    counts: dict[str, int] = {}
    for row in table.rows:
        for tag in set(row.tags):
            counts[tag] = counts.get(tag, 0) + 1
    tags = tuple(sorted(tag for tag, count in counts.items() if count >= least))
    if not tags:
        most = max(counts.values(), default=0)
        msg = (
            f"No tag of {table.source} is on {least} pictures (train.least_positives); the most "
            f"frequent is on {most}. Label more pictures, or lower it."
        )
        raise TagstackError(msg)
    return Vocabulary(tags, ("general",) * len(tags))


def _said(aligned: AlignedLabels, least: int) -> Iterator[str]:
    """Yield what is said of the labels; tags that are too rare in the words of a training."""
    yield from (own for own in aligned.notices if "known to no tagger" not in own)
    if aligned.foreign:
        named = ", ".join(f"{tag} ({n})" for tag, n in aligned.foreign.most_common(NAMED))
        more = ", ..." if len(aligned.foreign) > NAMED else ""
        yield (
            f"{len(aligned.foreign)} tags are on fewer than {least} pictures "
            f"(train.least_positives) and are not learnt: {named}{more}"
        )
