"""The commands of ``dataset``: training sets counted, checked, filtered, balanced and split."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tagstack.ensemble.console.captions import lint, prune
from tagstack.ensemble.console.options import Json, exit_unless
from tagstack.ensemble.console.training_sets import balance, filter, split, stats

dataset = typer.Typer(
    help="Training sets: check captions, filter, prune, balance, split; take changes back.",
    epilog="tagstack dataset lint 10_mychar --trigger mychar\n\n"
    "tagstack dataset undo 10_mychar/tagstack-undo-001.jsonl",
    no_args_is_help=True,
)

dataset.command(
    epilog="tagstack dataset stats train\n\ntagstack dataset stats train --resolution 768 --json"
)(stats)
dataset.command(
    epilog="tagstack dataset lint 10_mychar --trigger mychar\n\n"
    "tagstack dataset lint train --vocabulary selected_tags.csv --fix"
)(lint)
dataset.command(
    epilog="tagstack dataset filter set --least-general 9 --least-images '*=9' --out m.csv\n\n"
    "tagstack dataset filter set --near-duplicates --out m.csv --apply"
)(filter)
dataset.command(
    epilog="tagstack dataset prune 10_mychar --group hair,eyes --trigger mychar\n\n"
    "tagstack dataset prune 10_mychar --group hair,eyes --trigger mychar --apply"
)(prune)
dataset.command(
    epilog="tagstack dataset balance train --out dataset.toml\n\n"
    "tagstack dataset balance train --out d.toml --weight 1_background=0.5"
)(balance)
dataset.command(
    epilog="tagstack dataset split train --out folds.csv --folds 5\n\n"
    "tagstack dataset split train --out folds.csv --table posts.csv --group artist"
)(split)


@dataset.command(
    epilog="tagstack dataset undo train/tagstack-undo-001.jsonl\n\n"
    "tagstack dataset undo train/tagstack-undo-001.jsonl --json"
)
def undo(
    file: Annotated[Path, typer.Argument(help="Undo file, in the folder that was changed.")],
    as_json: Json = False,
) -> None:
    """Take back what a command changed; files that were changed since stay as they are."""
    from tagstack.ensemble.console.console import out, print_failures, print_json, stages
    from tagstack.ensemble.workshop.dataset.undo import undo as take_back

    with stages() as progress:
        found = take_back(file, lambda n, total: progress.stage("taking back", n, total))
    if as_json:
        print_json(asdict(found))
    else:
        out.print(
            f"{found.n_done} files are as before; {found.n_already} were already; "
            f"{len(found.refused)} stay as they are.",
            soft_wrap=True,
        )
        print_failures(found.refused)
    exit_unless(not found.refused)
