"""What Python programs give, taken for what is meant or refused in one line."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TypeAlias

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules

TAGGER = "wd-vit-tagger-v3"  # for messages

AnyPath: TypeAlias = "str | os.PathLike[str]"
# The keys of default.toml, nested alike; or a TOML file of them; or settings that are ready.
AnySettings: TypeAlias = "Settings | Mapping[str, object] | str | os.PathLike[str] | None"


def texts(given: "Iterable[AnyPath]", what: str, such: str = "a name") -> tuple[str, ...]:
    """Return several names as a program gives them; one alone would be taken for its letters.

    Parameters
    ----------
    given : iterable of str or path
    what : str
        What they are, for the message.
    such : str
        An example of one, for the message.

    Raises
    ------
    TagstackError
        If it is one text, or one of them is none.

    Examples
    --------
    >>> texts("1girl", "The tags of '1.png'", "1girl")
    Traceback (most recent call last):
    ...
    tagstack.configs.errors.TagstackError: The tags of '1.png' are one text, '1girl'; expected \
several, such as ['1girl'].
    """
    if isinstance(given, str | bytes | os.PathLike) or not isinstance(given, Iterable):
        kind = "one text," if isinstance(given, str) else f"of type {type(given).__name__},"
        raise TagstackError(f"{what} are {kind} {given!r}; expected several, such as {[such]}.")
    found = tuple(os.fspath(one) if isinstance(one, os.PathLike) else one for one in given)
    for one in found:
        if not isinstance(one, str):
            kind = type(one).__name__
            raise TagstackError(f"{what} hold {one!r} of type {kind}; expected text, as {such!r}.")
    return found


def check_kind(given: object, kind: type | tuple[type, ...], name: str, such: str) -> None:
    """Raise a `TagstackError` unless an argument is of a kind, or of one of several.

    ``such`` shows what one looks like, or how to come by it.
    """
    if not isinstance(given, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(one.__name__ for one in kinds)
        msg = f"{name} is of type {type(given).__name__}; expected {wanted}, such as {such}."
        raise TagstackError(msg)


def settings_from(given: AnySettings) -> Settings:
    """Return the settings that a program gives in one of many forms."""
    if isinstance(given, Settings):
        return given
    if isinstance(given, Mapping):
        return load_settings(changes=given)
    return load_settings(None if given is None else Path(given))


def folders_of(images: "AnyPath | Sequence[AnyPath]") -> list[Path]:
    """Return files and folders of pictures, of which a program gives one or several."""
    given = [images] if isinstance(images, str | os.PathLike) else images
    return [Path(path) for path in texts(given, "The images", "images/1.png")]


def taggers_named(models: "Sequence[AnyPath] | None") -> tuple[str, ...] | None:
    """Return where taggers are, as a program names them; None stays None."""
    return None if models is None else texts(models, "The models", TAGGER)


def rules_from(given: "Rules | AnyPath | Sequence[AnyPath] | None") -> Rules:
    """Return rules as they are, by name or from files, several as one set; None has none."""
    if given is None or isinstance(given, Rules):
        return given or Rules.none()
    if isinstance(given, str):
        return load_rules(given)
    named = [given] if isinstance(given, os.PathLike) else given
    paths = texts(named, "The rules", "danbooru")
    return reduce(Rules.joined, map(load_rules, paths), Rules.none())
