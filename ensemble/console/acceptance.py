"""The command ``accept``: what of a batch may be applied unseen, and what that promises."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.ensemble.console.groups import LabelRows, grouped
from tagstack.ensemble.console.options import (
    BundleDir,
    Config,
    Json,
    Overwrite,
    settings_of,
)

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.ensemble.tasks.accept import Acceptance


@grouped
def accept(
    *,
    bundle: BundleDir,
    tags: Annotated[Path, typer.Option(help="Output folder of `tag`, or a score store.")],
    out: Annotated[Path, typer.Option(help="CSV of the accepted tags.")],
    fdr: Annotated[
        float | None, typer.Option(help="Share of accepted tags that may be wrong, on average.")
    ] = None,
    queue: Annotated[
        Path | None, typer.Option(help="CSV of the others; OUT-queue.csv by default.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Score store of other labelled images than the fit's.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Their labels: CSV, JSONL or a folder of .txt.")
    ] = None,
    rows: LabelRows,
    config: Config = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Say which tags may be applied unseen so that few are wrong, and which go to people."""
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.accept import AcceptRequest, accept_tags

    if (scores is None) != (labels is None):
        msg = "labelled images need both --scores and --labels."
        raise typer.BadParameter(msg, param_hint="--labels" if labels is None else "--scores")
    source = None
    if scores is not None and labels is not None:
        source = rows.source(scores, labels)
    own = None if fdr is None else {"accept": {"fdr": fdr}}
    settings = settings_of(config, sections=own, uses=("accept",))
    request = AcceptRequest(
        bundle=bundle, tags=tags, out=out, queue=queue, source=source, overwrite=overwrite
    )
    with stages() as progress:
        found = accept_tags(request, settings, progress)
    if as_json:
        print_json({key: _plain(value) for key, value in asdict(found).items()})
    else:
        _print(found)


def _print(found: "Acceptance") -> None:
    from tagstack.ensemble.console.console import out
    from tagstack.ensemble.tasks.accept import NOT_PROMISED

    share = found.n_accepted / max(found.n_proposed, 1)
    lines = (
        f"{found.n_accepted} of {found.n_proposed} tags ({share:.0%}) on {found.n_images} pictures "
        f"may be applied unseen: at most {found.rate:.0%} of them are wrong on average. "
        f"{found.n_tags_accepted} of {found.n_tags_proposed} different tags qualify; "
        f"{found.n_whole} pictures need no look at all.",
        f"It rests on {found.n_labelled} labelled images in {found.n_groups} groups, where "
        f"{found.n_wrong} of {found.n_labelled_proposals} tags are wrong (thresholds: "
        f"{found.thresholds}).",
        NOT_PROMISED,
        f"Accepted: {found.out}",
        f"To be looked at: {found.queue}",
    )
    for line in lines:
        out.print(line, soft_wrap=True)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
