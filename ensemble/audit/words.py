"""What an audit says in words: terminal and page."""

from tagstack.ensemble.audit.companions import STACK, Companion
from tagstack.ensemble.audit.history import FigureChange, FigureChanges
from tagstack.ensemble.audit.looks import Look
from tagstack.ensemble.audit.probes import Moved, MovedTag
from tagstack.ensemble.audit.refits import VALUE, Refit
from tagstack.ensemble.audit.results import Audit
from tagstack.ensemble.audit.shifts import Shift
from tagstack.ensemble.audit.slices import ALL, COLUMN, FREQUENCY, HELD, TAG_KINDS
from tagstack.meta.metrics.bootstrap import BETTER, WORSE

FIGURE_WORDS = {
    "precision": "share of the given tags that is right",
    "recall": "share of the true tags that is given; differences in it are the equal-opportunity "
    "gap",
    "f1": "precision and recall in one: their harmonic mean",
    "tagging": "tags given beyond the true ones, (given - true) / (given + true): above 0 "
    "over-tagged, below 0 under-tagged",
    "calibration": "mean of probability minus truth: above 0 too sure of what does not hold",
}
SHORT = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "tagging": "tags given beyond the true ones",
    "calibration": "probability beyond the truth",
}


def title_of(kind: str, column: str, value: str) -> str:
    """Return what a slice, or without a value its column, is called in a line."""
    if kind == COLUMN:
        return f"{column}={value}" if value else column
    if kind == ALL:
        return value
    if kind == HELD:
        return f"images with {value}" if value else "images with a tag"
    if not value:
        return f"tags by {column}"
    return f"tags {value}" if kind == FREQUENCY else f"tags of {column} {value}"


def headline(audit: Audit) -> str:
    """Return in one sentence how much surely differs."""
    parts = [
        f"{text} differ surely in {sum(look.sure for look in own)} of {len(own)} figures"
        for text, own in (
            ("kinds of images", [look for look in audit.looks if look.kind not in TAG_KINDS]),
            ("kinds of tags", [look for look in audit.looks if look.kind in TAG_KINDS]),
        )
        if own
    ]
    compared = ", ".join(parts) or "no slice is large enough to compare"
    n_pairs = sum(one.by == STACK for one in audit.companions)
    company = "1 tag is" if n_pairs == 1 else f"{n_pairs} tags are"
    return f"{compared[0].upper()}{compared[1:]}; {company} given for company of another"


def sentence(look: Look) -> str:
    """Return one look in words."""
    rest = "the other tags" if look.kind in TAG_KINDS else "other images"
    return (
        f"{title_of(look.kind, look.column, look.value)} ({look.n_images:,} images): "
        f"{SHORT[look.figure]} {look.here:.3f}, of {rest} {look.elsewhere:.3f} "
        f"({look.difference:+.3f}, from {look.low:+.3f} to {look.high:+.3f})"
    )


def proposed(one: Shift) -> str:
    """Return one proposal of thresholds in words."""
    way = "higher" if one.shift > 0 else "lower"
    return (
        f"{title_of(one.kind, one.column, one.value)} ({one.n_images:,} images): thresholds "
        f"{abs(one.shift):g} log-odds {way} than those in use help surely: F1 {one.after:.3f} on "
        f"left-out groups, {one.before:.3f} without ({one.difference:+.3f}, from {one.low:+.3f} to "
        f"{one.high:+.3f}); a proposal, nothing was changed"
    )


def since(changes: FigureChanges) -> str:
    """Return in words how much changed since an earlier audit."""
    n_worse, n_better = (
        sum(one.verdict == verdict for one in changes.found) for verdict in (WORSE, BETTER)
    )
    left_out = "".join(
        f", {n:,} {text}"
        for n, text in (
            (changes.n_relabelled, "left out since their labels changed"),
            (changes.n_missing, "seen by one audit alone"),
        )
        if n
    )
    return (
        f"Since bundle {changes.bundle} with thresholds {changes.thresholds}: surely worse in "
        f"{n_worse} and better in {n_better} of {len(changes.found)} figures on the "
        f"{changes.n_images:,} images that both audits have{left_out}"
    )


def changed(one: FigureChange) -> str:
    """Return one change in words."""
    return (
        f"{title_of(one.kind, one.column, one.value)} ({one.n_images:,} images): "
        f"{SHORT[one.figure]} {one.after:.3f}, before {one.before:.3f} ({one.verdict} by "
        f"{abs(one.difference):.3f}, from {one.low:+.3f} to {one.high:+.3f})"
    )


def moved(one: Moved) -> str:
    """Return in words what a guise does."""
    by = "" if one.by == STACK else f" by {one.by}"
    sure = "" if one.sure else ", not sure"
    return (
        f"{one.guise}: {one.kept:.0%} of the given tags are still given{by} (from "
        f"{one.kept_low:.0%} to {one.kept_high:.0%}); F1 {one.after:.3f}, of the pictures as they "
        f"are {one.before:.3f} ({one.difference:+.3f}, from {one.low:+.3f} to {one.high:+.3f}"
        f"{sure})"
    )


def moved_tag(one: MovedTag) -> str:
    """Return in words how a tag moves in a guise."""
    by = "" if one.by == STACK else f" by {one.by}"
    return (
        f"{one.tag}, {one.guise}: given{by} on {one.after} pictures, as they are on {one.before} "
        f"({one.both} in common)"
    )


def refit(one: Refit) -> str:
    """Return in words what a fit without something does."""
    sure = "" if one.verdict in (BETTER, WORSE) else ", not sure"
    figures = (
        f"F1 {one.after:.3f}, with it {one.before:.3f} ({one.difference:+.3f}, from "
        f"{one.low:+.3f} to {one.high:+.3f}{sure})"
    )
    title = title_of(one.kind, one.column, one.value)
    if one.left_out == VALUE:
        return f"{title} ({one.n_images:,} images), fitted without any of them: {figures}"
    proposal = "; a proposal, nothing was changed" if one.verdict == BETTER else ""
    return f"{title} ({one.n_images:,} images), without {one.without}: {figures}{proposal}"


def met(one: Companion) -> str:
    """Return one companion in words."""
    by = "" if one.by == STACK else f" by {one.by}"
    return (
        f"{one.tag} with {one.company}: given{by} on {one.n_wrong} of {one.n_images} images "
        f"without it, {one.ratio:.1f} times as often as usual (from {one.low:.1f} to "
        f"{one.high:.1f})"
    )
