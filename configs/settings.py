"""All settings together, read from default.toml and a user's file laid over it.

default.toml is the only place that holds a default; the classes only say what is allowed.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tagstack.configs.acceptance import AcceptSettings
from tagstack.configs.auditing import AuditSettings
from tagstack.configs.cascade import CascadeSettings
from tagstack.configs.cluster import ClusterSettings
from tagstack.configs.comparing import CompareSettings
from tagstack.configs.dataset import DatasetSettings
from tagstack.configs.decisions import DecoderSettings, ThresholdSettings
from tagstack.configs.documented import default_text
from tagstack.configs.errors import TagstackError
from tagstack.configs.experiments import ExperimentSettings
from tagstack.configs.feedback import FeedbackSettings
from tagstack.configs.hooks import LEARNERS, RUNTIMES, THRESHOLD_STRATEGIES
from tagstack.configs.labels import LabelSettings
from tagstack.configs.level1 import ScoreSettings
from tagstack.configs.output import OutputSettings
from tagstack.configs.quality_tagging import QualitySettings
from tagstack.configs.remote import RemoteSettings
from tagstack.configs.reviewing import ReviewSettings
from tagstack.configs.ruling import RuleSettings
from tagstack.configs.section import Section, validated, validation_summary
from tagstack.configs.serving import ModerationSettings, ServeSettings
from tagstack.configs.stack import StackSettings
from tagstack.configs.start import StartSettings
from tagstack.configs.text_files import read_toml
from tagstack.configs.training import TrainSettings
from tagstack.configs.watching import WatchSettings


class Settings(Section):
    """Every setting of a run, validated."""

    seed: int = Field(ge=0, lt=2**31)
    threads: int = Field(ge=0, le=4096)
    score: ScoreSettings
    labels: LabelSettings
    start: StartSettings
    stack: StackSettings
    cascade: CascadeSettings
    cluster: ClusterSettings
    remote: RemoteSettings
    thresholds: ThresholdSettings
    decoder: DecoderSettings
    rules: RuleSettings
    compare: CompareSettings
    output: OutputSettings
    serve: ServeSettings
    watch: WatchSettings
    moderation: ModerationSettings
    review: ReviewSettings
    accept: AcceptSettings
    audit: AuditSettings
    quality: QualitySettings
    feedback: FeedbackSettings
    experiment: ExperimentSettings
    dataset: DatasetSettings
    train: TrainSettings


def load_settings(
    path: Path | None = None,
    changes: Mapping[str, object] | None = None,
    under: Mapping[str, object] | None = None,
) -> Settings:
    """Return the default settings, with a TOML file and then ``changes`` laid over them.

    Parameters
    ----------
    path : Path, optional
        A file with any part of default.toml's keys.
    changes : mapping, optional
        The same keys, nested alike; such as the command line's options.
    under : mapping, optional
        The same, laid over the defaults before the file; such as a preset.

    Raises
    ------
    TagstackError
        If the file cannot be read, holds an unknown key or a value out of range.
    """
    values = _overlaid(_defaults(), under or {})
    if path is not None:
        values = _overlaid(values, read_toml(path))
    values = _overlaid(values, changes or {})
    try:
        return validated(Settings, values)
    except ValidationError as error:
        blamed = _by_options(error, changes or {}) or f"{path or 'Settings'}: "
        raise TagstackError(f"{blamed}{validation_summary(error)}.") from error


def _by_options(error: ValidationError, changes: Mapping[str, object]) -> str:
    """Return the words for an error that the command line's options alone made; else nothing."""

    def changed(place: tuple[int | str, ...]) -> bool:
        own: object = changes
        for step in place:
            if not isinstance(own, Mapping):
                return True  # inside of a value that was given
            if step not in own:
                return False
            own = own[step]
        return True

    faults = error.errors(include_url=False)
    return "By an option: " if all(changed(fault["loc"]) for fault in faults) else ""


def changed_settings(settings: Settings, changes: Mapping[str, object]) -> Settings:
    """Return settings, such as a bundle's, with ``changes`` laid over them, nested alike.

    Raises
    ------
    TagstackError
        If a value is out of range, or a name is not known.
    """
    if not changes:
        return settings
    try:
        own = validated(Settings, _overlaid(settings.model_dump(mode="json"), changes))
    except ValidationError as error:
        raise TagstackError(f"Settings: {validation_summary(error)}.") from error
    if own.score.backend not in ("auto", settings.score.backend):
        RUNTIMES.offer(own.score.backend)
    return own


def check_names(settings: Settings) -> None:
    """Refuse names in the settings that nothing built in or installed answers to.

    Apart from `load_settings`, since a bundle's settings may name what only its fit needed.

    Raises
    ------
    TagstackError
        Names the first such setting and lists what is known.
    """
    if settings.score.backend != "auto":
        RUNTIMES.offer(settings.score.backend)
    THRESHOLD_STRATEGIES.offer(settings.thresholds.strategy)
    for learner in settings.stack.learners:
        LEARNERS.offer(learner)


@cache
def _defaults() -> Mapping[str, Any]:
    return tomllib.loads(default_text())


def _overlaid(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, change in changes.items():
        known = merged.get(key)
        if isinstance(known, Mapping) and isinstance(change, Mapping):
            merged[key] = _overlaid(known, change)
        else:
            merged[key] = change
    return merged
