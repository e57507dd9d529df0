"""What can be done with the versions of a bundle's thresholds: show, compare, switch, export."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tagstack import __version__
from tagstack.base_models.atomic import write_text
from tagstack.base_models.tag_names import TagNames
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.bundle.files import check_bundle
from tagstack.ensemble.thresholds.overrides import read_overrides
from tagstack.ensemble.thresholds.plan import matching_some
from tagstack.ensemble.thresholds.table import BY_HAND, Thresholds
from tagstack.ensemble.thresholds.versions import ThresholdVersions


@dataclass(frozen=True, kw_only=True)
class VersionSummary:
    """One version in a list: what it is for, on how many images, and the tags by state."""

    name: str
    in_use: bool
    objective: str
    n_images: int | None
    made_by: str
    states: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class ThresholdRow:
    """One tag's threshold, with its evidence; None where undefined."""

    tag: str
    category: str
    threshold: float | None
    state: str
    positives: int
    estimate: float | None
    low: float | None
    high: float | None
    objective: str


@dataclass(frozen=True, kw_only=True)
class ThresholdChange:
    """One tag whose threshold or state differs between two versions; None for "never"."""

    tag: str
    before: float | None
    after: float | None
    state_before: str
    state_after: str
    objective_after: str


def bundle_versions(bundle: Path) -> ThresholdVersions:
    """Return the versions of a bundle.

    Raises
    ------
    TagstackError
        If the folder is no bundle.
    """
    check_bundle(bundle)
    return ThresholdVersions(bundle)


def list_versions(bundle: Path) -> tuple[VersionSummary, ...]:
    """Return every version of a bundle's thresholds, oldest first."""
    versions = bundle_versions(bundle)
    found = []
    for version in versions.listed():
        table = versions.thresholds(version.name)
        common = Counter(table.objective).most_common(1)[0][0]
        found.append(
            VersionSummary(
                name=version.name,
                in_use=version.in_use,
                objective=str(version.about.get("objective", common)),
                n_images=version.about.get("n_images"),
                made_by=str(version.about.get("made_by", "fit")),
                states=dict(Counter(table.state)),
            )
        )
    return tuple(found)


def show_version(
    bundle: Path, version: str, pattern: str | None
) -> tuple[str, tuple[ThresholdRow, ...]]:
    """Return a version's name and its rows, those that match a pattern alone where one is given.

    Raises
    ------
    TagstackError
        If there is no such version, or no tag matches.
    """
    versions = bundle_versions(bundle)
    name = versions.resolve(version)
    table = versions.thresholds(name)
    chosen = np.ones(len(table.vocabulary), bool)
    if pattern is not None:
        chosen = matching_some(pattern, table.vocabulary)
    return name, tuple(_row(table, int(place)) for place in np.flatnonzero(chosen))


def diff_versions(bundle: Path, before: str, after: str) -> tuple[ThresholdChange, ...]:
    """Return the tags that two versions treat differently, the largest change first."""
    versions = bundle_versions(bundle)
    old, new = (versions.thresholds(versions.resolve(name)) for name in (before, after))
    if old.vocabulary.tags != new.vocabulary.tags:
        msg = f"Versions {before} and {after} of {bundle} are for different tags."
        raise TagstackError(msg)
    apart = (old.value != new.value) | (np.array(old.state) != np.array(new.state))
    size = np.abs(np.nan_to_num(new.value, posinf=2.0) - np.nan_to_num(old.value, posinf=2.0))
    order = np.lexsort((np.arange(len(size)), -size))
    return tuple(_change(old, new, int(place)) for place in order if apart[place])


def use_version(bundle: Path, version: str) -> tuple[str, str]:
    """Put a version in use; return the name of the one before, and its own."""
    versions = bundle_versions(bundle)
    name = versions.resolve(version)
    return versions.use(name), name


def roll_back(bundle: Path) -> tuple[str, str]:
    """Put the version in use that was so before; return the name of the later one, and its own."""
    versions = bundle_versions(bundle)
    before = versions.current
    return before, versions.rollback()


def import_overrides(bundle: Path, table: Path) -> tuple[str, int, tuple[str, ...]]:
    """Set thresholds from a CSV file in a new version; all others stay as they are.

    Returns
    -------
    version : str
    n_set : int
    ignored : tuple of str
        Tags that the bundle does not know.

    Raises
    ------
    TagstackError
        If the file cannot be read or names no tag of the bundle.
    """
    versions, by_hand = bundle_versions(bundle), read_overrides(table)
    current = versions.thresholds(versions.current)
    names = TagNames(current.vocabulary)
    ignored = names.unknown(by_hand)
    if len(ignored) == len(by_hand):
        msg = f"{table} names no tag of {bundle}; its tags are like {list(by_hand)[:3]}."
        raise TagstackError(msg)
    about = {
        "tagstack": __version__,
        "made_by": "import",
        "objective": BY_HAND,
        "overrides": table.name,
        "before": versions.current,
    }
    rungs = versions.rung_thresholds(versions.current)
    name = versions.add(current.overridden(by_hand), about, rungs)
    n_set = len({names.find(tag) for tag in by_hand} - {None})
    return name, n_set, ignored


def export_version(bundle: Path, version: str, target: Path, *, overwrite: bool) -> str:
    """Write a version as CSV (or as JSON, for a name that ends so) and return the version's name.

    Raises
    ------
    TagstackError
        If the file exists and is not to be replaced, or cannot be written.
    """
    if target.exists() and not overwrite:
        msg = f"{target} exists. Choose another name or pass --overwrite to replace it."
        raise TagstackError(msg)
    versions = bundle_versions(bundle)
    name = versions.resolve(version)
    table = versions.thresholds(name)
    if target.suffix == ".json":
        pairs = zip(table.vocabulary.tags, map(_finite, table.value), strict=True)
        write_text(target, json.dumps(dict(pairs), indent=1, ensure_ascii=False) + "\n")
    else:
        table.to_csv(target)
    return name


def _row(table: Thresholds, place: int) -> ThresholdRow:
    return ThresholdRow(
        tag=table.vocabulary.tags[place],
        category=table.vocabulary.categories[place],
        threshold=_finite(table.value[place]),
        state=table.state[place],
        positives=int(table.positives[place]),
        estimate=_finite(table.estimate[place]),
        low=_finite(table.low[place]),
        high=_finite(table.high[place]),
        objective=table.objective[place],
    )


def _change(old: Thresholds, new: Thresholds, place: int) -> ThresholdChange:
    return ThresholdChange(
        tag=new.vocabulary.tags[place],
        before=_finite(old.value[place]),
        after=_finite(new.value[place]),
        state_before=old.state[place],
        state_after=new.state[place],
        objective_after=new.objective[place],
    )


def _finite(value: np.floating[Any]) -> float | None:
    """Return the shortest number that means the same float, or None where JSON has none."""
    return float(str(value)) if np.isfinite(value) else None
