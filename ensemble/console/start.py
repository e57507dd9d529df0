"""What `start` prints: what the bundle rests on, and what it does not know."""

import math
from collections.abc import Iterator
from pathlib import Path

from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.console.console import out, print_json


def print_start(bundle: Bundle, directory: Path, *, as_json: bool) -> None:
    """Print what a start bundle was made of."""
    if as_json:
        print_json(bundle.evidence)
        return
    for line in start_lines(bundle):
        out.print(line, markup=False, soft_wrap=True)
    out.print(f"Bundle: {directory}", markup=False, soft_wrap=True)


def start_lines(bundle: Bundle) -> Iterator[str]:
    """Yield in words: taggers and tags, counts, what pictures showed, and the caution."""
    start, names = bundle.evidence["start"], [member.name for member in bundle.members]
    yield f"{len(bundle.vocabulary)} tags of {len(names)} taggers: {', '.join(names)}."
    yield _of_counts(start["counted_tags"], len(bundle.vocabulary))
    if start["n_images"]:
        weights = zip(names, start["weights"], strict=True)
        yield (
            f"{start['n_images']} unlabelled images: {start['tags_per_image']:.1f} tags each "
            f"before rules. Weights: {', '.join(f'{name} {value:.2f}' for name, value in weights)}."
        )
        yield from (
            f"Near copies, which share one weight: {', '.join(group)}." for group in start["copies"]
        )
        yield _of_rates(start["count_share"], start["rate_spread"])
    else:
        yield "No image was looked at: every tagger counts alike. --images FOLDER looks at yours."
    yield f"This is {bundle.caution}"


def _of_counts(n_counted: int, n_tags: int) -> str:
    if not n_counted:
        return (
            "No tag file says how frequent its tags are: published thresholds stand as they are, "
            "and rare tags will be missed."
        )
    rest = "" if n_counted == n_tags else f"; {n_tags - n_counted} others keep theirs"
    return f"Counts in the tag files lower the thresholds of rarer tags ({n_counted} tags{rest})."


def _of_rates(share: float, spread: float | None) -> str:
    if spread is None:
        return "How often each tag comes was left as the thresholds give it: too little to compare."
    return (
        f"How often each tag comes was moved {share:.0%} of the way to the published counts "
        f"(your images differ from those by a factor of {math.exp(spread):.1f}, typically)."
    )
