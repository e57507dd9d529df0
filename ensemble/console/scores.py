"""``tagstack scores``: looking after score stores."""

from pathlib import Path
from typing import Annotated

import typer

from tagstack.ensemble.console.options import Json, exit_unless

scores_app = typer.Typer(help="Look after score stores.", no_args_is_help=True)

Store = Annotated[Path, typer.Argument(help="Folder of the score store.")]


@scores_app.command(epilog="tagstack scores verify scores\n\ntagstack scores verify scores --json")
def verify(store: Store, as_json: Json = False) -> None:
    """Read every part of a store and say which are damaged; nothing is changed."""
    from tagstack.base_models.scores.verifying import verify_store
    from tagstack.ensemble.console.console import print_json

    found = verify_store(store)
    if as_json:
        print_json(
            {
                "parts": found.n_parts,
                "without_checksum": found.n_unsealed,
                "damaged": [
                    {"path": str(error.path), "reason": error.reason} for error in found.damaged
                ],
            }
        )
    else:
        for error in found.damaged:
            typer.echo(f"damaged: {error.path}: {error.reason}")
        old = f", {found.n_unsealed} from before there were checksums" if found.n_unsealed else ""
        typer.echo(f"{found.n_parts} parts{old}, {len(found.damaged)} damaged.")
        if found.damaged:
            typer.echo("Run the command that scored again: it sets them aside and scores anew.")
    exit_unless(not found.damaged)
