"""A fitted stack on disk: one JSON file, one safetensors file, and the trees' own formats.

Nothing here runs code of the file: no pickle. The bundle around it holds the hashes.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.atomic import write_text, written_whole
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.configs.text_files import read_json
from tagstack.meta.calibrators.calibration import MemberCalibration
from tagstack.meta.calibrators.parametric import ParametricMaps
from tagstack.meta.calibrators.protocol import TagMaps
from tagstack.meta.calibrators.registry import maps_from_arrays, named_arrays
from tagstack.meta.features.tag_statistics import TagStatistics
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.learners.registry import check_packages, make_learner, packages
from tagstack.meta.learners.shrunken_logistic import ShrunkenLogistic
from tagstack.meta.stack.fitted_stack import FittedStack
from tagstack.meta.stack.groundwork import Groundwork
from tagstack.meta.stack.selection import LadderRow

Arrays = Mapping[str, NDArray[Any]]

_VERSION = 1
_RECORD, _ARRAYS = "stack.json", "stack.safetensors"
_MEMBER, _RUNG = "member:", "rung:"


@dataclass(frozen=True, kw_only=True)
class LoadedStack:
    """What `load_stack` reads."""

    stack: FittedStack
    seed: int
    chosen: str
    ladder: tuple[LadderRow, ...]
    candidate_recall: float


def save_stack(
    directory: Path,
    stack: FittedStack,
    *,
    seed: int,
    chosen: str,
    ladder: tuple[LadderRow, ...],
    candidate_recall: float,
) -> None:
    """Write a fitted stack into ``directory``; `stack.json` comes last."""
    from safetensors.numpy import save_file

    directory.mkdir(parents=True, exist_ok=True)
    for learner in stack.learners.values():
        learner.save(directory)
    arrays = {name: np.ascontiguousarray(array) for name, array in _arrays(stack).items()}
    with written_whole(directory / _ARRAYS) as temporary:
        save_file(arrays, temporary)
    record = {
        "version": _VERSION,
        "seed": seed,
        "chosen": chosen,
        "candidate_recall": candidate_recall,
        "members": stack.members,
        "tags": stack.vocabulary.tags,
        "categories": stack.vocabulary.categories,
        "groups": stack.relations.groups,
        "blend_weights": stack.blend_weights,
        "tag_rungs": stack.tag_rungs,
        "packages": packages(stack.settings.learners),
        "settings": stack.settings.model_dump(mode="json"),
        "ladder": [dataclasses.asdict(row) for row in ladder],
    }
    write_text(directory / _RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def load_stack(directory: Path, threads: int) -> LoadedStack:
    """Return the stack that `save_stack` wrote.

    Raises
    ------
    TagstackError
        If a file is missing, damaged or of another version.
    """
    from safetensors import SafetensorError

    try:
        record = read_json(directory / _RECORD)
        if record["version"] != _VERSION:
            msg = (
                f"The stack in {directory} has version {record['version']!r}, this is tagstack for "
                f"version {_VERSION}. Fit again."
            )
            raise TagstackError(msg)
        return _restored(directory, record, threads)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        msg = f"Cannot read the stack in {directory}: {error}. The bundle is incomplete or damaged."
        raise TagstackError(msg) from error


def _arrays(stack: FittedStack) -> dict[str, NDArray[Any]]:
    """Return every array of a stack by name, sparse ones in their three parts."""
    ground = stack.groundwork
    arrays = {
        "theta": ground.logistic.theta,
        "prior": ground.statistics.prior,
        "skill": ground.statistics.skill,
        "member_weights": stack.member_weights,
    }
    arrays |= _sparse_parts("lift", ground.statistics.lift)
    arrays |= _sparse_parts("parents", stack.relations.parents)
    for number, maps in enumerate(ground.calibration.maps):
        arrays |= named_arrays(f"{_MEMBER}{number}:", maps)
    for rung, maps in stack.calibrations.items():
        arrays |= named_arrays(f"{_RUNG}{rung}:", maps)
    return arrays


def _restored(directory: Path, record: dict[str, Any], threads: int) -> LoadedStack:
    from safetensors.numpy import load_file

    arrays = load_file(directory / _ARRAYS)
    settings = load_settings(changes={"stack": record["settings"]}).stack
    check_packages(record.get("packages", {}))
    n_tags = len(record["tags"])
    made = {
        name: make_learner(name, settings, seed=record["seed"], threads=threads)
        for name in settings.learners
    }
    stack = FittedStack(
        settings=settings,
        vocabulary=Vocabulary(tuple(record["tags"]), tuple(record["categories"])),
        members=tuple(record["members"]),
        relations=TagRelations(
            _sparse("parents", arrays, n_tags), tuple(tuple(g) for g in record["groups"])
        ),
        groundwork=_groundwork(arrays, n_tags),
        member_weights=arrays["member_weights"],
        learners={name: learner.restore(directory) for name, learner in made.items()},
        calibrations=_rung_maps(arrays),
        blend_weights=record["blend_weights"],
        tag_rungs=tuple(record.get("tag_rungs", ())),
    )
    return LoadedStack(
        stack=stack,
        seed=record["seed"],
        chosen=record["chosen"],
        ladder=tuple(_ladder_row(row) for row in record["ladder"]),
        candidate_recall=record["candidate_recall"],
    )


def _groundwork(arrays: Arrays, n_tags: int) -> Groundwork:
    return Groundwork(
        calibration=MemberCalibration(maps=_member_maps(arrays)),
        logistic=ShrunkenLogistic(theta=arrays["theta"]),
        statistics=TagStatistics(
            prior=arrays["prior"], skill=arrays["skill"], lift=_sparse("lift", arrays, n_tags)
        ),
    )


def _member_maps(arrays: Arrays) -> tuple[TagMaps, ...]:
    """Return the members' maps; the first bundles held two arrays for all of them."""
    if "intercept" in arrays:
        rows = zip(arrays["intercept"], arrays["slope"], strict=True)
        return tuple(ParametricMaps(kind="platt", theta=np.stack(row, axis=1)) for row in rows)
    numbers = {name.split(":")[1] for name in arrays if name.startswith(_MEMBER)}
    return tuple(maps_from_arrays(f"{_MEMBER}{n}:", arrays) for n in range(len(numbers)))


def _rung_maps(arrays: Arrays) -> dict[str, TagMaps]:
    """Return the learned rungs' maps; the first bundles held an array for each."""
    found: dict[str, TagMaps] = {}
    for name in (name for name in arrays if name.startswith(_RUNG)):
        rung, colon, _ = name.removeprefix(_RUNG).rpartition(":")
        if colon:
            found[rung] = maps_from_arrays(f"{_RUNG}{rung}:", arrays)
        else:
            found[name.removeprefix(_RUNG)] = ParametricMaps(kind="platt", theta=arrays[name])
    return found


def _sparse_parts(name: str, matrix: sparse.csr_array) -> dict[str, NDArray[Any]]:
    return {
        f"{name}.data": matrix.data,
        f"{name}.indices": matrix.indices,
        f"{name}.indptr": matrix.indptr,
    }


def _sparse(name: str, arrays: Arrays, n_tags: int) -> sparse.csr_array:
    parts = (arrays[f"{name}.data"], arrays[f"{name}.indices"], arrays[f"{name}.indptr"])
    return sparse.csr_array(parts, shape=(n_tags, n_tags))


def _ladder_row(row: dict[str, Any]) -> LadderRow:
    values = row | {
        "fold_values": tuple(row["fold_values"]),
        "weights": tuple((name, weight) for name, weight in row["weights"]),
    }
    return LadderRow(**values)
