"""Settings of the comparison: resamples, intervals and what the report shows."""

from pydantic import Field

from tagstack.configs.section import Section


class CompareSettings(Section):
    """How rungs are compared; each default and its reason stand in default.toml."""

    resamples: int = Field(ge=100)
