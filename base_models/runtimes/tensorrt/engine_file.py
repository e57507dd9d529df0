"""One engine in one file: a header of ours that says what it is, then TensorRT's plan.

TensorRT itself cannot say which GPU a plan is for, and hostile or damaged bytes can crash it. So
nothing of a plan reaches it before header and SHA-256 have been checked.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tagstack.base_models.atomic import written_whole
from tagstack.configs.errors import TagstackError

MAGIC = b"tagstack engine\n"
_LENGTH_BYTES = 8
_LARGEST_HEADER = 1 << 20


@dataclass(frozen=True, kw_only=True)
class EngineHeader:
    """What stands before a plan.

    Parameters
    ----------
    key : str
        `spec.engine_key` of the facts.
    facts : mapping
        `spec.key_facts`: everything that decides whether the engine fits.
    tagger : str
        Whose network it is, for people.
    plan_sha256 : str
    plan_bytes : int
    built : mapping
        What was built in the end, where memory did not allow what was asked for.
    seconds : float
        What the build took.
    made : str
        When, ISO 8601 in UTC.
    """

    key: str
    facts: Mapping[str, Any]
    tagger: str
    plan_sha256: str
    plan_bytes: int
    built: Mapping[str, Any]
    seconds: float
    made: str


class StaleEngineError(TagstackError):
    """An engine file that must not be used: damaged, or made for something else."""


def write_engine(path: Path, header: EngineHeader, plan: bytes) -> None:
    """Write header and plan, whole or not at all."""
    text = json.dumps(asdict(header), sort_keys=True).encode()
    with (
        written_whole(path, label=unfinished(header.key)) as temporary,
        temporary.open("wb") as stream,
    ):
        stream.write(MAGIC)
        stream.write(len(text).to_bytes(_LENGTH_BYTES, "little"))
        stream.write(text)
        stream.write(plan)


def unfinished(key: str) -> str:
    """Return the label of temporary files of a key's engine."""
    return f"{key[:32]}-"


def read_header(path: Path) -> EngineHeader:
    """Return an engine file's header; the plan is not looked at.

    Raises
    ------
    StaleEngineError
        If it is no engine file of ours.
    """
    return _split(path)[0]


def read_engine(path: Path, key: str) -> tuple[EngineHeader, bytes]:
    """Return header and plan of the engine with a key.

    Raises
    ------
    StaleEngineError
        If the file is damaged, or made for another key.
    """
    header, start = _split(path)
    if header.key != key:
        raise StaleEngineError(f"{path} was made for {_difference(header)}; expected key {key}.")
    with path.open("rb") as stream:
        stream.seek(start)
        plan = stream.read()
    if len(plan) != header.plan_bytes:
        msg = f"{path} holds {len(plan)} bytes of a plan of {header.plan_bytes}: it is cut short."
        raise StaleEngineError(msg)
    if hashlib.sha256(plan).hexdigest() != header.plan_sha256:
        raise StaleEngineError(f"{path} is damaged: its plan has another SHA-256 than its header.")
    return header, plan


def _split(path: Path) -> tuple[EngineHeader, int]:
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(MAGIC))
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            text = stream.read(min(length, _LARGEST_HEADER))
    except OSError as error:
        raise StaleEngineError(f"Cannot read {path}: {error.strerror or error}.") from error
    if magic != MAGIC:
        raise StaleEngineError(f"{path} is no engine of tagstack: it begins with {magic!r}.")
    try:
        header = EngineHeader(**json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise StaleEngineError(f"{path} has a damaged header: {error}.") from error
    return header, len(MAGIC) + _LENGTH_BYTES + length


def _difference(header: EngineHeader) -> str:
    facts = header.facts
    gpu = facts.get("gpu") or {}
    return f"TensorRT {facts.get('tensorrt')} on {gpu.get('name', 'no GPU')}"
