"""What `tag` and `explain` print."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from tagstack.ensemble.console.console import err, marked, out, print_failures, print_json

if TYPE_CHECKING:
    from tagstack.ensemble.tasks.explain import Explanation
    from tagstack.ensemble.tasks.tag_request import TagSummary

_PATHS = ("kept", "moved", "stale")
_NAMED = 5  # how many names a summary shows


def print_tag_summary(summary: "TagSummary", *, as_json: bool) -> None:
    """Print what tagging wrote."""
    if as_json:
        paths = {key: [str(path) for path in getattr(summary, key)] for key in _PATHS}
        print_json({**asdict(summary), **paths})
        return
    mean = summary.n_tags / summary.n_images if summary.n_images else 0.0
    skipped = f"{summary.n_skipped} skipped, " if summary.n_skipped else ""
    out.print(
        f"Tagged {summary.n_images} images, {mean:.1f} tags each; {summary.n_current} were up to "
        f"date, {skipped}{summary.n_failed} failed. Thresholds: {summary.thresholds}."
    )
    if summary.caution:
        out.print(f"Tagged with {summary.caution}", markup=False, soft_wrap=True)
    print_failures([(item.name, item.reason) for item in summary.failures])
    _print_names(
        summary.kept,
        "files exist with other content and were kept: {}. Pass --overwrite to replace them.",
    )
    _print_names(
        summary.collisions,
        "images share their name with another but for the suffix; their sidecars keep the suffix: "
        "{}",
    )
    _print_names(
        summary.moved, "own files were removed, as their pictures' files have other names now: {}"
    )
    _print_names(
        summary.stale,
        "files are of pictures that are no longer there: {}. Pass --prune to delete those that "
        "nobody changed.",
    )
    if summary.pruned:
        err.print(f"{summary.pruned} files of pictures that are no longer there were deleted.")


def _print_names(names: Sequence[object], text: str) -> None:
    if names:
        shown = ", ".join(str(name) for name in names[:_NAMED])
        err.print(f"{len(names)} {text.format(shown)}", markup=False, soft_wrap=True)


def print_explanation(explanation: "Explanation", *, as_json: bool) -> None:
    """Print each tag's votes, probability, threshold and rule."""
    if as_json:
        print_json(asdict(explanation))
        return
    members = tuple(explanation.entries[0].votes) if explanation.entries else ()
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("", "tag", *members, "stack", "threshold", "rule"):
        figure = name not in ("", "tag", "rule")
        table.add_column(
            name, justify="right" if figure else "left", no_wrap=figure, overflow="fold"
        )
    for entry in explanation.entries:
        votes = ("-" if vote is None else f"{vote:.3f}" for vote in entry.votes.values())
        mark = marked("+", "green") if entry.tagged else " "
        numbers = (f"{entry.proba:.3f}", f"{entry.threshold:.3f}")
        table.add_row(mark, entry.tag, *votes, *numbers, entry.rule)
    out.print(table)
    out.print(
        "+ tagged; - the tagger does not know the tag. Votes are the taggers' own probabilities, "
        f"stack is the calibrated probability of the rung {explanation.chosen!r}; the thresholds "
        f"are version {explanation.thresholds!r}."
    )
    for change in explanation.changes:
        out.print(f"  {change}", markup=False, soft_wrap=True)
    if explanation.not_asked:
        names = ", ".join(explanation.not_asked)
        out.print(f"The cascade ended before {names}.", markup=False, soft_wrap=True)
    if explanation.caution:
        out.print(f"This is {explanation.caution}", markup=False, soft_wrap=True)
