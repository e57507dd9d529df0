"""``tagstack labels``: what is probably wrong with the labels."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from tagstack.ensemble.console.console import out, print_json
from tagstack.ensemble.console.groups import LabelRows, grouped
from tagstack.ensemble.console.options import (
    BundleDir,
    Json,
    Labels,
    Out,
    Overwrite,
    Scores,
)

if TYPE_CHECKING:  # printing must not wait for what these need
    from tagstack.ensemble.tasks.suspects import Suspect, SuspectLists

_SHOWN = 10


def print_suspects(lists: "SuspectLists", *, as_json: bool) -> None:
    """Print how many labels are suspicious, and the first of each list."""
    if as_json:
        print_json(
            {
                "n_images": lists.n_images,
                "n_labels": lists.n_labels,
                "n_out_of_fold": lists.n_out_of_fold,
                "n_missing": len(lists.missing),
                "n_wrong": len(lists.wrong),
                "missing": [asdict(one) for one in lists.missing[:_SHOWN]],
                "wrong": [asdict(one) for one in lists.wrong[:_SHOWN]],
                "out": str(lists.out),
            }
        )
        return
    out.print(
        f"{lists.n_labels} labels of {lists.n_images} images: {len(lists.missing)} more are "
        f"probably missing, {len(lists.wrong)} are probably wrong."
    )
    for title, suspects in (("missing", lists.missing), ("wrong", lists.wrong)):
        if suspects:
            out.print(_table(title, suspects[:_SHOWN]))
    out.print(f"Whole lists, the surest first: {lists.out}", markup=False, soft_wrap=True)


def _table(title: str, suspects: "tuple[Suspect, ...]") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(f"probably {title}", overflow="fold")
    table.add_column("tag", overflow="fold")
    table.add_column("proba", justify="right", no_wrap=True)
    for one in suspects:
        table.add_row(one.image, one.tag, f"{one.proba:.3f}")
    return table


labels_app = typer.Typer(
    help="Labels: which are probably missing or wrong.",
    epilog="tagstack labels suspects --bundle b --scores s --labels l.csv --out suspects\n\n"
    "tagstack labels suspects --bundle b --scores s --labels l --out o --where a=b",
    no_args_is_help=True,
)


@labels_app.callback()
def _group() -> None:
    """Labels: which are probably missing or wrong."""


@labels_app.command(
    epilog="tagstack labels suspects --bundle b --scores s --labels l.csv --out suspects\n\n"
    "tagstack labels suspects --bundle b --scores s --labels l.csv --out o --json"
)
@grouped
def suspects(
    *,
    bundle: BundleDir,
    scores: Scores,
    labels: Labels,
    out: Out,
    rows: LabelRows,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """List labels that are probably missing or wrong, the surest first; changes none."""
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.tasks.suspects import find_suspects

    source = rows.source(scores, labels)
    with stages() as progress:
        found = find_suspects(bundle, source, out, progress, overwrite=overwrite)
    print_suspects(found, as_json=as_json)
