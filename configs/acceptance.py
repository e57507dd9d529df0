"""Settings of what may be applied unseen."""

from pydantic import Field

from tagstack.configs.section import Section


class AcceptSettings(Section):
    """What `tagstack accept` promises; each default's reason is in default.toml."""

    fdr: float = Field(gt=0, le=0.5)
    unlike: float = Field(gt=0, le=1)
