"""Presets of quality tags: which share, value or year of a score gives which tag.

Those that come with the package lie in ``configs/quality``, each with its source and with what the
source does not define; a user's own is given by its path.
"""

import os
import tomllib
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from tagstack.configs.errors import TagstackError
from tagstack.configs.section import Section, validated, validation_summary
from tagstack.configs.text_files import read_toml


class Cut(Section):
    """From where on a tag is given; without ``least`` from the lowest on, without ``tag`` none.

    With ``agreed`` only where a second score, ranked by itself, comes to the same cut.
    """

    least: float | None = None
    tag: str = ""
    agreed: bool = False


class QualityPreset(Section):
    """How a score becomes tags.

    Parameters
    ----------
    about, source : str
        What it is, and who published it.
    kind : {"rank", "value", "year"}
        What ``least`` means: a share of the pictures in [0, 1], a raw score, or a year.
    cuts : tuple of Cut
        The highest first.
    by : tuple of str
        Columns whose values part the pictures into strata; each is ranked by itself.
    inclusive : bool
        Whether a picture exactly on a cut has its tag.
    cumulative : bool
        Whether a picture also has the tags of all cuts below its own.
    last_id : int
        Posts with a higher ``id`` have no tag; 0 for no such end.
    last : int
        Years after it have no tag; 0 for no such end.
    least_age_days : float
        Younger posts have no tag.
    half_life_days : float
        A post's score is divided by the share of it that is there at its age,
        ``1 - 2 ** (-age / half_life_days)``; 0 for no correction.
    undefined : tuple of str
        What the source leaves open, and what is done here.
    """

    about: str = Field(min_length=1)
    source: str = "your own"
    kind: Literal["rank", "value", "year"] = "rank"
    cuts: tuple[Cut, ...] = Field(min_length=1)
    by: tuple[str, ...] = ()
    inclusive: bool = True
    cumulative: bool = False
    last_id: int = Field(default=0, ge=0)
    last: int = Field(default=0, ge=0)
    least_age_days: float = Field(default=0, ge=0)
    half_life_days: float = Field(default=0, ge=0)
    undefined: tuple[str, ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag that it can give, the best first."""
        return tuple(cut.tag for cut in self.cuts if cut.tag)

    @property
    def needs_age(self) -> bool:
        """Whether it has to know when a picture was posted."""
        return self.least_age_days > 0 or self.half_life_days > 0

    @property
    def has_second(self) -> bool:
        """Whether a second score has a say."""
        return any(cut.agreed for cut in self.cuts)

    @model_validator(mode="after")
    def _falls(self) -> Self:
        least = [float("-inf") if cut.least is None else cut.least for cut in self.cuts]
        if any(not upper > lower for upper, lower in pairwise(least)):
            msg = "cuts must fall: the highest first, no two alike, one without least at the end"
            raise ValueError(msg)
        if self.kind == "rank" and any(not 0 <= c.least <= 1 for c in self.cuts if c.least):
            msg = "least of a rank is a share of the pictures, from 0 to 1"
            raise ValueError(msg)
        if not self.tags or len(set(self.tags)) < len(self.tags):
            msg = "cuts must name at least one tag, and none twice"
            raise ValueError(msg)
        if self.has_second and (self.cumulative or self.kind == "year"):
            msg = "a cut that is agreed belongs to a rank or a value that is not cumulative"
            raise ValueError(msg)
        return self


def shipped_quality_presets() -> tuple[str, ...]:
    """Return the names of the presets that come with the package, sorted."""
    folder = resources.files("tagstack.configs").joinpath("quality")
    return tuple(sorted(e.name[:-5] for e in folder.iterdir() if e.name.endswith(".toml")))


def load_quality_preset(source: str) -> QualityPreset:
    """Return a preset by name, or from a file.

    Raises
    ------
    TagstackError
        If there is none of that name, or the file cannot be read or holds something else.
    """
    if source in shipped_quality_presets():
        file = resources.files("tagstack.configs").joinpath("quality", f"{source}.toml")
        content = tomllib.loads(file.read_text("utf-8"))
    elif not source.endswith(".toml") and not os.path.lexists(source):
        msg = (
            f"Unknown quality preset {source!r}. Known are {', '.join(shipped_quality_presets())}; "
            "or give the path of a .toml file (docs/quality.md)."
        )
        raise TagstackError(msg)
    else:
        content = read_toml(Path(source))
    try:
        return validated(QualityPreset, content)
    except ValidationError as error:
        msg = f"Quality preset {source}: {validation_summary(error)}. See docs/quality.md."
        raise TagstackError(msg) from error
