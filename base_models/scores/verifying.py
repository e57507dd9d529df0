"""Is a score store what was written? Every part read, nothing changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tagstack.base_models.scores.member_info import read_member_info, read_store_index
from tagstack.base_models.scores.store_parts import (
    FEATURE_FOLDER,
    HASH_FOLDER,
    HASHES,
    IMAGES,
    SCORES,
    DamagedPartError,
    check_scores,
    features_of_part,
    is_sealed,
    part_paths,
    read_part,
    verify_part,
)


@dataclass(frozen=True, kw_only=True)
class StoreCheck:
    """What `verify_store` saw.

    Parameters
    ----------
    n_parts : int
    n_unsealed : int
        Parts from before there were checksums: what they say is possible, no more is known.
    damaged : tuple of DamagedPartError
    """

    n_parts: int
    n_unsealed: int
    damaged: tuple[DamagedPartError, ...]


def verify_store(directory: Path) -> StoreCheck:
    """Read every part of a store and hold it to its checksum and to what scores can be.

    Raises
    ------
    TagstackError
        If the folder is no score store, or ``store.json`` or a ``member.json`` is damaged.
    """
    parts = list(_parts(directory))
    damaged = []
    for path, schema, n_tags in parts:
        try:
            verify_part(path, schema, n_tags)
            if schema is SCORES:
                table = read_part(path, schema)
                tag, logit = (table.column(name).combine_chunks() for name in ("tag", "logit"))
                check_scores(path, tag, logit, n_tags)
        except DamagedPartError as error:
            damaged.append(error)
    found = {error.path for error in damaged}
    n_features, wrong = _verified_features(directory)
    damaged += [error for error in wrong if error.path not in found]
    unsealed = sum(not is_sealed(path) for path, _, _ in parts)
    return StoreCheck(n_parts=len(parts) + n_features, n_unsealed=unsealed, damaged=tuple(damaged))


def _verified_features(directory: Path) -> tuple[int, list[DamagedPartError]]:
    """Return how many parts of features there are, and what is wrong with them."""
    n_parts, damaged = 0, []
    for folder in sorted(read_store_index(directory).values()):
        place = directory / "members" / folder
        width = read_member_info(place).n_features
        n_parts += len(part_paths(place / FEATURE_FOLDER))
        for path in part_paths(place) if width else ():
            try:
                features_of_part(path, width)
            except DamagedPartError as error:
                damaged.append(error)
    return n_parts, damaged


def _parts(directory: Path) -> Iterator[tuple[Path, pa.Schema, int | None]]:
    """Yield each part with its schema and, of scores, the number of tags."""
    for folder in sorted(read_store_index(directory).values()):
        place = directory / "members" / folder
        n_tags = len(read_member_info(place).vocabulary)
        yield from ((path, SCORES, n_tags) for path in part_paths(place))
    yield from ((path, IMAGES, None) for path in part_paths(directory / "images"))
    yield from ((path, HASHES, None) for path in part_paths(directory / HASH_FOLDER))
