"""The commands ``review`` and ``feedback``: a page for decisions, and decisions as labels."""

import getpass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.console.groups import Audience, Cascading, Running, grouped
from tagstack.ensemble.console.options import (
    BundleDir,
    Config,
    Json,
    LabelExtension,
    Overwrite,
    TaggersNow,
    endings_of,
    listed_taggers,
    settings_of,
)

ReviewDir = Annotated[Path, typer.Option("--review", help="Folder that `review` keeps.")]
Who = Annotated[str | None, typer.Option(help="In whose name; the system's user by default.")]

feedback = typer.Typer(
    help="What people decided: as labels, from labels, and for the thresholds.",
    epilog="tagstack feedback export --review review --out labels.csv\n\n"
    "tagstack feedback apply --bundle bundle --review review",
    no_args_is_help=True,
)


@grouped
def review(
    *,
    bundle: BundleDir,
    images: Annotated[Path, typer.Option(help="Folder of the pictures (recursive).")],
    scores: Annotated[
        Path | None, typer.Option(help="Folder of their score store; scored first without it.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="What is known of them: CSV, JSONL or a folder of .txt.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the decisions.")] = Path("review"),
    who: Who = None,
    audience: Audience,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8601,
    models: TaggersNow = None,
    cascading: Cascading,
    config: Config = None,
    running: Running,
) -> None:
    """Settle doubtful tags on a page in the browser, one key a decision, until stopped."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        msg = f"The review page needs an extra ({error}): pip install 'tagstack[serve]'."
        raise TagstackError(msg) from error
    from tagstack.ensemble.console.console import err, stages
    from tagstack.ensemble.review.running import serve_page
    from tagstack.ensemble.tasks.review import ReviewRequest, opened_review

    used = ("seed", "threads", "score", "cascade", "output", "serve", "review")
    settings = settings_of(config, runtime=running.settings(), uses=used)
    request = ReviewRequest(
        bundle=bundle,
        images=images,
        out=out,
        scores=scores,
        labels=labels,
        models=None if models is None else listed_taggers(models),
        cascade=cascading.cascade,
        cascade_loss=cascading.cascade_loss,
    )
    listening, name = audience.listening(port), _name(who)
    with stages() as progress:
        opened = opened_review(request, settings, progress)
        desk = opened.__enter__()
    try:
        serve_page(
            desk,
            settings,
            listening,
            name,
            lambda url: err.print(f"Review at {url} (Ctrl-C ends it)"),
        )
    finally:
        opened.__exit__(None, None, None)


@feedback.command(
    epilog="tagstack feedback export --out labels.csv\n\n"
    "tagstack feedback export --review review --labels old.csv --out labels.jsonl"
)
def export(
    out: Annotated[Path, typer.Option(help="A .csv or .jsonl to write, or a folder for sidecars.")],
    review: ReviewDir = Path("review"),
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="By whose rules a tag implies others.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels from before, which the decisions correct.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write decisions as labels; what nobody decided is unknown."""
    from tagstack.ensemble.tasks.feedback import export_labels

    n_images = export_labels(review, out, bundle=bundle, labels=labels, overwrite=overwrite)
    _print({"images": n_images, "out": str(out)}, f"{n_images} images: {out}", as_json=as_json)


@feedback.command(
    name="import",
    epilog="tagstack feedback import tags --images images\n\n"
    "tagstack feedback import labels.csv --images images --who ann",
)
def import_(
    labels: Annotated[Path, typer.Argument(help="CSV, JSONL or a folder of .txt sidecars.")],
    images: Annotated[Path, typer.Option(help="Folder of the pictures that they are about.")],
    review: ReviewDir = Path("review"),
    who: Who = None,
    label_extension: LabelExtension = None,
    as_json: Json = False,
) -> None:
    """Keep the tags of labels or sidecars as decisions; a missing tag says nothing."""
    from tagstack.ensemble.tasks.feedback import import_labels

    n_new = import_labels(review, images, labels, _name(who), endings_of(label_extension))
    _print({"decisions": n_new}, f"{n_new} new decisions.", as_json=as_json)


class Mode(StrEnum):
    """What becomes of thresholds that are surely worse."""

    SUGGEST = "suggest"
    AUTO = "auto"


@feedback.command(
    epilog="tagstack feedback apply --bundle bundle\n\n"
    "tagstack feedback apply --bundle bundle --review review --mode auto"
)
def apply(
    bundle: BundleDir,
    review: ReviewDir = Path("review"),
    mode: Annotated[
        Mode, typer.Option(help="suggest shows; auto puts a new version in use, within limits.")
    ] = Mode.SUGGEST,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say which thresholds people's answers show to be surely worse than others."""
    from dataclasses import asdict

    from tagstack.ensemble.console.console import print_json
    from tagstack.ensemble.console.feedback import print_applied
    from tagstack.ensemble.tasks.feedback_apply import apply_feedback

    settings = settings_of(config, uses=("feedback",))
    found = apply_feedback(bundle, review, settings.feedback, put_in_use=mode is Mode.AUTO)
    if as_json:
        print_json(asdict(found))
    else:
        print_applied(found, auto=mode is Mode.AUTO)


def _print(content: dict[str, object], text: str, *, as_json: bool) -> None:
    from tagstack.ensemble.console.console import out, print_json

    if as_json:
        print_json(content)
    else:
        out.print(text, soft_wrap=True)


def _name(who: str | None) -> str:
    if who is not None and who.strip():
        return who.strip()
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, as in containers
        return "somebody"
