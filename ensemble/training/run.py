"""One training: from prepared material to the network of the best epoch, and its tagger."""

import re
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import write_text
from tagstack.base_models.training.thresholds import best_thresholds
from tagstack.ensemble.training.bias import bias_of
from tagstack.ensemble.training.preparing import Prepared
from tagstack.ensemble.training.request import Against, Bias, Trained, Trial
from tagstack.meta.metrics.counts import defined_mean
from tagstack.meta.metrics.ranking import known_average_precision

if TYPE_CHECKING:
    from torch import nn

    from tagstack.base_models.training.checkpoint import Position
    from tagstack.base_models.training.export import Published
    from tagstack.base_models.training.loop import Stop
    from tagstack.base_models.training.pixels import Told

_PROOF_IMAGES = 16
_WITHOUT_EFFECT = {"checkpoint_seconds", "search_sizes", "search_hours"}  # on one training


class Run:
    """One training of what was prepared.

    Parameters
    ----------
    made : Prepared

    Attributes
    ----------
    notices : tuple of str
        Of what was prepared and of the weights.
    """

    def __init__(self, made: Prepared) -> None:
        import torch

        from tagstack.base_models.training.architectures import network_of
        from tagstack.base_models.training.loop import Training
        from tagstack.base_models.training.steps import chosen_device

        self._made, settings = made, made.settings
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._device = chosen_device()
        size, tags = made.contract.height_width[0], made.vocabulary.tags
        said: list[str] = []
        self._training = Training(
            network_of(made.start, tags, size, settings.seed, said.append),
            made.parted.material,
            settings.train,
            made.contract,
            seed=settings.seed,
            device=self._device,
        )
        self.notices = (*made.notices, *said)

    def train(self, work: Path, told: "Told", stop: "Stop | None" = None) -> "Position":
        """Train to the end, or go on from where ``work`` says; return where it ended."""
        return self._training.run(work, self._digest(), macro_average_precision, told, stop)

    def write(self, position: "Position", told: "Told", trials: tuple[Trial, ...] = ()) -> Trained:
        """Write the tagger of the best epoch.

        Raises
        ------
        TagstackError
            If its ONNX file disagrees with the network.
        """
        from tagstack.base_models.training.architectures import n_parameters
        from tagstack.base_models.training.export import export_tagger, trained_contract

        made = self._made
        out, size, material = made.request.out, made.contract.height_width[0], made.parted.material
        best = self._training.best.to("cpu").eval()
        told("writing the tagger", 0, 0)
        published, against = self._published(best), self._against(best, told)
        source = f"tagstack train --from {Path(made.request.start).name}, seed {made.settings.seed}"
        contract = trained_contract(_name(out), source, made.contract, published)
        proof = np.asarray(material.pixels[material.left_out[:_PROOF_IMAGES]])
        found: dict[str, object] = {"against": against, "trials": trials}
        # The record first and the contract last: a folder without a contract is no tagger yet.
        write_text(out / "training.json", self._record(position, found))
        difference = export_tagger(out, contract, best, published, proof)
        return Trained(
            out=out,
            architecture=made.start.architecture,
            n_parameters=n_parameters(best),
            size=size,
            n_tags=len(made.vocabulary),
            n_training=len(material.training),
            n_left_out=len(material.left_out),
            n_epochs=position.epoch,
            best_epoch=position.best_epoch,
            macro_ap=position.best_score,
            scores=tuple(position.scores),
            seconds=position.seconds,
            difference=difference,
            device=self._device,
            against=against,
            trials=trials,
            notices=self.notices,
        )

    def _digest(self) -> str:
        from tagstack.base_models.atomic import file_sha256
        from tagstack.base_models.training.export import digest_of

        made, material = self._made, self._made.parted.material
        weights = made.start.weights and file_sha256(made.start.weights)
        train = made.settings.train.model_dump(exclude=_WITHOUT_EFFECT)
        column = material.column and (material.column.names, material.column.values.tolist())
        return digest_of(
            made.start.architecture, weights, made.contract.model_dump(), train,
            *sorted(made.start.arguments.items()),
            made.settings.seed, made.vocabulary.tags, made.framed.contents,
            material.labels.indptr.tolist(), material.labels.indices.tolist(),
            material.unknown.indptr.tolist(), material.unknown.indices.tolist(),
            material.training.tolist(), material.left_out.tolist(), column,
        )  # fmt: skip

    def _published(self, network: "nn.Module") -> "Published":
        from tagstack.base_models.training.export import Published
        from tagstack.base_models.training.steps import network_proba

        made, material = self._made, self._made.parted.material
        labels, known = material.truth(material.left_out)
        proba = network_proba(network, made.contract, material.pixels, material.left_out)
        thresholds = best_thresholds(proba, labels, known)
        thresholds[~labels.any(axis=0)] = np.nan
        pooled = best_thresholds(proba.reshape(-1, 1), labels.reshape(-1, 1), known.reshape(-1, 1))
        trained = np.sort(material.training)
        return Published(
            vocabulary=made.vocabulary,
            thresholds=thresholds,
            default_threshold=round(float(pooled[0]), 3),
            counts=np.asarray(material.labels[trained].sum(axis=0), np.int64).ravel(),
            contents=[made.framed.contents[i] for i in trained],
        )

    def _against(self, network: "nn.Module", told: "Told") -> Against | None:
        """Return how much of the column is told after the training, and before if known."""
        from tagstack.base_models.training.architectures import network_of

        made = self._made
        column = made.parted.material.column
        if column is None or made.request.against is None:
            return None
        told(f"looking for {made.request.against} in the features", 0, 0)
        before = None
        if made.start.tags:  # a tagger that was trained here, no random or foreign head
            size = made.contract.height_width[0]
            start = network_of(made.start, made.vocabulary.tags, size, made.settings.seed).eval()
            before = self._bias(start)
        return Against(
            column=made.request.against,
            n_values=len(column.names),
            before=before,
            after=self._bias(network),
        )

    def _bias(self, network: "nn.Module") -> Bias:
        made = self._made
        return bias_of(
            network, made.contract, made.parted.material, made.parted.groups,
            made.request.against or "", made.settings,
        )  # fmt: skip

    def _record(self, position: "Position", found: dict[str, object]) -> str:
        import torch

        from tagstack.base_models.training.architectures import record_text

        made = self._made
        plain = {key: plain_value(value) for key, value in found.items()}
        return record_text({
            "from": Path(made.request.start).name,
            "architecture": made.start.architecture,
            "arguments": dict(made.start.arguments),
            "size": made.contract.height_width[0],
            "seed": made.settings.seed,
            "settings": made.settings.train.model_dump(mode="json"),
            "n_training": len(made.parted.material.training),
            "n_left_out": len(made.parted.material.left_out),
            "macro_ap": position.scores,
            "losses": position.losses,
            "best_epoch": position.best_epoch,
            "seconds": round(position.seconds, 1),
            "torch": torch.__version__,
            "device": self._device,
            **plain,
            "notices": self.notices,
            "tags": made.vocabulary.tags,
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


def plain_value(value: object) -> object:
    """Return dataclasses, alone or in a row, as JSON has them."""
    if isinstance(value, tuple):
        return [plain_value(own) for own in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _name(out: Path) -> str:
    name = re.sub(r"[^a-z0-9._-]+", "-", out.resolve().name.lower()).strip("-._")
    return name[:80] or "trained"
