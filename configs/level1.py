"""Settings of level 1: decoding, batches, threads and the score store."""

from pydantic import Field

from tagstack.configs.section import Section


class ScoreSettings(Section):
    """How images become level-1 scores; each default and its reason stand in default.toml."""

    floor: float = Field(gt=0, lt=0.5)
