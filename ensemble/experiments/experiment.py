"""What an experiment is: its arms, as they were when it began, and who gets which."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tagstack.base_models.atomic import write_text
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_json
from tagstack.ensemble.experiments.contrast import A, B
from tagstack.ensemble.experiments.measure import Measure
from tagstack.ensemble.experiments.worth import ALL, Worths
from tagstack.meta.metrics.utility import OUTCOMES

FILE = "experiment.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ExperimentArm:
    """One way of tagging.

    Parameters
    ----------
    bundle : str
        Absolute path of its folder; empty for an arm that is not a bundle's.
    manifest : str
        SHA-256 of the bundle's manifest when the experiment began.
    thresholds : str
        Version of its thresholds.
    note : str
        What else makes it what it is, such as other settings; for people alone.
    """

    bundle: str = ""
    manifest: str = ""
    thresholds: str = ""
    note: str = ""

    @property
    def title(self) -> str:
        """What people read."""
        own = f"{Path(self.bundle).name} ({self.thresholds})" if self.bundle else ""
        return ", ".join(part for part in (own, self.note) if part)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Two arms and what is asked of them; nothing of it changes once outcomes are known.

    Parameters
    ----------
    name : str
    outcome : str
        What the numbers mean, such as "share of tags accepted".
    arms : mapping of "A" and "B" to ExperimentArm
    share : float, in (0, 1)
        Chance of arm B.
    paired : bool
        Whether each unit has an outcome in both arms.
    alpha, effect, baseline : float
        As in the settings.
    salt : str
        Makes this experiment's draw another than any other's.
    started_s : float
    plan : mapping
        The expected duration, as it was told beforehand.
    utility : mapping of tag to (tp, fp, fn, tn)
        What answers of a review are worth; empty where each counts alike.
    measure : Measure or None
        A package's metric that answers of a review are measured by.
    """

    name: str
    outcome: str
    arms: Mapping[str, ExperimentArm]
    share: float
    paired: bool
    alpha: float
    effect: float
    baseline: float
    salt: str
    started_s: float
    plan: Mapping[str, Any]
    utility: Worths = field(default_factory=dict)
    measure: Measure | None = None

    def arm_of(self, unit: str) -> str:
        """Return the arm of a unit: always the same, like a coin that nobody can foresee."""
        text = f"{self.salt}\0{unit}".encode("utf-8", "surrogateescape")
        number = int.from_bytes(hashlib.sha256(text).digest()[:7], "big") / 2**56
        return B if number < self.share else A

    def save(self, folder: Path) -> None:
        """Write it as the file of a folder."""
        content = {"format": _FORMAT, **asdict(self)}
        write_text(folder / FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Experiment":
        """Return the experiment in a folder.

        Raises
        ------
        TagstackError
            If there is none, or its file is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            msg = f"{folder} holds no experiment ({FILE}). Begin one: `tagstack experiment start`."
            raise TagstackError(msg)
        content = read_json(path)
        try:
            own = dict(content)
            if own.pop("format") != _FORMAT:
                raise ValueError("another format")
            arms = {arm: ExperimentArm(**own["arms"][arm]) for arm in (A, B)}
            measure = None if own.get("measure") is None else Measure.read(own["measure"])
            found = cls(**{**own, "arms": arms, "measure": measure})
            if not (0 < found.share < 1 and 0 < found.alpha < 1 and isinstance(found.salt, str)):
                raise ValueError("a share or alpha out of range")
            if found.utility and not _is_worths(found.utility):
                raise ValueError("worths that are none")
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            msg = f"{path} is damaged ({error}). Restore it; outcomes beside it are whole."
            raise TagstackError(msg) from error
        return found


def _is_worths(utility: Worths) -> bool:
    """Return whether a file's worths are finite numbers, four a tag, and differ."""
    rows = [tuple(row) for row in utility.values()]
    values = [value for row in rows for value in row]
    whole = ALL in utility and all(len(row) == len(OUTCOMES) for row in rows)
    return whole and all(map(math.isfinite, values)) and min(values) < max(values)
