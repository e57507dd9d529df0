"""Settings of the stack: folds, candidates, learners, tuning and the final choice."""

from pydantic import Field

from tagstack.configs.section import Section


class StackSettings(Section):
    """How the stack is fitted; each default and its reason stand in default.toml."""

    folds: int = Field(ge=2)
