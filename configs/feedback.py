"""Settings of what answers may do to thresholds."""

from pydantic import Field, field_validator

from tagstack.configs.section import Section


class FeedbackSettings(Section):
    """How `tagstack feedback apply` moves thresholds; each default's reason is in default.toml."""

    confidence: float = Field(ge=0.5, lt=1)
    shifts: tuple[float, ...] = Field(min_length=1, max_length=20)
    least_answers: int = Field(ge=1)
    most_tags: int = Field(ge=1)
    most_shift: float = Field(gt=0, le=10)

    @field_validator("shifts")
    @classmethod
    def _ascending(cls, shifts: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < shift <= 10 for shift in shifts) or list(shifts) != sorted(set(shifts)):
            msg = "expected ascending numbers above 0 and at most 10"
            raise ValueError(msg)
        return shifts
