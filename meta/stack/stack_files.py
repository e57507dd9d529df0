"""A fitted stack on disk: one JSON file, one safetensors file, and the trees' own formats.

Nothing here runs code of the file: no pickle. The bundle around it holds the hashes.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError
from scipy import sparse

from tagstack.base_models.array_files import write_arrays
from tagstack.base_models.atomic import write_text
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.section import validation_summary
from tagstack.configs.settings import load_settings
from tagstack.configs.text_files import read_json
from tagstack.meta.calibrators.calibration import MemberCalibration
from tagstack.meta.calibrators.parametric import ParametricMaps
from tagstack.meta.calibrators.protocol import TagMaps
from tagstack.meta.calibrators.registry import maps_from_arrays, named_arrays
from tagstack.meta.calibrators.step_maps import StepMaps
from tagstack.meta.checked_arrays import CheckedArrays
from tagstack.meta.features.tag_statistics import TagStatistics
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.learners.registry import check_packages, make_learner, packages
from tagstack.meta.learners.shrunken_logistic import ShrunkenLogistic
from tagstack.meta.probe.arrays import holds_probe, probe_arrays, probe_from_arrays
from tagstack.meta.stack.fitted_stack import FittedStack
from tagstack.meta.stack.groundwork import Groundwork
from tagstack.meta.stack.ladder_row import LadderRow
from tagstack.meta.stack.start_stack import answer_arrays, answer_from_arrays

_VERSION = 1
_RECORD, _ARRAYS = "stack.json", "stack.safetensors"
_MEMBER, _RUNG, _START = "member:", "rung:", "start:"


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
    directory.mkdir(parents=True, exist_ok=True)
    for learner in stack.learners.values():
        learner.save(directory)
    write_arrays(directory / _ARRAYS, _arrays(stack))
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
        content = read_json(directory / _RECORD)
        if content["version"] != _VERSION:
            msg = (
                f"The stack in {directory} has version {content['version']!r:.40}, this is "
                f"tagstack for version {_VERSION}. Fit again."
            )
            raise TagstackError(msg)
        return _restored(directory, _Record.model_validate(content), threads)
    except ValidationError as error:
        msg = (
            f"Cannot read the stack in {directory}: {_RECORD}: {validation_summary(error):.300}. "
            f"The bundle is incomplete or damaged."
        )
        raise TagstackError(msg) from error
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
    if stack.start is not None:
        arrays |= answer_arrays(stack.start, _START)
    for number, maps in enumerate(ground.calibration.maps):
        arrays |= named_arrays(f"{_MEMBER}{number}:", maps)
    for rung, maps in stack.calibrations.items():
        arrays |= named_arrays(f"{_RUNG}{rung}:", maps)
    if stack.probe is not None:
        arrays |= probe_arrays(stack.probe)
    return arrays


def _restored(directory: Path, record: "_Record", threads: int) -> LoadedStack:
    from safetensors.numpy import load_file

    arrays = CheckedArrays(load_file(directory / _ARRAYS), _ARRAYS)
    settings = load_settings(changes={"stack": record.settings}).stack
    check_packages(record.packages)
    n_tags = len(record.tags)
    made = {
        name: make_learner(name, settings, seed=record.seed, threads=threads)
        for name in settings.learners
    }
    stack = FittedStack(
        settings=settings,
        vocabulary=Vocabulary(record.tags, record.categories),
        members=record.members,
        relations=TagRelations(arrays.square("parents", n_tags, kind="b"), record.groups),
        groundwork=_groundwork(arrays, n_tags, len(record.members)),
        member_weights=arrays.real("member_weights", (len(record.members),)),
        learners={name: learner.restore(directory) for name, learner in made.items()},
        calibrations=_rung_maps(arrays, n_tags),
        blend_weights=record.blend_weights,
        tag_rungs=record.tag_rungs,
        start=answer_from_arrays(arrays, len(record.members), n_tags, _START)
        if f"{_START}zero" in arrays.arrays
        else None,
        probe=probe_from_arrays(arrays, len(record.members) - 1, n_tags, _maps)
        if holds_probe(arrays)
        else None,
    )
    record.check_rungs(stack)
    return LoadedStack(
        stack=stack,
        seed=record.seed,
        chosen=record.chosen,
        ladder=tuple(LadderRow(**row.model_dump()) for row in record.ladder),
        candidate_recall=record.candidate_recall,
    )


class _Row(BaseModel):
    """A `LadderRow` as JSON has it."""

    rung: str
    macro_ap: float
    macro_error: float
    micro_ap: float
    micro_error: float
    fold_values: tuple[float, ...]
    weights: tuple[tuple[str, float], ...]
    why: str


class _Record(BaseModel):
    """What `stack.json` must hold; more may be there."""

    seed: int = Field(ge=0, lt=2**31)
    chosen: str
    candidate_recall: float
    members: tuple[str, ...] = Field(min_length=1)
    tags: tuple[str, ...]
    categories: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    blend_weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    tag_rungs: tuple[str, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any]
    ladder: tuple[_Row, ...]

    def check_rungs(self, stack: FittedStack) -> None:
        """Refuse rungs that are not there, or that would be made of themselves."""
        kinds = {spec.name: spec.kind for spec in stack.specs}
        banded = [rung for rung in self.tag_rungs if kinds.get(rung, "bands") == "bands"]
        blended = [r for r in self.blend_weights if kinds.get(r, "blend") in ("blend", "bands")]
        odd = len(self.tag_rungs) not in (0, len(self.tags))
        if self.chosen not in kinds or banded or blended or odd:
            msg = f"{_RECORD} names rungs that this stack cannot have"
            raise ValueError(msg)


def _groundwork(arrays: CheckedArrays, n_tags: int, n_members: int) -> Groundwork:
    return Groundwork(
        calibration=MemberCalibration(maps=_member_maps(arrays, n_tags, n_members)),
        logistic=ShrunkenLogistic(theta=arrays.real("theta", (n_tags, 1 + n_members))),
        statistics=TagStatistics(
            prior=arrays.real("prior", (n_tags,)),
            skill=arrays.real("skill", (n_members, n_tags), gaps=True),
            lift=arrays.square("lift", n_tags, kind="f"),
        ),
    )


def _member_maps(arrays: CheckedArrays, n_tags: int, n_members: int) -> tuple[TagMaps, ...]:
    """Return the members' maps; the first bundles held two arrays for all of them."""
    if "intercept" in arrays.arrays:
        shape = (n_members, n_tags)
        rows = zip(arrays.real("intercept", shape), arrays.real("slope", shape), strict=True)
        return tuple(ParametricMaps(kind="platt", theta=np.stack(row, axis=1)) for row in rows)
    return tuple(_maps(f"{_MEMBER}{n}:", arrays, n_tags) for n in range(n_members))


def _rung_maps(arrays: CheckedArrays, n_tags: int) -> dict[str, TagMaps]:
    """Return the learned rungs' maps; the first bundles held an array for each."""
    found: dict[str, TagMaps] = {}
    for name in (name for name in arrays.arrays if name.startswith(_RUNG)):
        rung, colon, _ = name.removeprefix(_RUNG).rpartition(":")
        if colon:
            found[rung] = _maps(f"{_RUNG}{rung}:", arrays, n_tags)
        else:
            theta = arrays.real(name, (n_tags, 2))
            found[name.removeprefix(_RUNG)] = ParametricMaps(kind="platt", theta=theta)
    return found


def _maps(prefix: str, arrays: CheckedArrays, n_tags: int) -> TagMaps:
    """Return the maps under a prefix, their arrays held to what `apply` takes for granted."""
    maps = maps_from_arrays(prefix, arrays.arrays)
    name = f"{prefix}{maps.kind}."
    if isinstance(maps, ParametricMaps):
        arrays.real(f"{name}theta", (n_tags, maps.n_coefficients))
    elif isinstance(maps, StepMaps):
        (n_points,) = arrays.real(f"{name}at", (None,)).shape
        arrays.real(f"{name}value", (n_points,))
        start = arrays.starts(f"{name}start", None, n_points).astype(np.int64)
        arrays.whole(f"{name}map_of_tag", (n_tags,), high=len(start) - 1)
        inside = np.isin(np.arange(1, n_points), start, invert=True)
        if (np.diff(start) < 1).any() or (np.diff(maps.at)[inside] < 0).any():
            msg = f"{_ARRAYS}: {name}at does not rise within its maps"
            raise ValueError(msg)
    return maps


def _sparse_parts(name: str, matrix: sparse.csr_array) -> dict[str, NDArray[Any]]:
    return {
        f"{name}.data": matrix.data,
        f"{name}.indices": matrix.indices,
        f"{name}.indptr": matrix.indptr,
    }
