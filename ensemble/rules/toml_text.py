"""Rules as TOML text, both ways."""

from collections.abc import Iterable
from typing import Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tagstack.configs.errors import TagstackError
from tagstack.configs.section import validation_summary
from tagstack.configs.text_files import parse_toml
from tagstack.ensemble.rules.rule import HARD, Alias, Exclusive, Implication


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Rule(_Entry):
    id: str = Field(min_length=1)
    tags: tuple[str, ...]
    source: str
    strength: Literal["hard"] | None = None
    penalty: float | None = None
    accepted: bool = True

    @model_validator(mode="after")
    def _one_strength(self) -> Self:
        if self.strength is not None and self.penalty is not None:
            msg = "strength = 'hard' and a penalty exclude each other"
            raise ValueError(msg)
        return self

    @property
    def cost(self) -> float:
        return HARD if self.penalty is None else self.penalty


class _Implication(_Rule):
    implies: str | tuple[str, ...]

    def rule(self) -> Implication:
        implies = (self.implies,) if isinstance(self.implies, str) else self.implies
        return Implication(
            id=self.id, tags=self.tags, implies=implies, source=self.source, penalty=self.cost
        )


class _Exclusive(_Rule):
    at_least_one: bool = False
    when: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    def rule(self) -> Exclusive:
        values = self.model_dump(exclude={"strength", "penalty", "accepted"})
        return Exclusive(**values, penalty=self.cost)


class _Alias(_Entry):
    old: str = Field(alias="from", min_length=1)
    new: str = Field(alias="to", min_length=1)


class RuleFile(_Entry):
    """What stands in a file of rules."""

    without: tuple[str, ...] = ()
    implication: tuple[_Implication, ...] = ()
    exclusive: tuple[_Exclusive, ...] = ()
    alias: tuple[_Alias, ...] = ()

    @property
    def implications(self) -> tuple[Implication, ...]:
        """Those that are accepted."""
        return tuple(entry.rule() for entry in self.implication if entry.accepted)

    @property
    def exclusives(self) -> tuple[Exclusive, ...]:
        """Those that are accepted."""
        return tuple(entry.rule() for entry in self.exclusive if entry.accepted)

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """Other names of tags."""
        return tuple(Alias(old=entry.old, new=entry.new) for entry in self.alias)

    @property
    def proposed(self) -> tuple[str, ...]:
        """Ids of the rules that nobody has accepted."""
        entries = (*self.implication, *self.exclusive)
        return tuple(entry.id for entry in entries if not entry.accepted)


def parsed_rules(text: str, name: str) -> RuleFile:
    """Return what stands in a TOML text; ``name`` says in messages where it came from.

    Raises
    ------
    TagstackError
        If the text is not TOML, or holds an unknown key.
    """
    try:
        return RuleFile.model_validate(parse_toml(text, f"the rules {name}"))
    except ValidationError as error:
        msg = f"Rules {name}: {validation_summary(error)}."
        raise TagstackError(msg) from error


def toml_from_rules(rules: Iterable[Implication | Exclusive], aliases: Iterable[Alias]) -> str:
    """Return rules as TOML text; reading it gives the same rules in the same order."""
    blocks = [toml_from_rule(rule) for rule in rules]
    blocks += [_block("alias", {"from": alias.old, "to": alias.new}) for alias in aliases]
    return "\n".join(blocks)


def toml_from_rule(rule: Implication | Exclusive, *, accepted: bool = True) -> str:
    """Return one rule as a TOML table; one that is not accepted waits for a person."""
    if isinstance(rule, Implication):
        table, values = "implication", _implication_values(rule)
    else:
        table, values = "exclusive", _exclusive_values(rule)
    return _block(table, values if accepted else {**values, "accepted": False})


def _implication_values(rule: Implication) -> dict[str, Any]:
    return {
        "id": rule.id,
        "tags": list(rule.tags),
        "implies": list(rule.implies),
        **({} if rule.hard else {"penalty": rule.penalty}),
        "source": rule.source,
    }


def _exclusive_values(rule: Exclusive) -> dict[str, Any]:
    strength: dict[str, Any] = {"strength": "hard"} if rule.hard else {"penalty": rule.penalty}
    return {
        "id": rule.id,
        "tags": list(rule.tags),
        "at_least_one": rule.at_least_one,
        "when": list(rule.when),
        "unless": list(rule.unless),
        **strength,
        "source": rule.source,
    }


def _block(table: str, values: dict[str, Any]) -> str:
    return f"[[{table}]]\n{tomli_w.dumps(values)}"  # whole, it would put short rules on one line
