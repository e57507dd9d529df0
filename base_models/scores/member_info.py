"""What a score store keeps of each member, so that scores can be read without the tagger."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tagstack.base_models.atomic import write_text
from tagstack.base_models.contract import Training
from tagstack.base_models.runtimes.model_io import MOST_FEATURES
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import own_path
from tagstack.configs.section import validation_summary
from tagstack.configs.text_files import read_json

FORMAT = 1
MEMBER_FOLDERS = "members"
IMPORTED = "import:"
"""What the source of a member begins with whose scores another program computed."""
_AGAIN = "Score again into a new folder."
_MEMBER_KEYS = {
    "name",
    "fingerprint",
    "source",
    "floor",
    "runtime",
    "aliases",
    "tags",
    "categories",
    "published_thresholds",
}


@dataclass(frozen=True, kw_only=True)
class MemberInfo:
    """A member of a score store.

    Parameters
    ----------
    name : str
    fingerprint : str
        SHA-256 in hexadecimal over everything that changes its scores.
    source : str
        Registry name or folder that it was scored from, or `IMPORTED` with a file's name.
    vocabulary : Vocabulary
        Its own tags in output order; stored tag indices point here.
    aliases : mapping of str to str
        Renamed tags, old name -> current name; the vocabulary has the current ones.
    floor : float
        Probability below which nothing was stored.
    published_thresholds : array of shape (n_tags,), float32, in [0, 1]
    published_counts : array of shape (n_tags,), float32
        Training images with each tag; NaN where the tag file does not tell, and in stores from
        before this was kept.
    runtime : str
        Backend, provider, precision and versions that it was first scored with.
    training : Training or None
        What its contract says about its training images; None in stores from before this was
        kept.
    n_features : int
        Numbers that are kept of each image beside its scores; 0 for scores alone.
    """

    name: str
    fingerprint: str
    source: str
    vocabulary: Vocabulary
    aliases: Mapping[str, str]
    floor: float
    published_thresholds: NDArray[np.float32]
    published_counts: NDArray[np.float32]
    runtime: str
    training: Training | None
    n_features: int = 0

    @property
    def is_imported(self) -> bool:
        """Whether there are scores alone, and no tagger that could score another picture."""
        return was_imported(self.source)


def was_imported(source: str) -> bool:
    """Return whether a member's source is a file of scores, and no tagger."""
    return source.startswith(IMPORTED)


def info_of_tagger(tagger: Tagger) -> MemberInfo:
    """Return what is kept of a loaded tagger."""
    info = tagger.session.info
    versions = " ".join(f"{name} {version}" for name, version in info.versions)
    return MemberInfo(
        name=tagger.name,
        fingerprint=tagger.fingerprint,
        source=tagger.source,
        vocabulary=tagger.vocabulary,
        aliases=tagger.contract.aliases,
        floor=tagger.floor,
        published_thresholds=tagger.published_thresholds,
        published_counts=tagger.published_counts,
        runtime=f"{info.backend} {info.provider} {info.precision} {versions}",
        training=tagger.contract.training,
        n_features=tagger.n_features,
    )


def member_folder(member: MemberInfo) -> str:
    """Return the name of the folder that holds a member's scores."""
    return f"{member.name}-{member.fingerprint[:16]}"


def write_member_info(folder: Path, member: MemberInfo) -> None:
    """Write ``member.json`` into a member's folder."""
    training = member.training
    content = {
        "format": FORMAT,
        "name": member.name,
        "fingerprint": member.fingerprint,
        "source": member.source,
        "floor": member.floor,
        "runtime": member.runtime,
        "training": None if training is None else training.model_dump(mode="json"),
        "aliases": dict(member.aliases),
        "tags": member.vocabulary.tags,
        "categories": member.vocabulary.categories,
        "published_thresholds": member.published_thresholds.tolist(),
        "published_counts": [
            None if math.isnan(count) else count for count in member.published_counts.tolist()
        ],
    }
    if member.n_features:
        content["n_features"] = member.n_features
    write_text(folder / "member.json", json.dumps(content, indent=1))


def read_member_info(folder: Path) -> MemberInfo:
    """Return the content of a member's ``member.json``.

    Raises
    ------
    TagstackError
        If it cannot be read.
    """
    content = _json_object(folder / "member.json")
    missing = sorted(_MEMBER_KEYS - set(content))
    if missing:
        msg = f"{folder / 'member.json'} is damaged: {missing[0]!r} is missing. {_AGAIN}"
        raise TagstackError(msg)
    return MemberInfo(
        name=content["name"],
        fingerprint=content["fingerprint"],
        source=content["source"],
        vocabulary=Vocabulary(tuple(content["tags"]), tuple(content["categories"])),
        aliases=content["aliases"],
        floor=content["floor"],
        published_thresholds=np.array(content["published_thresholds"], np.float32),
        published_counts=_counts(content),
        runtime=content["runtime"],
        training=_training(folder, content.get("training")),
        n_features=_n_features(folder, content.get("n_features", 0)),
    )


def _counts(content: Mapping[str, Any]) -> NDArray[np.float32]:
    n_tags = len(content["tags"])
    counts = content.get("published_counts") or [None] * n_tags
    return np.array([np.nan if count is None else count for count in counts], np.float32)


def _n_features(folder: Path, width: object) -> int:
    if type(width) is int and 0 <= width <= MOST_FEATURES:
        return width
    msg = (
        f"{folder / 'member.json'} is damaged: n_features is {width!r:.40}, expected 0 to "
        f"{MOST_FEATURES}. {_AGAIN}"
    )
    raise TagstackError(msg)


def _training(folder: Path, content: object) -> Training | None:
    if content is None:
        return None
    try:
        return Training.model_validate(content)
    except ValidationError as error:
        msg = (
            f"{folder / 'member.json'} is damaged: training: {validation_summary(error)}. {_AGAIN}"
        )
        raise TagstackError(msg) from error


def write_store_index(directory: Path, folders: Mapping[str, str]) -> None:
    """Write which folder holds the current scores of each member."""
    content = {"format": FORMAT, "members": dict(folders)}
    write_text(directory / "store.json", json.dumps(content, indent=1))


def read_store_index(directory: Path) -> dict[str, str]:
    """Return the folder of each member's current scores, by member name.

    Raises
    ------
    TagstackError
        If the folder is no score store, or of another format.
    """
    path = directory / "store.json"
    if not os.path.isfile(path):
        msg = f"{directory} is no score store: store.json is missing. Run `tagstack score` first."
        raise TagstackError(msg)
    folders = _json_object(path).get("members")
    if not isinstance(folders, dict) or not all(isinstance(f, str) for f in folders.values()):
        raise TagstackError(f"{path} is damaged: 'members' must name a folder each. {_AGAIN}")
    for folder in folders.values():
        own_path(directory / MEMBER_FOLDERS, folder, said_by=path)
    return dict(folders)


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except TagstackError as error:
        msg = f"{error} Or score again into a new folder."
        raise TagstackError(msg) from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        msg = f"{path} has format {found!r}, expected {FORMAT}. Score again into a new folder."
        raise TagstackError(msg)
    return dict(content)
