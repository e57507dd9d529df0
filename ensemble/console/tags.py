"""What `tag` and `explain` print."""

from dataclasses import asdict

from rich.table import Table

from tagstack.ensemble.console.console import err, out, plain, print_failures, print_json
from tagstack.ensemble.tasks.explain import Explanation
from tagstack.ensemble.tasks.tag import TagSummary

_NAMED = 5  # how many names a summary shows


def print_tag_summary(summary: TagSummary, *, as_json: bool) -> None:
    """Print what tagging wrote."""
    if as_json:
        content = {**asdict(summary), "kept": [str(path) for path in summary.kept]}
        print_json(content)
        return
    mean = summary.n_tags / summary.n_images if summary.n_images else 0.0
    out.print(
        f"Tagged {summary.n_images} images, {mean:.1f} tags each; {summary.n_failed} failed. "
        f"Thresholds: {summary.thresholds}."
    )
    print_failures([(item.name, item.reason) for item in summary.failures])
    if summary.kept:
        names = ", ".join(str(path) for path in summary.kept[:_NAMED])
        err.print(
            f"{len(summary.kept)} files exist with other content and were kept: {names}. "
            "Pass --overwrite to replace them.",
            markup=False,
            soft_wrap=True,
        )
    if summary.collisions:
        names = ", ".join(summary.collisions[:_NAMED])
        err.print(
            f"{len(summary.collisions)} images share their name with another but for the suffix; "
            f"their sidecars keep the suffix: {names}",
            markup=False,
            soft_wrap=True,
        )


def print_explanation(explanation: Explanation, *, as_json: bool) -> None:
    """Print each tag's votes, probability, threshold and rule."""
    if as_json:
        print_json(asdict(explanation))
        return
    members = tuple(explanation.entries[0].votes) if explanation.entries else ()
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("", "tag", *members, "stack", "threshold", "rule"):
        figure = name not in ("", "tag", "rule")
        table.add_column(
            plain(name), justify="right" if figure else "left", no_wrap=figure, overflow="fold"
        )
    for entry in explanation.entries:
        votes = ("-" if vote is None else f"{vote:.3f}" for vote in entry.votes.values())
        mark = "[green]+[/]" if entry.tagged else " "
        numbers = (f"{entry.proba:.3f}", f"{entry.threshold:.3f}")
        table.add_row(mark, plain(entry.tag), *votes, *numbers, plain(entry.rule))
    out.print(table)
    out.print(
        "+ tagged; - the tagger does not know the tag. Votes are the taggers' own probabilities, "
        f"stack is the calibrated probability of the rung {explanation.chosen!r}; the thresholds "
        f"are version {explanation.thresholds!r}."
    )
    for change in explanation.changes:
        out.print(f"  {change}", markup=False, soft_wrap=True)
