"""Addresses: what counts as one, and how it is written.

``s3://BUCKET/FOLDER`` and ``gs://BUCKET/FOLDER`` are folders of an object store, or one file there;
``https://HOST/FILE`` is a picture, or a text of such names (`pictures`). ``http://`` is taken of
this machine alone: what comes that way from another, anyone on the way may have changed.
"""

import re
from collections.abc import Iterable, Sequence
from os import PathLike, fspath

from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown

OBJECT_STORES = ("s3", "gs")
# A path object has made one slash of two.
_ADDRESS = re.compile(r"(s3|gs|https?):/{1,2}([^/].*)", re.DOTALL)
_OF_THIS_MACHINE = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?/")


def address_of(place: "str | PathLike[str]") -> str | None:
    """Return a place as an address in its usual form; None for a path of this machine.

    Raises
    ------
    TagstackError
        If it is one that is not taken: ``http://`` of another machine, or a secret inside.
    """
    found = _ADDRESS.fullmatch(fspath(place))
    if found is None:
        return None
    scheme, rest = found.groups()
    if scheme == "http" and not _OF_THIS_MACHINE.match(rest):
        msg = (
            f"http://{shown(rest)} is not encrypted: anyone on the way can change what it gives. "
            f"Expected https://. Say that, or fetch the files yourself."
        )
        raise TagstackError(msg)
    if "@" in rest.partition("/")[0]:
        msg = (
            f"An address {scheme}://... has a name or password in it. Expected none, since "
            f"addresses are written into stores. Give them as the object store's own tools take "
            f"them (environment, profile)."
        )
        raise TagstackError(msg)
    return f"{scheme}://{rest.rstrip('/')}"


def scheme_of(address: str) -> str:
    """Return what an address begins with, such as ``s3``."""
    return address.partition("://")[0]


def addresses_of(places: "Iterable[str | PathLike[str]]") -> list[str]:
    """Return places as addresses; none if all are paths of this machine.

    Raises
    ------
    TagstackError
        If both are among them.
    """
    given = list(places)
    found: Sequence[str | None] = [address_of(place) for place in given]
    named = [address for address in found if address is not None]
    if named and len(named) < len(given):
        msg = (
            f"{shown(named[0])} lies elsewhere, {shown(fspath(given[found.index(None)]))} on this "
            f"machine. Expected pictures of one place, since names are paths below it. Score them "
            f"one after the other into two stores, and merge those."
        )
        raise TagstackError(msg)
    return named


def plain_name(name: str) -> bool:
    """Return whether a name that an object store gave is a path below a folder and nothing else.

    Names become parts of paths: of tags, for instance.
    """
    parts = name.split("/")
    return (
        all(part not in ("", ".", "..") for part in parts)
        and "\\" not in name
        and ":" not in parts[0]
        and all(character.isprintable() for character in name)
    )
