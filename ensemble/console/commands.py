"""Which commands there are, as one works, and where they live: each is imported when asked for.

A command's own options take a moment to make, and seventy commands' take as long as a small
command runs.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

# From pictures to tags, then to better ones; what looks after things comes last. The module of
# this package and what it calls the command or the group of commands; None for those in cli.py.
_HOMES: Mapping[str, str | None] = {
    "demo": None,
    "start": "fitting:start",
    "score": None,
    "fit": "fitting:fit",
    "compare": "fitting:compare",
    "audit": "audit:audit",
    "calibrate": "thresholds:calibrate",
    "tag": "tagging:tag",
    "explain": None,
    "moderate": None,
    "watch": "watching:watch",
    "review": "review:review",
    "serve": None,
    "accept": "acceptance:accept",
    "feedback": "review:feedback",
    "experiment": "experiments:experiment",
    "train": "training:train",
    "dataset": "dataset:dataset",
    "quality": "quality:quality",
    "models": "models:models",
    "labels": "labels:labels_app",
    "rules": "rules:rules_app",
    "thresholds": "thresholds:thresholds",
    "presets": "presets:presets",
    "scores": "scores:scores_app",
    "engines": "engines:engines",
    "config": "config:config_app",
    "doctor": None,
}

# What the help of those commands ends with; a group of commands says it itself.
_EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "start": (
        "tagstack start --models wd-vit-tagger-v3,./mine --bundle start --images images",
        "tagstack start --scores scores --bundle start --rules danbooru",
    ),
    "fit": (
        "tagstack fit --scores scores --labels labels.csv --bundle bundle",
        "tagstack fit --scores s --labels l.csv --bundle b --where part=fit",
    ),
    "compare": (
        "tagstack compare --bundle b --scores s --labels l.csv --out report",
        "tagstack compare --bundle b --scores s --labels l --out r --other mine=t.csv",
        "tagstack compare --bundle new --against old --scores s --labels l --out r",
    ),
    "audit": (
        "tagstack audit --bundle bundle --scores scores --labels l.csv --out audit",
        "tagstack audit --bundle b --scores s --labels l.csv --with '*girls' --out a",
    ),
    "calibrate": (
        "tagstack calibrate --bundle b --scores s --labels l.csv --objective f1",
        "tagstack calibrate --bundle b --scores s --labels l --tag 'sky=precision>=.9'",
    ),
    "tag": (
        "tagstack tag images --bundle bundle --out tags",
        "tagstack tag images --models wd-vit-tagger-v3,./mine --out tags",
    ),
    "watch": (
        "tagstack watch images --bundle bundle --out tags",
        "tagstack watch images --bundle bundle --out tags --once",
    ),
    "review": (
        "tagstack review --bundle bundle --images images --scores scores",
        "tagstack review --bundle bundle --images images --labels labels.csv",
    ),
    "accept": (
        "tagstack accept --bundle bundle --tags tags --out accepted.csv",
        "tagstack accept --bundle b --tags tags --out a.csv --scores s --labels l.csv",
    ),
    "train": (
        "tagstack train --images images --labels l.csv --from convnext --out mine",
        "tagstack train --images images --labels l.csv --from mine --out mine-2",
    ),
}


class Commands(TyperGroup):
    """The commands of the command line, in the order of the work."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Made(self.commands)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return list(self.commands)


class _Made(MutableMapping[str, Any]):
    """Commands by name; those of other modules are made when they are looked up."""

    def __init__(self, here: Mapping[str, Any]) -> None:
        self._made = dict(here)
        self._names = [*_HOMES, *(name for name in here if name not in _HOMES)]

    def __getitem__(self, name: str) -> Any:
        home = _HOMES.get(name)
        if home is not None and name not in self._made:
            self._made[name] = _command(name, home)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        if name not in self._names:
            self._names.append(name)
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        self._names.remove(name)
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _command(name: str, home: str) -> Any:
    """Import a command and return it as the parser takes it."""
    module, _, attribute = home.partition(":")
    found = getattr(import_module(f"tagstack.ensemble.console.{module}"), attribute)
    if isinstance(found, typer.Typer):
        group = get_group(found)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False)
    alone.command(name, epilog="\n\n".join(_EXAMPLES[name]))(found)
    return get_command(alone)
