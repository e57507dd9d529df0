"""The training loop: epochs over framed pictures, judged on left-out ones, resumable at any time.

Every random choice comes from the seed, the epoch and the batch, never from what ran before: a
training that was killed and goes on ends in the same weights, to the bit, on the same machine with
as many threads.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from tagstack.base_models.contract import Input
from tagstack.base_models.training.adversary import Adversary, Column, strength_at
from tagstack.base_models.training.augmentation import augmented
from tagstack.base_models.training.checkpoint import Position, read_checkpoint, write_checkpoint
from tagstack.base_models.training.losses import mean_loss
from tagstack.base_models.training.pixels import Told
from tagstack.base_models.training.schedule import decay_at, one_cycle
from tagstack.base_models.training.steps import (
    average_in,
    mixed,
    network_input,
    network_proba,
    parameter_groups,
    stepped,
)
from tagstack.configs.training import TrainSettings

Judge = Callable[[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]], float]
"""Takes probabilities, labels and which pairs are known, each (n_images, n_tags); gives a score."""
Stop = Callable[[Position], bool]
"""Says after an epoch whether the training ends there."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """Labelled pictures.

    Parameters
    ----------
    pixels : array of shape (n_images, height, width, 3), uint8
    labels, unknown : csr_array of shape (n_images, n_tags), bool
    training, left_out : array of int64
        Indices of the images that are learnt from, and of those that judge.
    column : Column, optional
        What the features must not tell.
    """

    pixels: NDArray[np.uint8]
    labels: sparse.csr_array
    unknown: sparse.csr_array
    training: NDArray[np.int64]
    left_out: NDArray[np.int64]
    column: Column | None = None

    def truth(self, images: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return labels and which pairs are known, each of shape (n_images, n_tags), bool."""
        labels = np.asarray(self.labels[images].toarray(), bool)
        return labels, ~np.asarray(self.unknown[images].toarray(), bool)


class Training:
    """One training, from its first or its last checkpoint to its best epoch.

    Parameters
    ----------
    network : torch.nn.Module
        With ``embed`` and ``head``; changed in place.
    material : Material
    settings : TrainSettings
    contract : Input
    seed : int
    device : str
    """

    def __init__(
        self,
        network: nn.Module,
        material: Material,
        settings: TrainSettings,
        contract: Input,
        *,
        seed: int,
        device: str,
    ) -> None:
        self.network = network.to(device)
        self.average = copy.deepcopy(self.network)
        self.best = copy.deepcopy(self.network)
        self._material, self._settings, self._contract = material, settings, contract
        self._seed, self._device = seed, device
        self._batch = min(settings.batch_images, len(material.training))
        self._per_epoch = len(material.training) // self._batch
        groups = parameter_groups(self.network, settings.weight_decay)
        self.adversary: Adversary | None = None
        if material.column is not None:
            torch.manual_seed(seed)
            weights = material.column.weights(material.training)
            self.adversary = Adversary(self.network.head.in_features, weights).to(device)
            groups += parameter_groups(self.adversary, settings.weight_decay)
        self._optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate)

    def run(
        self, folder: Path, digest: str, judge: Judge, told: Told, stop: Stop | None = None
    ) -> Position:
        """Train to the end, or to where left-out images or ``stop`` say so; return where that was.

        The network of the best epoch, its weights averaged, is then in ``best``.

        Raises
        ------
        TagstackError
            If ``folder`` holds another training.
        """
        position = self._resumed(folder, digest)
        while position.epoch < self._settings.epochs and not self._is_over(position):
            if stop is not None and position.batch == 0 and stop(position):
                break
            self._epoch(folder, position, told)
            self._judge(position, judge)
            write_checkpoint(folder, self._tensors(), position)
        return position

    def _is_over(self, position: Position) -> bool:
        return position.epoch - position.best_epoch >= self._settings.patience > 0

    def _epoch(self, folder: Path, position: Position, told: Told) -> None:
        rng = np.random.default_rng([self._seed, 1, position.epoch])
        order = rng.permutation(self._material.training)
        total = self._settings.epochs * self._per_epoch
        saved = time.monotonic()
        self.network.train()
        for batch in range(position.batch, self._per_epoch):
            began = time.monotonic()
            chosen = np.sort(order[batch * self._batch : (batch + 1) * self._batch])
            step = position.epoch * self._per_epoch + batch
            position.loss_sum += self._step(chosen, position.epoch, batch, step / total)
            average_in(self.average, self.network, decay_at(step, self._settings.average_decay))
            position.batch = batch + 1
            position.seconds += time.monotonic() - began
            if time.monotonic() - saved >= self._settings.checkpoint_seconds:
                write_checkpoint(folder, self._tensors(), position)
                saved = time.monotonic()
            told("training", step + 1, total)

    def _step(self, chosen: NDArray[np.int64], epoch: int, batch: int, progress: float) -> float:
        rng = np.random.default_rng([self._seed, 2, epoch, batch])
        torch.manual_seed(int(rng.integers(2**31)))  # for dropout inside the network
        pixels = augmented(np.asarray(self._material.pixels[chosen]), self._settings, rng)
        labels, known = (
            torch.from_numpy(part.astype(np.float32)).to(self._device)
            for part in self._material.truth(chosen)
        )
        images = network_input(pixels, self._contract).to(self._device)
        loss = self._loss(images, labels, known, chosen, progress)
        rate = self._settings.learning_rate * one_cycle(progress, self._settings.warm_up)
        return stepped(self.network, self._optimiser, loss, rate)

    def _loss(
        self,
        images: Tensor,
        labels: Tensor,
        known: Tensor,
        chosen: NDArray[np.int64],
        progress: float,
    ) -> Tensor:
        with mixed(self._device, wanted=self._settings.mixed):
            features = self.network.embed(images)
        features = features.float()
        with mixed(self._device, wanted=self._settings.mixed):
            logits = self.network.head(features)
        loss = mean_loss(self._settings.loss, logits.float(), labels, known)
        if self.adversary is None or self._material.column is None:
            return loss
        values = torch.from_numpy(self._material.column.values[chosen]).to(self._device)
        strength = strength_at(progress, self._settings.against_strength)
        return loss + self.adversary.loss(features, values, strength, of_tags=loss)

    def _judge(self, position: Position, judge: Judge) -> None:
        """Score the averaged weights, and keep them where they are the best."""
        self.average.eval()
        left_out, pixels = self._material.left_out, self._material.pixels
        proba = network_proba(self.average.to("cpu"), self._contract, pixels, left_out)
        self.average.to(self._device)
        score = judge(proba, *self._material.truth(left_out))
        position.losses.append(position.loss_sum / self._per_epoch)
        position.scores.append(score)
        position.epoch, position.batch, position.loss_sum = position.epoch + 1, 0, 0.0
        if score > position.best_score:
            position.best_score, position.best_epoch = score, position.epoch
            self.best.load_state_dict(self.average.state_dict())

    def _parts(self) -> Iterator[tuple[str, nn.Module]]:
        yield from (("network", self.network), ("average", self.average), ("best", self.best))
        if self.adversary is not None:
            yield "adversary", self.adversary

    def _tensors(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, part in self._parts():
            for key, value in part.state_dict().items():
                # A copy each: safetensors refuses tensors that share memory.
                found[f"{name}.{key}"] = value.clone(memory_format=torch.contiguous_format)
        for number, state in self._optimiser.state_dict()["state"].items():
            for key, value in state.items():
                found[f"optimiser.{number}.{key}"] = value.clone(
                    memory_format=torch.contiguous_format
                )
        return found

    def _resumed(self, folder: Path, digest: str) -> Position:
        found = read_checkpoint(folder, digest)
        if found is None:
            return Position(digest=digest, scores=[], losses=[])
        tensors, position = found
        for name, part in self._parts():
            start = f"{name}."
            own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            part.load_state_dict(own)
        content = self._optimiser.state_dict()
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, number, field = key.split(".")
                content["state"].setdefault(int(number), {})[field] = value
        self._optimiser.load_state_dict(content)
        return position
