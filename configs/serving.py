"""Settings of the service and of moderation policies."""

import re
from dataclasses import dataclass
from typing import Self

from pydantic import Field, field_validator, model_validator

from tagstack.configs.section import Section

_POLICY = re.compile(r"(?P<name>\S(?:.*?\S)??)\s*(?:>=\s*(?P<proba>[0-9]*\.?[0-9]+))?")


class ServeSettings(Section):
    """What the service takes, and how much of it; each default's reason is in default.toml."""

    window_ms: float = Field(ge=0, le=1000)
    batch: int = Field(ge=1, le=1024)
    queue: int = Field(ge=1, le=100_000)
    files: int = Field(ge=1, le=1000)
    request_bytes: int = Field(ge=1)
    pixels: int = Field(ge=1)
    body_seconds: float = Field(gt=0)
    wait_seconds: float = Field(gt=0)
    drain_seconds: float = Field(gt=0, le=3600)
    floor: float = Field(gt=0, le=1)
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    image_url: bool
    url_seconds: float = Field(gt=0)
    url_redirects: int = Field(ge=0, le=20)
    reload_seconds: float = Field(ge=0)

    @model_validator(mode="after")
    def _a_request_fits(self) -> Self:
        if self.files > self.queue:
            msg = f"files = {self.files} of one request never fit into queue = {self.queue}"
            raise ValueError(msg)
        return self


@dataclass(frozen=True)
class Policy:
    """One line of a moderation list.

    Parameters
    ----------
    text : str
        As written.
    name : str
        A tag, ``CATEGORY:TAG`` or ``category:NAME``; ``*`` stands for any characters.
    proba : float or None
        The least probability, in (0, 1]; None: the tag is there, by its own threshold.
    """

    text: str
    name: str
    proba: float | None

    @classmethod
    def of(cls, text: str) -> "Policy":
        """Return the policy that a text such as ``gore>=.3`` means.

        Raises
        ------
        ValueError
            If it is none.

        Examples
        --------
        >>> Policy.of("rating:explicit>=.5").proba
        0.5
        """
        found = _POLICY.fullmatch(text.strip())
        proba = float(found["proba"]) if found and found["proba"] else None
        if found is None or not (proba is None or 0 < proba <= 1):
            msg = f"{text!r} is no policy; expected TAG or TAG>=P with P in (0, 1], as 'gore>=.3'"
            raise ValueError(msg)
        return cls(text=text, name=found["name"], proba=proba)


class ModerationSettings(Section):
    """Which pictures are blocked, reviewed or allowed."""

    block: tuple[str, ...]
    review: tuple[str, ...]
    allow: tuple[str, ...]

    @field_validator("block", "review", "allow")
    @classmethod
    def _are_policies(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            Policy.of(text)
        return texts

    @property
    def any(self) -> bool:
        """Whether there is any policy."""
        return bool(self.block or self.review or self.allow)

    @property
    def least_proba(self) -> float:
        """The least probability that a policy asks for; 1 where none names one."""
        policies = map(Policy.of, (*self.block, *self.review, *self.allow))
        return min((p.proba for p in policies if p.proba is not None), default=1.0)
