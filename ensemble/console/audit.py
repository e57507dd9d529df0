"""The command ``audit``: what a bundle's tags favour, in plain words."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagstack.ensemble.console.groups import LabelRows, Running, grouped
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
    listed_taggers,
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
    probes: Annotated[
        Path | None,
        typer.Option(help="Folder of the scored pictures: see them in grey, as edges, ..."),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Where the taggers are now, for --probes; as in `tag`.")
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(help="Columns, comma-separated: fit without each value, and judge on it."),
    ] = None,
    drop_members: Annotated[
        bool,
        typer.Option("--drop-members", help="Fit without each tagger: who gains, who loses?"),
    ] = False,
    rows: LabelRows,
    running: Running,
    config: Config = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Say on which kinds of images the tags are worse, and which come for company alone."""
    from tagstack.ensemble.console.console import out as console
    from tagstack.ensemble.console.console import print_json, stages
    from tagstack.ensemble.tasks.audit import AuditRequest, audit_bundle
    from tagstack.ensemble.tasks.audit_probes import ProbeRequest
    from tagstack.ensemble.tasks.audit_question import AuditQuestion
    from tagstack.ensemble.tasks.audit_refits import RefitRequest

    settings = settings_of(
        config,
        seed=seed,
        runtime=running.settings(),
        uses=("audit", "compare", "score", "seed", "threads"),
    )
    taggers = None if models is None else listed_taggers(models)
    columns = () if leave_out is None else listed(leave_out, "--leave-out")
    question = AuditQuestion(
        by=None if by is None else listed(by, "--by"),
        holding=() if holding is None else listed(holding, "--with"),
        parts=() if parts == "none" else listed(parts, "--parts"),
        tag_groups=groups,
        against=against,
        probes=None if probes is None else ProbeRequest(images=probes, models=taggers),
        refits=RefitRequest(columns=columns, members=drop_members),
    )
    request = AuditRequest(
        bundle=bundle,
        source=rows.source(scores, labels),
        out=out,
        question=question,
        overwrite=overwrite,
    )
    with stages() as progress:
        found = audit_bundle(request, settings, progress)
    if as_json:
        print_json({**found.plain(), "out": str(out)})
        return
    for line in _lines(found, out):
        console.print(line, soft_wrap=True)


def _lines(found: "Audit", out: Path) -> Iterator[str]:
    from tagstack.ensemble.audit.companions import STACK
    from tagstack.ensemble.audit.files import COMPANIONS, PAGE, PROBE_TAGS
    from tagstack.ensemble.audit.refits import VALUE
    from tagstack.ensemble.audit.words import (
        changed,
        headline,
        met,
        moved,
        moved_tag,
        proposed,
        refit,
        sentence,
        since,
    )
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
    if found.probes is not None:
        for row in found.probes.moved:
            if row.by == STACK:
                yield f"  {moved(row)}"
        tags = [one for one in found.probes.tags if one.by == STACK]
        for tag in tags[:_SHOWN]:
            yield f"  {moved_tag(tag)}"
        if more := len(found.probes.tags) - len(tags[:_SHOWN]):
            yield f"  {more} more tags that move are in {PROBE_TAGS}"
    for fit in found.refits:
        if fit.left_out == VALUE or fit.verdict in (WORSE, BETTER):
            yield f"  {refit(fit)}"
    yield f"Report: {out / PAGE}"
