"""Presets of output: which formats and settings another program wants, under one name.

A preset is a small TOML file: ``about`` (one line), ``formats`` and any part of ``[output]``. Those
that come with the package lie in ``configs/presets``; a user's own is given by its path.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tagstack.configs.errors import TagstackError
from tagstack.configs.section import Section, validated, validation_summary
from tagstack.configs.settings import load_settings
from tagstack.configs.text_files import read_text, read_toml


class _File(Section):
    about: str = Field(min_length=1)
    formats: tuple[str, ...] = Field(min_length=1)
    output: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Formats and settings of output.

    Parameters
    ----------
    name : str
        Of a shipped preset, or the path of a file.
    about : str
        What it is for, in one line.
    formats : tuple of str
        As ``--format`` takes them.
    output : mapping
        The changed settings of ``[output]``.
    text : str
        The file.
    """

    name: str
    about: str
    formats: tuple[str, ...]
    output: Mapping[str, Any]
    text: str


def shipped_presets() -> tuple[str, ...]:
    """Return the names of the presets that come with the package, sorted."""
    names = (
        entry.name for entry in resources.files("tagstack.configs").joinpath("presets").iterdir()
    )
    return tuple(sorted(name[:-5] for name in names if name.endswith(".toml")))


def load_preset(source: str) -> Preset:
    """Return a preset by name, or from a file.

    Parameters
    ----------
    source : str
        Name of a shipped preset, or path of a ``.toml`` file.

    Raises
    ------
    TagstackError
        If there is none of that name, or the file cannot be read or holds something else.
    """
    if source in shipped_presets():
        file = resources.files("tagstack.configs").joinpath("presets", f"{source}.toml")
        text = file.read_text("utf-8")
        return _preset(source, tomllib.loads(text), text)
    path = Path(source)
    if not source.endswith(".toml") and not os.path.lexists(path):
        msg = (
            f"Unknown preset {source!r}. Known are {', '.join(shipped_presets())}; or give the "
            "path of a .toml file."
        )
        raise TagstackError(msg)
    return _preset(source, read_toml(path), read_text(path))


def _preset(name: str, content: Mapping[str, Any], text: str) -> Preset:
    try:
        file = validated(_File, content)
    except ValidationError as error:
        msg = f"Preset {name}: {validation_summary(error)}. See `tagstack presets show kohya`."
        raise TagstackError(msg) from error
    try:
        load_settings(changes={"output": file.output})
    except TagstackError as error:
        msg = f"Preset {name}: {error}"
        raise TagstackError(msg) from error
    return Preset(name=name, about=file.about, formats=file.formats, output=file.output, text=text)
