"""Settings of experiments."""

from pydantic import Field

from tagstack.configs.section import Section


class ExperimentSettings(Section):
    """How two arms are compared; each default's reason is in default.toml."""

    alpha: float = Field(gt=0, lt=0.5)
    share: float = Field(ge=0.05, le=0.95)
    effect: float = Field(gt=0, lt=1)
    baseline: float = Field(gt=0, lt=1)
