"""The command ``tag``: the settings of ``[output]`` as options of the same words."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagstack.ensemble.console.groups import Cascading, Running, Target, grouped
from tagstack.ensemble.console.options import (
    Config,
    Images,
    Json,
    Overwrite,
    Prune,
    Ray,
    RetryFailed,
    ScoresNow,
    Seed,
    TaggersNow,
    exit_with_failures,
    formats_of,
    listed,
    listed_taggers,
    settings_of,
)

if TYPE_CHECKING:
    from tagstack.configs.settings import Settings

USED = ("seed", "threads", "score", "cascade", "output", "moderation")
"""Sections of the settings that tagging with a bundle heeds."""

_CAPTIONS = "Captions"
_FILES = "Files"


def _text(help: str, panel: str = _CAPTIONS) -> Any:
    return typer.Option(help=help, rich_help_panel=panel)


First = Annotated[str | None, _text("Tags before all others, comma-separated: a trigger word.")]
Exclude = Annotated[
    str | None, _text("Leave out tags, wildcards and category:NAME, comma-separated.")
]
Categories = Annotated[
    str | None, _text("Order of the categories; one that is missing is left out, * = all others.")
]
Replace = Annotated[list[str] | None, _text("OLD=NEW, repeatable; nothing after = leaves it out.")]
Copyrights = Annotated[str | None, _text("Table of implications that gives characters theirs.")]
Rating = Annotated[bool | None, _text("Whether captions show the rating.")]
MaxTags = Annotated[
    int | None, typer.Option(min=0, help="Only the most probable.", rich_help_panel=_CAPTIONS)
]
Order = Annotated[str | None, _text("category, proba, name or random.")]
KeepFirst = Annotated[
    int | None,
    typer.Option(min=0, help="Tags a random order leaves in front.", rich_help_panel=_CAPTIONS),
]
Separator = Annotated[str | None, _text("Between tags.")]
Spaces = Annotated[bool | None, _text("Spaces for underscores.")]
Escape = Annotated[bool | None, _text("Backslashes before parentheses, as prompts need them.")]
Implied = Annotated[str | None, _text("keep, add or drop tags that others imply.")]
Existing = Annotated[
    str | None, _text("Captions of others: keep, append, merge, replace or skip.", _FILES)
]
Extension = Annotated[str | None, _text("Suffix of captions, such as .caption.", _FILES)]
SidecarName = Annotated[str | None, _text("stem, full, or format: what its readers want.", _FILES)]
Beside = Annotated[bool | None, _text("Sidecars beside the pictures.", _FILES)]
ParquetRows = Annotated[str | None, _text("A row each image, or each pair with a tag.", _FILES)]


@grouped
def tag(
    *,
    images: Images,
    target: Target,
    first: First = None,
    exclude: Exclude = None,
    categories: Categories = None,
    replace: Replace = None,
    copyrights: Copyrights = None,
    rating: Rating = None,
    max_tags: MaxTags = None,
    order: Order = None,
    keep_first: KeepFirst = None,
    separator: Separator = None,
    spaces: Spaces = None,
    escape_parentheses: Escape = None,
    implied: Implied = None,
    existing: Existing = None,
    extension: Extension = None,
    sidecar_name: SidecarName = None,
    beside: Beside = None,
    parquet_rows: ParquetRows = None,
    models: TaggersNow = None,
    rules: Annotated[
        str | None, typer.Option(help="Without a bundle: shipped rules by name, .toml or .csv.")
    ] = None,
    scores: ScoresNow = None,
    cascading: Cascading,
    config: Config = None,
    running: Running,
    ray: Ray = None,
    seed: Seed = None,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read pictures again that look unchanged.")
    ] = False,
    retry_failed: RetryFailed = False,
    prune: Prune = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Tag images with a bundle or taggers alone; run again to resume or bring files up to date."""
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.console.tags import print_tag_summary
    from tagstack.ensemble.tasks.tag import tag_images
    from tagstack.ensemble.tasks.tag_request import TagRequest

    output: dict[str, object] = {
        "first": _several(first, "--first"),
        "exclude": _several(exclude, "--exclude"),
        "categories": _several(categories, "--categories"),
        "replace": _replacements(replace),
        "copyrights": copyrights,
        "rating": rating,
        "max_tags": max_tags,
        "order": order,
        "keep_first": keep_first,
        "separator": separator,
        "spaces": spaces,
        "escape_parentheses": escape_parentheses,
        "implied": implied,
        "existing": existing,
        "extension": extension,
        "sidecar_name": sidecar_name,
        "beside": beside,
        "parquet_rows": parquet_rows,
    }
    given = {key: value for key, value in output.items() if value is not None}
    # Without a bundle, what makes one from the taggers counts as well.
    more = () if target.bundle is not None else ("start", "decoder")
    uses = (*USED, "cluster", *more)
    settings, formats = tag_settings(config, target, given, running, seed, uses)
    request = TagRequest(
        images=tuple(images),
        bundle=target.bundle,
        out=target.out,
        formats=formats,
        models=None if models is None else listed_taggers(models),
        rules=rules,
        overwrite=overwrite,
        rehash=rehash,
        retry_failed=retry_failed,
        prune=prune,
        scores=scores,
        cascade=cascading.cascade,
        cascade_loss=cascading.cascade_loss,
        ray=ray,
        given=tuple(given),
    )
    with stages() as progress:
        summary = tag_images(request, settings, progress)
    print_tag_summary(summary, as_json=as_json)
    exit_with_failures(summary.n_failed)


def tag_settings(
    config: Path | None,
    target: Target,
    given: dict[str, object],
    running: Running,
    seed: int | None,
    uses: tuple[str, ...] = USED,
) -> "tuple[Settings, tuple[str, ...]]":
    """Return the settings and the formats: defaults, the preset, the file, then the options."""
    from tagstack.configs.presets import load_preset

    chosen = None if target.preset is None else load_preset(target.preset)
    settings = settings_of(
        config,
        seed=seed,
        output=given,
        runtime=running.settings(),
        preset=None if chosen is None else chosen.output,
        uses=uses,
    )
    if target.out is None and not settings.output.beside:
        raise typer.BadParameter("say where the results go, or pass --beside.", param_hint="--out")
    if target.formats is not None:
        return settings, formats_of(target.formats)
    return settings, formats_of(",".join(chosen.formats)) if chosen else ("txt",)


def _several(text: str | None, option: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    return listed(text, option) if text.strip() else ()


def _replacements(texts: list[str] | None) -> dict[str, str] | None:
    if texts is None:
        return None
    found = {}
    for text in texts:
        old, equals, new = text.partition("=")
        if not (old.strip() and equals):
            msg = f"{text!r} is not OLD=NEW, such as 1girl=woman."
            raise typer.BadParameter(msg, param_hint="--replace")
        found["_".join(old.split())] = new.strip()
    return found
