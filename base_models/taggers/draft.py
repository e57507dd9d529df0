"""A contract drawn up from what a tagger's files show; what they do not show stays open.

Every value knows where it comes from. Nothing is guessed in silence: what no file says and no run
shows is a question, with the answers that a contract takes, or it is said to be assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from tagstack.base_models.contract import Contract, contract_from_toml
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown
from tagstack.configs.text_files import parse_toml

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
YOU = "you said so"
ASSUMED = "assumed: nothing says it"
SCALE = ("input.range", "input.mean", "input.std")
_INPUT = ("colour", "geometry", "resample", "pad", "matte", "rounding", "canvas", "size")
KEYS = (
    "name", "source", "licence", "files.model", "files.tags", "tags.categories", "output.name",
    "output.kind", "input.layout", *(f"input.{key}" for key in _INPUT), *SCALE,
    "threshold.default",
)  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """A value of the contract, and where it comes from."""

    value: Any
    source: str


@dataclass(frozen=True)
class Question:
    """A value that nothing shows: its key, what it is, the answers that are taken, and a hint.

    Without ``choices`` any value of the contract will do.
    """

    key: str
    what: str
    choices: tuple[str, ...] = ()
    hint: str = ""

    @property
    def text(self) -> str:
        """The question in one line."""
        choices = f" [{', '.join(self.choices)}]" if self.choices else ""
        return f"{self.key}: {self.what}{choices}{f'; {self.hint}' if self.hint else ''}"


QUESTIONS = {
    "input.size": Question("input.size", "width and height of the network's input in pixels"),
    "input.colour": Question("input.colour", "order of the colours", ("RGB", "BGR")),
    "input.range": Question(
        "input.range",
        "scale of the pixels (imagenet: mean and deviation of ImageNet)",
        ("0-255", "0-1", "-1-1", "imagenet"),
    ),
    "input.geometry": Question(
        "input.geometry",
        "how a picture becomes a square",
        ("pad_square", "pad_square_up", "squash", "fit_pad", "fit_edge"),
    ),
    "input.resample": Question(
        "input.resample", "filter of the resize", ("bicubic", "bilinear", "lanczos", "area")
    ),
}


@dataclass
class Draft:
    """What is known of a contract so far.

    Parameters
    ----------
    folder : Path
    given : mapping of key to Fact
        What the user or labelled pictures said; it wins over files.
    facts : dict of key to Fact
        In the order of a contract.
    open : list of Question
        In the order in which they are asked; the answer to one may open or close others.
    notes : list of str
        What was seen and not used.
    """

    folder: Path
    given: Mapping[str, Fact]
    facts: dict[str, Fact] = field(default_factory=dict)
    open: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def know(self, key: str, value: Any, source: str) -> None:
        """Take a value unless another one is given."""
        self.facts[key] = self.given.get(key, Fact(value, source))

    def take(self, key: str) -> None:
        """Take the value that is given."""
        self.facts[key] = self.given[key]

    def ask(self, question: Question) -> None:
        """Leave a value open unless it is given."""
        if question.key in self.given:
            self.take(question.key)
        else:
            self.open.append(question)

    def contract(self) -> Contract:
        """Return the contract; nothing may be open.

        Raises
        ------
        TagstackError
            If a value is none that a contract takes.
        """
        return contract_from_toml(self.values(), origin=f"The contract of {self.folder}")

    def values(self) -> dict[str, Any]:
        """Return the facts as a contract's TOML."""
        values: dict[str, Any] = {}
        for key, fact in self.facts.items():
            section, _, name = key.rpartition(".")
            (values.setdefault(section, {}) if section else values)[name] = fact.value
        assumed = [key for key, fact in self.facts.items() if fact.source == ASSUMED]
        return {**values, "unverified": assumed} if assumed else values

    def toml(self) -> str:
        """Return the text of the contract; a comment behind each value says where it comes from."""
        values = self.values()
        sections = {name: one for name, one in values.items() if _is_section(name, one)}
        lines = [self._line("", key, values[key]) for key in values if key not in sections]
        for name, section in sections.items():
            lines += ["", f"[{name}]", *(self._line(name, key, section[key]) for key in section)]
        return "\n".join(lines) + "\n"

    def _line(self, section: str, key: str, value: Any) -> str:
        line = " ".join(tomli_w.dumps({"x": [value]}).split())  # one line, inline tables
        text = line.removeprefix("x = [").removesuffix("]").strip().removesuffix(",").strip()
        fact = self.facts.get(f"{section}.{key}" if section else key)
        said = f"  # {shown(fact.source)}" if fact is not None else ""
        return f"{key} = {text}{said}"


def _is_section(name: str, value: Any) -> bool:
    return isinstance(value, dict) and name in ("files", "input", "output", "tags", "threshold")


def answered(key: str, value: object) -> Fact:
    """Return a user's answer as a contract's value: of a text TOML where it is that.

    Raises
    ------
    TagstackError
        If the key is none that may be set.
    """
    if key not in KEYS:
        msg = f"{shown(key)!r} cannot be set; expected one of {', '.join(KEYS)}."
        raise TagstackError(msg)
    if not isinstance(value, str):
        return Fact(value, YOU)
    if key in ("name", "source", "licence", "files.model", "files.tags", "output.name"):
        return Fact(value, YOU)
    try:
        return Fact(parse_toml(f"x = {value}", key)["x"], YOU)
    except TagstackError:
        return Fact(value, YOU)
