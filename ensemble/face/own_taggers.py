"""Taggers of one's own, from Python: one that is trained, and one that is there without a contract.

Both write a tagger's folder, which every command and `tagstack.score` then take.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tagstack.base_models.taggers.draft import answered
from tagstack.ensemble.face.arguments import (
    AnyPath,
    AnySettings,
    check_kind,
    folders_of,
    settings_from,
)
from tagstack.ensemble.face.in_memory import Labels, Told
from tagstack.ensemble.tasks.init_tagger import Initialised, InitRequest
from tagstack.ensemble.tasks.init_tagger import init_tagger as write_contract
from tagstack.ensemble.tasks.train import train_tagger
from tagstack.ensemble.training.request import Trained, TrainRequest


def train(
    images: "AnyPath | Sequence[AnyPath]",
    labels: Labels,
    start: AnyPath,
    out: AnyPath,
    *,
    where: str | None = None,
    left_out: str | None = None,
    group: str | None = None,
    against: str | None = None,
    search: int = 0,
    overwrite: bool = False,
    settings: AnySettings = None,
) -> Trained:
    """Train a tagger on pictures and labels, and write its folder; needs the extra ``train``.

    Parameters
    ----------
    images : path or sequence of paths
        Folders of pictures.
    labels : Labels
    start : path
        ``"resnet"``, ``"convnext"``, ``"vit"``, a name of timm, or a folder with weights.
    out : path
        Folder of the new tagger; an ended training there goes on.
    where : str, optional
        ``COLUMN=VALUE``: only these labels.
    left_out : str, optional
        ``COLUMN=VALUE``: the rows that judge; whole groups are drawn by default.
    group : str, optional
        Column of the labels whose equal values no split may part.
    against : str, optional
        Column that the features must not tell.
    search : int
        Trainings to choose the best of; ``start`` may then name several, comma-separated.
    overwrite : bool
    settings : Settings, mapping or path, optional
        Laid over the defaults; those of ``train`` decide most.

    Raises
    ------
    TagstackError
        If torch is not installed, or pictures, labels, weights or the folder cannot be used.
    """
    check_kind(labels, Labels, "labels", "Labels({...}) or Labels.read(file)")
    request = TrainRequest(
        images=tuple(folders_of(images)),
        labels=labels.table,
        start=os.fspath(start),
        out=Path(out),
        where=where,
        left_out=left_out,
        group=group,
        against=against,
        search=search,
        overwrite=overwrite,
    )
    return train_tagger(request, settings_from(settings), Told())


def init_tagger(
    folder: AnyPath,
    known: Mapping[str, object] | None = None,
    *,
    images: "AnyPath | None" = None,
    labels: "AnyPath | None" = None,
    force: bool = False,
    settings: AnySettings = None,
) -> Initialised:
    """Write the contract of a folder with a network and its tag file, and check it.

    Parameters
    ----------
    folder : path
    known : mapping of key to value, optional
        What you know of the contract, such as ``{"input.colour": "BGR"}``; it goes before files.
    images, labels : path, optional
        A folder of pictures and their label file, to decide colours, range and framing.
    force : bool
        Replace a contract that is there.
    settings : Settings, mapping or path, optional

    Returns
    -------
    Initialised
        Its ``path``, its ``draft`` with every value's ``source`` (``draft.facts``), and the
        ``report`` of its check.

    Raises
    ------
    TagstackError
        If a contract is there already, a value is left open, or the folder is none of a tagger.
    """
    request = InitRequest(
        folder=Path(folder),
        given={key: answered(key, value) for key, value in (known or {}).items()},
        images=None if images is None else Path(images),
        labels=None if labels is None else Path(labels),
        force=force,
    )
    score = settings_from(settings).score
    return write_contract(request, score, None, lambda done, total: None)
