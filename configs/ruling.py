"""Settings of what is said about rules: their audit on labels, and the mining of new ones."""

from typing import Literal

from pydantic import Field

from tagstack.configs.section import Section


class MiningSettings(Section):
    """Which rules labels are evidence for; each default and its reason stand in default.toml."""

    false_discovery_rate: float = Field(gt=0, lt=1)
    method: Literal["by", "bh"]
    expected: float = Field(gt=0)
    lift: float = Field(gt=0, lt=1)
    images: int = Field(ge=1)
    precision: float = Field(gt=0, lt=1)
    implication_lift: float = Field(ge=1)
    strata: tuple[str, ...]
    max_penalty: float = Field(gt=0)


class RuleSettings(Section):
    """How rules are judged on labels; each default and its reason stand in default.toml."""

    confidence: float = Field(gt=0, lt=1)
    soft_above: float = Field(gt=0, lt=1)
    mining: MiningSettings
