"""``tagstack scores``: looking after score stores, and scores that come in and go out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.configs.shown import shown
from tagstack.ensemble.console.options import (
    Config,
    Json,
    Overwrite,
    Scores,
    exit_unless,
    exit_with_failures,
    settings_of,
)

if TYPE_CHECKING:
    from tagstack.ensemble.tasks.scores_import import ImportSummary

_NAMED = 5  # of pictures that are left out

scores_app = typer.Typer(
    help="Look after score stores; import and export scores.",
    epilog="tagstack scores info scores\n\n"
    "tagstack scores import table.parquet --scores s --member mine --tags t.csv",
    no_args_is_help=True,
)

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


@scores_app.command(
    "import",
    epilog="tagstack scores import table.parquet --scores s --member mine --tags t.csv"
    "\n\ntagstack scores import s.npy --names n.txt --scores s --member m "
    "--tags t.txt",
)
def import_(
    file: Annotated[Path, typer.Argument(help=".parquet, .csv, .tsv, .jsonl, .npz or .npy.")],
    scores: Scores,
    member: Annotated[str, typer.Option(help="Name of the member in the store.")],
    tags: Annotated[Path, typer.Option(help="Its vocabulary: .csv with name and category, .txt.")],
    kind: Annotated[
        str | None, typer.Option(help="logits or probabilities, where the file does not say.")
    ] = None,
    floor: Annotated[
        float | None, typer.Option(help="Probability below which nothing is kept or was listed.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures, if the store does not know them.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option(help="Text with a picture a line, for arrays without names.")
    ] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Add pictures that the same program scored.")
    ] = False,
    overwrite: Overwrite = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Import scores that another program computed, as a member like any other."""
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.scores_import import ImportRequest, import_scores

    request = ImportRequest(
        table=file,
        store=scores,
        member=member,
        tags=tags,
        kind=kind,
        floor=floor,
        images=images,
        names=names,
        append=append,
        overwrite=overwrite,
    )
    settings = settings_of(config, uses=("threads", "score"))
    with stages() as progress:
        summary = import_scores(request, settings, progress)
    if as_json:
        print_json(
            {
                "member": summary.member,
                "fingerprint": summary.fingerprint,
                "floor": summary.floor,
                "images": summary.n_images,
                "known": summary.n_known,
                "tags": summary.n_tags,
                "unknown": list(summary.unknown),
                "matched": dict(summary.matched),
            }
        )
    else:
        _print_import(summary)
    exit_with_failures(len(summary.unknown))


def _print_import(summary: "ImportSummary") -> None:
    typer.echo(
        f"{summary.member}: {summary.n_images} pictures imported, {summary.n_known} had scores "
        f"already; {summary.n_tags} tags, floor {summary.floor:g}."
    )
    if summary.matched:
        steps = ", ".join(f"{n} but for {step}" for step, n in summary.matched.items())
        typer.echo(f"Names that were matched: {steps}.")
    if summary.unknown:
        named = ", ".join(repr(shown(name)) for name in summary.unknown[:_NAMED])
        more = ", ..." if len(summary.unknown) > _NAMED else ""
        typer.echo(
            f"{len(summary.unknown)} pictures are known neither to the store nor in a folder of "
            f"--images and were left out: {named}{more}"
        )


@scores_app.command(
    epilog="tagstack scores export scores --member mine --out mine.parquet"
    "\n\ntagstack scores export scores --member mine --out mine.npz"
)
def export(
    store: Store,
    out: Annotated[Path, typer.Option(help="File to write: .parquet or .npz.")],
    member: Annotated[
        str | None, typer.Option(help="Whose scores; may be left out if there is one.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a member's scores as Parquet or NPZ, and its tags beside them."""
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.scores_export import export_scores

    with stages() as progress:
        done = export_scores(store, out, progress, member=member, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "table": str(done.table),
                "tags": str(done.tags),
                "features": None if done.features is None else str(done.features),
                "images": done.n_images,
                "scores": done.n_scores,
            }
        )
        return
    typer.echo(
        f"{done.n_scores:,} scores of {done.n_images:,} pictures in {done.table}; "
        f"tags in {done.tags}{'' if done.features is None else f', features in {done.features}'}."
    )


@scores_app.command(
    epilog="tagstack scores merge night1 night2 --out scores\n\n"
    "tagstack scores merge shard1 shard2 shard3 shard4 --out scores"
)
def merge(
    stores: Annotated[list[Path], typer.Argument(help="Folders of score stores.")],
    out: Annotated[Path, typer.Option(help="Folder of the store to write or to add to.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Join score stores of other pictures, other taggers, or the shards of one run."""
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.scores_merge import merge_stores

    with stages() as progress:
        done = merge_stores(stores, out, settings_of(config, uses=("score",)), progress)
    if as_json:
        print_json({"members": done.members, "images": done.n_images, "new": done.n_new})
    else:
        members = ", ".join(map(shown, done.members))
        typer.echo(f"{done.n_images:,} pictures ({done.n_new:,} new) by {members} in {out}.")


@scores_app.command(epilog="tagstack scores info scores\n\ntagstack scores info scores --json")
def info(store: Store, as_json: Json = False) -> None:
    """Say which members and pictures a store has."""
    from tagstack.ensemble.console.console import print_json
    from tagstack.ensemble.tasks.scores_export import store_facts

    facts = store_facts(store)
    if as_json:
        print_json(
            {
                "images": facts.n_images,
                "failed": facts.n_failed,
                "unused_folders": facts.n_unused,
                "unused_bytes": facts.unused_bytes,
                "members": [
                    {
                        "name": own.info.name,
                        "source": own.info.source,
                        "imported": own.info.is_imported,
                        "fingerprint": own.info.fingerprint,
                        "contents": own.n_images,
                        "tags": len(own.info.vocabulary),
                        "floor": own.info.floor,
                        "features": own.info.n_features,
                        "size_bytes": own.size_bytes,
                    }
                    for own in facts.members
                ],
            }
        )
        return
    typer.echo(f"{facts.n_images:,} pictures, {facts.n_failed:,} of them failed.")
    for own in facts.members:
        kind = ", imported" if own.info.is_imported else ""
        features = f"{own.info.n_features:,} features, " if own.info.n_features else ""
        typer.echo(
            f"{shown(own.info.name)}: {own.n_images:,} contents, {len(own.info.vocabulary):,} "
            f"tags, {features}floor {own.info.floor:g}, {own.size_bytes / 1e6:,.1f} MB{kind} "
            f"({own.info.fingerprint[:12]})"
        )
    if facts.n_unused:
        typer.echo(
            f"Scores of {facts.n_unused} replaced members take {facts.unused_bytes / 1e6:,.1f} "
            "MB; `tagstack scores prune` deletes them."
        )


@scores_app.command(epilog="tagstack scores prune scores\n\ntagstack scores prune scores --delete")
def prune(
    store: Store,
    delete: Annotated[bool, typer.Option("--delete", help="Delete, not only say what.")] = False,
    as_json: Json = False,
) -> None:
    """Delete scores whose member was scored or imported anew since; first say which."""
    from tagstack.ensemble.console.console import print_json
    from tagstack.ensemble.tasks.scores_export import prune_store

    done = prune_store(store, delete=delete)
    if as_json:
        folders = [str(folder) for folder in done.folders]
        print_json({"folders": folders, "size_bytes": done.size_bytes, "deleted": delete})
        return
    for folder in done.folders:
        typer.echo(f"{'deleted' if delete else 'unused'}: {shown(str(folder))}")
    more = "" if delete or not done.folders else " Say --delete to delete them."
    typer.echo(f"{len(done.folders)} folders, {done.size_bytes / 1e6:,.1f} MB.{more}")
