"""``tagstack labels``: what is probably wrong with the labels."""

import typer

from tagstack.ensemble.commands.options import (
    BundleDir,
    Group,
    Json,
    Labels,
    Out,
    Overwrite,
    Scores,
    UnknownIfAbsent,
    Where,
    families_of,
)

labels_app = typer.Typer(
    help="Labels: which are probably missing or wrong.",
    epilog="tagstack labels suspects --bundle b --scores s --labels l.csv --out suspects\n\n"
    "tagstack labels suspects --bundle b --scores s --labels l.csv --out o --where part=fit",
    no_args_is_help=True,
)


@labels_app.callback()
def _group() -> None:
    """Labels: which are probably missing or wrong."""


@labels_app.command(
    epilog="tagstack labels suspects --bundle b --scores s --labels l.csv --out suspects\n\n"
    "tagstack labels suspects --bundle b --scores s --labels l.csv --out o --json"
)
def suspects(
    bundle: BundleDir,
    scores: Scores,
    labels: Labels,
    out: Out,
    where: Where = None,
    group: Group = None,
    unknown_if_absent: UnknownIfAbsent = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """List labels that are probably missing or wrong, the surest first; changes none."""
    from tagstack.ensemble.dataset import DatasetSource
    from tagstack.ensemble.suspects import find_suspects
    from tagstack.ensemble.terminal.console import stages
    from tagstack.ensemble.terminal.labels import print_suspects

    source = DatasetSource(
        scores=scores,
        labels=labels,
        where=where,
        group=group,
        unknown_if_absent=families_of(unknown_if_absent),
    )
    with stages() as progress:
        found = find_suspects(bundle, source, out, progress, overwrite=overwrite)
    print_suspects(found, as_json=as_json)
