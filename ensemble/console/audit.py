"""The command ``audit``: what a bundle's tags favour, in plain words."""

from collections.abc import Iterator
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
    from tagstack.ensemble.tasks.audit import Audit

_SHOWN = 10
_WORDS = {
    "precision": "share of its tags that is right",
    "recall": "share of the true tags that it gives",
    "f1": "F1",
    "tagging": "tags given beyond the true ones",
    "calibration": "probability beyond the truth",
}


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

    settings = settings_of(config, seed=seed, uses=("compare", "seed"))
    request = AuditRequest(
        bundle=bundle,
        source=rows.source(scores, labels),
        out=out,
        by=() if by is None else listed(by, "--by"),
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
    sure = sorted((x for x in found.looks if x.sure), key=lambda x: -abs(x.difference))
    yield (
        f"{found.n_images} images in {found.n_groups} groups; {len(sure)} of {len(found.looks)} "
        f"figures of slices surely differ from those of the other images (false discovery rate "
        f"{found.false_discovery_rate:.0%})."
    )
    for look in sure[:_SHOWN]:
        yield (
            f"  {look.column}={look.value} ({look.n_images} images): {_WORDS[look.figure]} "
            f"{look.here:.3f}, elsewhere {look.elsewhere:.3f} ({look.difference:+.3f}, from "
            f"{look.low:+.3f} to {look.high:+.3f})"
        )
    yield (
        f"{len(found.companions)} of {found.n_pairs} pairs of tags: one is given too often where "
        "the other holds and it does not."
    )
    for one in found.companions[:_SHOWN]:
        yield (
            f"  {one.tag} with {one.company}: given on {one.n_wrong} of {one.n_images} images "
            f"without it, {one.ratio:.1f} times as often as usual (from {one.low:.1f} to "
            f"{one.high:.1f})"
        )
    yield f"All figures: {found.out}"
