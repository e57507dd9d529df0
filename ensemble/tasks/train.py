"""From pictures and labels to a tagger of one's own: `tagstack train`.

Labels give the vocabulary. Whole groups of pictures (copies, what looks alike, an artist) are left
out; they say when to stop and which thresholds to publish. Needs the extra ``train``.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import write_text
from tagstack.base_models.contract import CONTRACT_FILE, Input
from tagstack.base_models.pictures.preprocess import framing_from_input
from tagstack.base_models.scoring.sources import ImageSources, find_images
from tagstack.base_models.training.libraries import require_torch
from tagstack.base_models.training.thresholds import best_thresholds
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.tasks.training_material import NAMED, parted_material
from tagstack.meta.labels.image_names import match_names
from tagstack.meta.labels.label_files import LabelTable, read_labels
from tagstack.meta.labels.labels import AlignedLabels, align_labels
from tagstack.meta.metrics.counts import defined_mean
from tagstack.meta.metrics.ranking import known_average_precision

if TYPE_CHECKING:
    from torch import nn

    from tagstack.base_models.training.architectures import Start
    from tagstack.base_models.training.checkpoint import Position
    from tagstack.base_models.training.export import Published
    from tagstack.base_models.training.loop import Material
    from tagstack.base_models.training.pixels import FramedImages

WORK = "training"  # below the tagger's folder: pixels and checkpoint, gone when it is done
_PROOF_IMAGES = 16


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What is asked.

    Parameters
    ----------
    images : tuple of Path
    labels : Path or LabelTable
        CSV, JSONL or a folder of sidecars, or their rows.
    start : str
        Architecture, weights on disk, or a tagger of `train`.
    out : Path
        Folder of the new tagger; its name becomes the tagger's.
    where : str, optional
        ``COLUMN=VALUE``: only these label rows.
    left_out : str, optional
        ``COLUMN=VALUE``: the rows that judge; by default whole groups are drawn.
    group : str, optional
        Column whose equal values no split may part.
    sidecars : tuple of str, optional
    overwrite : bool
    """

    images: tuple[Path, ...]
    labels: Path | LabelTable
    start: str
    out: Path
    where: str | None = None
    left_out: str | None = None
    group: str | None = None
    sidecars: tuple[str, ...] | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What was trained.

    Parameters
    ----------
    out : Path
    architecture : str
    n_parameters, size, n_tags, n_training, n_left_out : int
    n_epochs, best_epoch : int
    macro_ap : float
        On left-out pictures, over the tags that occur there; the epoch was chosen by it.
    scores : tuple of float
        The same after every epoch.
    seconds : float
        In steps of training.
    difference : float
        Largest between probabilities of the ONNX file and of torch.
    device : str
    notices : tuple of str
    """

    out: Path
    architecture: str
    n_parameters: int
    size: int
    n_tags: int
    n_training: int
    n_left_out: int
    n_epochs: int
    best_epoch: int
    macro_ap: float
    scores: tuple[float, ...]
    seconds: float
    difference: float
    device: str
    notices: tuple[str, ...]

    def plain(self) -> dict[str, object]:
        """Return the answer of ``train --json``."""
        return {**asdict(self), "out": str(self.out)}


def train_tagger(request: TrainRequest, settings: Settings, progress: Progress) -> Trained:
    """Train a tagger and write its folder; a run that was ended goes on where it was.

    Raises
    ------
    TagstackError
        If torch is not installed, pictures, labels or weights cannot be used, or the folder holds
        something else.
    """
    require_torch()
    from tagstack.base_models.training.architectures import colours_of, size_of, start_from

    _check_out(request)
    table = _table(request, settings)
    start = start_from(request.start)
    contract = _input(size_of(start, settings.train.size), colours_of(start))
    work = request.out / WORK
    work.mkdir(parents=True, exist_ok=True)
    sources = find_images(request.images, extensions=settings.score.extensions)
    framed = _framed(sources, table, contract, settings, work, progress)
    vocabulary = _vocabulary(table, settings.train.least_positives)
    aligned = align_labels(table, framed.names, vocabulary, roots=[sources.origin])
    material, notices = parted_material(
        table, framed, aligned, settings, group=request.group, left_out=request.left_out
    )
    failed = [f"{name} cannot be read: {reason}" for name, reason in framed.failures[:NAMED]]
    told = (*failed, *_said(aligned, settings.train.least_positives), *notices)
    for notice in told:
        progress.notice(notice)
    made = _Made(request, settings, start, contract, vocabulary, framed, material, told)
    found = made.trained(work, progress)
    shutil.rmtree(work)
    return found


@dataclass(frozen=True)
class _Made:
    """Everything that a training is made of."""

    request: TrainRequest
    settings: Settings
    start: "Start"
    contract: Input
    vocabulary: Vocabulary
    framed: "FramedImages"
    material: "Material"
    notices: tuple[str, ...]

    def trained(self, work: Path, progress: Progress) -> Trained:
        """Train to the end and write the tagger."""
        import torch

        from tagstack.base_models.training.architectures import n_parameters, network_of
        from tagstack.base_models.training.export import export_tagger, trained_contract
        from tagstack.base_models.training.loop import Training
        from tagstack.base_models.training.steps import chosen_device

        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        size, device, seed = self.contract.height_width[0], chosen_device(), self.settings.seed
        network = network_of(self.start, self.vocabulary.tags, size, seed)
        run = Training(
            network, self.material, self.settings.train, self.contract, seed=seed, device=device
        )
        position = run.run(work, self._digest(), macro_average_precision, progress.stage)
        best = run.best.to("cpu").eval()
        progress.stage("writing the tagger")
        published = self._published(best)
        source = f"tagstack train --from {Path(self.request.start).name}, seed {seed}"
        name = _name(self.request.out)
        colours = (self.contract.mean or (), self.contract.std or ())
        contract = trained_contract(name, source, size, colours, published)
        proof = np.asarray(self.material.pixels[self.material.left_out[:_PROOF_IMAGES]])
        # The record first and the contract last: a folder without a contract is no tagger yet.
        write_text(self.request.out / "training.json", self._record(position, device))
        difference = export_tagger(self.request.out, contract, best, published, proof)
        return Trained(
            out=self.request.out,
            architecture=self.start.architecture,
            n_parameters=n_parameters(best),
            size=size,
            n_tags=len(self.vocabulary),
            n_training=len(self.material.training),
            n_left_out=len(self.material.left_out),
            n_epochs=position.epoch,
            best_epoch=position.best_epoch,
            macro_ap=position.best_score,
            scores=tuple(position.scores),
            seconds=position.seconds,
            difference=difference,
            device=device,
            notices=self.notices,
        )

    def _digest(self) -> str:
        from tagstack.base_models.atomic import file_sha256
        from tagstack.base_models.training.export import digest_of

        weights = self.start.weights and file_sha256(self.start.weights)
        labels = self.material.labels
        train = self.settings.train.model_dump(exclude={"checkpoint_seconds"})
        return digest_of(
            self.start.architecture, weights, self.contract.model_dump(), train,
            self.settings.seed, self.vocabulary.tags, self.framed.contents,
            labels.indptr.tolist(), labels.indices.tolist(), self.material.training.tolist(),
        )  # fmt: skip

    def _published(self, network: "nn.Module") -> "Published":
        from tagstack.base_models.training.export import Published
        from tagstack.base_models.training.steps import network_proba

        material = self.material
        labels, known = material.truth(material.left_out)
        parts = [
            network_proba(network, self.contract, material.pixels[material.left_out[i : i + 512]])
            for i in range(0, len(material.left_out), 512)
        ]
        proba = np.concatenate(parts)
        thresholds = best_thresholds(proba, labels, known)
        thresholds[~labels.any(axis=0)] = np.nan
        pooled = best_thresholds(proba.reshape(-1, 1), labels.reshape(-1, 1), known.reshape(-1, 1))
        trained = np.sort(material.training)
        return Published(
            vocabulary=self.vocabulary,
            thresholds=thresholds,
            default_threshold=round(float(pooled[0]), 3),
            counts=np.asarray(material.labels[trained].sum(axis=0), np.int64).ravel(),
            contents=[self.framed.contents[i] for i in trained],
        )

    def _record(self, position: "Position", device: str) -> str:
        import torch

        from tagstack.base_models.training.architectures import record_text

        return record_text({
            "from": Path(self.request.start).name,
            "architecture": self.start.architecture,
            "size": self.contract.height_width[0],
            "seed": self.settings.seed,
            "settings": self.settings.train.model_dump(mode="json"),
            "n_training": len(self.material.training),
            "n_left_out": len(self.material.left_out),
            "macro_ap": position.scores,
            "losses": position.losses,
            "best_epoch": position.best_epoch,
            "seconds": round(position.seconds, 1),
            "torch": torch.__version__,
            "device": device,
            "notices": self.notices,
            "tags": self.vocabulary.tags,
        })  # fmt: skip


def macro_average_precision(
    proba: NDArray[np.float32], labels: NDArray[np.bool_], known: NDArray[np.bool_]
) -> float:
    """Return the mean average precision over the tags with known positives; 0 without any.

    Parameters
    ----------
    proba : array of shape (n_images, n_tags), float32
    labels, known : array of shape (n_images, n_tags), bool
    """
    return float(np.nan_to_num(defined_mean(known_average_precision(proba, labels, known))))


def _check_out(request: TrainRequest) -> None:
    out = request.out
    if request.overwrite and (out / WORK).is_dir():
        shutil.rmtree(out / WORK)
    if (out / CONTRACT_FILE).exists() and not request.overwrite:
        msg = f"{out} holds a tagger already. Train into another folder, or say --overwrite."
        raise TagstackError(msg)
    if out.is_dir() and not request.overwrite and not (out / WORK).is_dir() and any(out.iterdir()):
        msg = f"{out} is not empty and holds no training; expected a new folder for the tagger."
        raise TagstackError(msg)


def _name(out: Path) -> str:
    name = re.sub(r"[^a-z0-9._-]+", "-", out.resolve().name.lower()).strip("-._")
    return name[:80] or "trained"


def _table(request: TrainRequest, settings: Settings) -> LabelTable:
    table = request.labels
    if isinstance(table, Path):
        sidecars = request.sidecars or settings.labels.sidecar_extensions
        table = read_labels(table, sidecars=sidecars)
    return table.where(request.where)


def _input(size: int, colours: tuple[tuple[float, ...], tuple[float, ...]]) -> Input:
    mean, std = colours
    return Input.model_validate({
        "layout": "NCHW", "colour": "RGB", "size": size, "geometry": "fit_pad",
        "resample": "bicubic", "mean": mean, "std": std, "batch": "dynamic",
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
