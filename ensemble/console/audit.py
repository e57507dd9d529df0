"""The command ``audit``: what a bundle's tags favour, in plain words."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.ensemble.console.groups import LabelRows, grouped
from tagstack.ensemble.console.options import (
    BundleDir,
    Config,
    Json,
    Labels,
    Out,
    Overwrite,
    Scores,
    Seed,
    listed,
    settings_of,
)

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.ensemble.audit.results import Audit

_SHOWN = 10


@grouped
def audit(
    *,
    bundle: BundleDir,
    scores: Scores,
    labels: Labels,
    out: Out,
    by: Annotated[
        str | None, typer.Option(help="Label columns to slice by, comma-separated; default all.")
    ] = None,
    holding: Annotated[
        str | None,
        typer.Option("--with", help="Also images with these tags, comma-separated; * is any text."),
    ] = None,
    parts: Annotated[
        str, typer.Option(help="Tags by category, frequency, family; none for no such slice.")
    ] = "category,frequency,family",
    groups: Annotated[
        Path | None, typer.Option("--groups", help="TOML with families of tags of your own.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Folder of an earlier audit: what got worse since?")
    ] = None,
    rows: LabelRows,
    config: Config = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Say on which kinds of images the tags are worse, and which come for company alone."""
    from tagstack.ensemble.console.console import out as console
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.audit import AuditRequest, audit_bundle

    settings = settings_of(config, seed=seed, uses=("audit", "compare", "seed"))
    request = AuditRequest(
        bundle=bundle,
        source=rows.source(scores, labels),
        out=out,
        by=None if by is None else listed(by, "--by"),
        holding=() if holding is None else listed(holding, "--with"),
        parts=() if parts == "none" else listed(parts, "--parts"),
        tag_groups=groups,
        against=against,
        overwrite=overwrite,
    )
    with stages() as progress:
        found = audit_bundle(request, settings, progress)
    if as_json:
        print_json({**found.plain(), "out": str(found.out)})
        return
    for line in _lines(found):
        console.print(line, soft_wrap=True)


def _lines(found: "Audit") -> Iterator[str]:
    from tagstack.ensemble.audit.companions import STACK
    from tagstack.ensemble.audit.words import changed, headline, met, proposed, sentence, since
    from tagstack.ensemble.tasks.audit import COMPANIONS, PAGE
    from tagstack.meta.metrics.bootstrap import BETTER, WORSE

    yield f"{found.n_images} images in {found.n_groups} groups. {headline(found)}."
    if found.changes is not None:
        yield f"{since(found.changes)}."
        sure = (one for one in found.changes.found if one.verdict in (WORSE, BETTER))
        ranked = sorted(sure, key=lambda one: one.difference)
        for change in ranked[:_SHOWN]:
            yield f"  {changed(change)}"
    for look in found.sure[:_SHOWN]:
        yield f"  {sentence(look)}"
    for shift in found.shifts:
        if shift.helps:
            yield f"  {proposed(shift)}"
    own = [one for one in found.companions if one.by == STACK]
    for one in own[:_SHOWN]:
        yield f"  {met(one)}"
    if others := len(found.companions) - len(own):
        yield f"  {others} more pairs of a tagger alone are in {COMPANIONS}"
    yield f"Report: {found.out / PAGE}"
