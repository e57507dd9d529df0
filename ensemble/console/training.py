"""The command ``train``: a tagger of one's own."""

from collections.abc import Iterator
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
    from tagstack.ensemble.training.request import Trained


def train(
    *,
    images: Annotated[list[Path], typer.Option(help="Folder of pictures; repeatable.")],
    labels: Labels,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="resnet, convnext, vit, a name of timm, or a folder with weights; for --search "
            "several, comma-separated.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new tagger; gives it its name.")],
    where: Where = None,
    left_out: Annotated[
        str | None, typer.Option(help="Judge by label rows with COLUMN=VALUE; else some drawn.")
    ] = None,
    group: Group = None,
    against: Annotated[
        str | None, typer.Option(help="Label column that the features must not tell.")
    ] = None,
    search: Annotated[
        int, typer.Option(min=0, help="Trainings to choose the best of; 0 = one, as set.")
    ] = 0,
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
    from tagstack.ensemble.tasks.train import train_tagger
    from tagstack.ensemble.training.request import TrainRequest

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
        against=against,
        search=search,
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
        *_searched(found),
        *_against(found),
        f"The ONNX file gives the network's probabilities to within {found.difference:.1g}.",
        f"Tagger: {found.out} (it enters `score --models` like any other; `fit` on pictures that "
        "it was trained on would flatter it, and says so)",
    )
    for line in lines:
        out.print(line, soft_wrap=True)


def _searched(found: "Trained") -> Iterator[str]:
    for trial in found.trials:
        ended = ", ended early" if trial.ended_early else ""
        score = f"failed ({trial.fault})" if trial.fault else f"macro-AP {trial.score:.3f}"
        yield (
            f"  {trial.number + 1}. {score}: {trial.start}, {trial.loss}, rate "
            f"{trial.learning_rate:.2g}, decay {trial.weight_decay:.2g}, size "
            f"{trial.size or 'as it is'}, {len(trial.scores)} epochs, {trial.seconds:.0f} s{ended}"
        )


def _against(found: "Trained") -> Iterator[str]:
    if found.against is None:
        return
    column = found.against.column
    for when, bias in (("before", found.against.before), ("after", found.against.after)):
        if bias is None:
            yield f"  {when}: not known, for --from names no tagger of `train`"
            continue
        told = "cannot be judged" if bias.told is None else f"{bias.told:.1%}"
        text = f"  {when}: {column} told from the features {told} (chance {bias.chance:.1%})"
        if bias.worst_f1 is not None and bias.best_f1 is not None:
            text += (
                f"; F1 {bias.worst_f1:.3f} ({bias.worst}) to {bias.best_f1:.3f} ({bias.best}), "
                f"{bias.n_sure} of {bias.n_looks} figures surely differ by {column}"
            )
        yield text
