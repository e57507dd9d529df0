"""The command ``train``: a tagger of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.ensemble.console.options import (
    Config,
    Group,
    Json,
    LabelExtension,
    Labels,
    Overwrite,
    Seed,
    Threads,
    Where,
    endings_of,
    settings_of,
)

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.ensemble.tasks.train import Trained


def train(
    *,
    images: Annotated[list[Path], typer.Option(help="Folder of pictures; repeatable.")],
    labels: Labels,
    start: Annotated[
        str,
        typer.Option(
            "--from", help="resnet, convnext, vit, a name of timm, or a folder with weights."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new tagger; gives it its name.")],
    where: Where = None,
    left_out: Annotated[
        str | None, typer.Option(help="Judge by label rows with COLUMN=VALUE; else some drawn.")
    ] = None,
    group: Group = None,
    label_extension: LabelExtension = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pictures at most.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the pictures in pixels.")] = None,
    loss: Annotated[str | None, typer.Option(help="bce, asymmetric or focal.")] = None,
    threads: Threads = None,
    seed: Seed = None,
    config: Config = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a tagger on your own pictures and labels (extra `train`)."""
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.train import TrainRequest, train_tagger

    given = {"epochs": epochs, "size": size, "loss": loss}
    own = {key: value for key, value in given.items() if value is not None}
    settings = settings_of(
        config,
        seed=seed,
        runtime={} if threads is None else {"threads": threads},
        sections={"train": own} if own else None,
        uses=("seed", "threads", "score", "labels", "train"),
    )
    request = TrainRequest(
        images=tuple(images),
        labels=labels,
        start=start,
        out=out,
        where=where,
        left_out=left_out,
        group=group,
        sidecars=endings_of(label_extension),
        overwrite=overwrite,
    )
    with stages() as progress:
        found = train_tagger(request, settings, progress)
    if as_json:
        print_json(found.plain())
    else:
        _print(found)


def _print(found: "Trained") -> None:
    from tagstack.ensemble.console.console import out

    lines = (
        f"{found.architecture}, {found.n_parameters:,} parameters, {found.size} pixels, learnt "
        f"{found.n_tags} tags from {found.n_training} pictures in {found.seconds:.0f} s "
        f"({found.device}).",
        f"macro-AP {found.macro_ap:.3f} on {found.n_left_out} left-out pictures after epoch "
        f"{found.best_epoch} of {found.n_epochs}, which was chosen by it.",
        f"The ONNX file gives the network's probabilities to within {found.difference:.1g}.",
        f"Tagger: {found.out} (it enters `score --models` like any other; `fit` on pictures that "
        "it was trained on would flatter it, and says so)",
    )
    for line in lines:
        out.print(line, soft_wrap=True)
