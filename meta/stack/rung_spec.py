"""What is known of a rung before anything is computed, from the fit to the report.

A rung's name is an identity and is never taken apart: whose rung it is, what it belongs to and
what readers call it stand in its `RungSpec`. The specs of a stack's rungs are made here and
nowhere else; `tagstack.ensemble.comparison.ladder` adds those of what only a comparison has.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tagstack.configs.stack import StackSettings
from tagstack.meta.learners.registry import META, about, level_two

Kind = Literal[
    "member",  # a tagger alone
    "start",  # made without labels
    "average",  # of taggers
    "logistic",  # the shrunken one, which learners start from
    "learner",  # of level 2
    "meta",  # the meta-model
    "blend",  # of all from the averages up
    "bands",  # a rung for each band of tags
    "stack",  # what the gate chose, with or without the rules
    "tool",  # another tool's output
]

BLEND, BY_BAND, START = "blend", "by_band", "start"
STACK = "stack"
"""The rung that a comparison has for what the gate chose; learners are parts of it."""

_AVERAGES = {
    "mean": "Mean of probabilities",
    "calibrated_mean": "Calibrated mean",
    "caruana": "Caruana selection of members",
}
_LOGISTIC = "shrunken_logistic"


@dataclass(frozen=True, kw_only=True)
class RungSpec:
    """One rung.

    Parameters
    ----------
    name : str
        Unique on its ladder; what files and commands call it.
    title : str
        What the report calls it.
    kind : str
    part_of : str
        Name of the rung that holds it: shown on the ladder, but no rival of that one. Empty for
        one that stands alone.
    raw_of : str
        Name of the rung that has its probabilities calibrated. Empty without one.
    monotone : bool
        Whether a higher logit of it may never lower the meta-model's.
    member : str
        The tagger that it is of; empty for what several have a say in.
    rules_of : str
        Name of the rung whose probabilities it has, with decisions under the rules. Empty for one
        without rules.
    """

    name: str
    title: str
    kind: Kind
    part_of: str = ""
    raw_of: str = ""
    monotone: bool = True
    member: str = ""
    rules_of: str = ""

    @property
    def is_single(self) -> bool:
        """Whether it is one tagger alone."""
        return self.kind == "member"

    @property
    def is_published(self) -> bool:
        """Whether it is a tagger as it was published, nothing of it fitted."""
        return self.is_single and bool(self.raw_of) and not self.rules_of

    @property
    def is_foreign(self) -> bool:
        """Whether it is another tool's output: no step of our ladder."""
        return self.kind == "tool"

    @property
    def column(self) -> str:
        """Name of its column in the meta-model's table."""
        return f"level2:{self.name}"


def ruled_name(rung: str) -> str:
    """Return the name of a rung's twin whose decisions the rules have a say in."""
    return f"{rung} + decoder"


def ruled_spec(spec: RungSpec) -> RungSpec:
    """Return the spec of a rung's twin under the rules."""
    return replace(
        spec,
        name=ruled_name(spec.name),
        title=f"{spec.title}, with rules",
        raw_of=ruled_name(spec.raw_of) if spec.raw_of else "",
        rules_of=spec.name,
    )


def rung_specs(
    members: Sequence[str],
    settings: StackSettings,
    *,
    banded: bool = False,
    started: bool = False,
) -> tuple[RungSpec, ...]:
    """Return the rungs in the order of the report: singles, averages, learners, blend.

    Parameters
    ----------
    members : sequence of str
    settings : StackSettings
        Its learners, those of installed packages included.
    banded : bool
        Whether bands of tags have rungs of their own, which makes one rung more.
    started : bool
        Whether the members' files give an answer without labels, which makes one rung more.

    Raises
    ------
    TagstackError
        If a learner is neither built in nor offered by an installed package.
    """
    meta = (META,) if META in settings.learners else ()
    return (
        *(single_spec(member) for member in members),
        *((start_spec(),) if started else ()),
        *(_average(name) for name in _AVERAGES),
        _part(_LOGISTIC, "Shrunken logistic per tag", "logistic"),
        *(_learner(name, "learner") for name in level_two(settings.learners)),
        *(_learner(name, "meta") for name in meta),
        _part(BLEND, "Blend of learners", "blend"),
        *((_part(BY_BAND, "A rung for each band of tag frequency", "bands"),) if banded else ()),
    )


def single_spec(member: str) -> RungSpec:
    """Return the spec of one tagger with calibrated probabilities."""
    return RungSpec(name=f"single:{member}", title=f"{member}, tuned", kind="member", member=member)


def start_spec() -> RungSpec:
    """Return the spec of the answer without labels."""
    return RungSpec(name=START, title="Start, made without labels", kind="start")


def _average(name: str) -> RungSpec:
    raw_of = "calibrated_mean" if name == "mean" else ""
    return RungSpec(name=name, title=_AVERAGES[name], kind="average", raw_of=raw_of)


def _learner(name: str, kind: Kind) -> RungSpec:
    found = about(name)
    return _part(name, found.title, kind, monotone=found.monotone)


def _part(name: str, title: str, kind: Kind, *, monotone: bool = True) -> RungSpec:
    return RungSpec(name=name, title=title, kind=kind, part_of=STACK, monotone=monotone)


def simplest_first(specs: Sequence[RungSpec], off: Container[str] = ()) -> tuple[str, ...]:
    """Return the rungs that the gate may choose; it prefers the earlier of two equally good ones.

    Singles are reported but not chosen, nor are the level-2 learners while the blend that holds
    them is there: where it was switched off, they are what is left above the plain rungs. What is
    not calibrated is never chosen: thresholds of few labels make nonsense of it.

    Parameters
    ----------
    specs : sequence of RungSpec
        Every rung of the stack.
    off : container of str
        Rungs that the rehearsal switched off.
    """
    learned: Kind = "learner" if BLEND in off else "blend"
    order: tuple[Kind, ...] = ("start", "average", "logistic", learned, "meta")
    return tuple(
        spec.name
        for kind in order
        for spec in specs
        if spec.kind == kind and not spec.raw_of and spec.name not in off
    )


def blended_rungs(specs: Sequence[RungSpec], off: Container[str] = ()) -> tuple[str, ...]:
    """Return the rungs that the blend weighs: all that are calibrated and no tagger alone."""
    kinds = ("average", "logistic", "learner", "meta")
    return tuple(
        spec.name
        for spec in specs
        if spec.kind in kinds and not spec.raw_of and spec.name not in off
    )
