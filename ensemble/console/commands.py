"""Which commands there are, as one works, and where they live: each is imported when asked for.

A command's own options take a moment to make, and seventy commands' take as long as a small
command runs. The list of commands therefore says by itself what each is for.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from copy import copy
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
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

# What the list of commands says of those that live elsewhere: the first line of their own help.
PURPOSES: Mapping[str, str] = {
    "start": "Make a bundle of taggers without a single label; `fit` makes a better one of labels.",
    "fit": "Fit the stack on labelled images and write a bundle; prints the ladder.",
    "compare": "Compare every rung, single taggers to stack, on images the stack never saw.",
    "audit": "Say on which kinds of images the tags are worse, and which come for company alone.",
    "calibrate": "Fit new thresholds on labelled images; the bundle uses them from then on.",
    "tag": (
        "Tag images with a bundle or taggers alone; run again to resume or bring files up to date."
    ),
    "watch": (
        "Tag a folder and then whatever is new, changed, renamed or deleted in it, until stopped."
    ),
    "review": "Settle doubtful tags on a page in the browser, one key a decision, until stopped.",
    "accept": "Say which tags may be applied unseen so that few are wrong, and which go to people.",
    "feedback": "What people decided: as labels, from labels, and for the thresholds.",
    "experiment": "Two ways of tagging against each other, with an interval that may be watched.",
    "train": "Train a tagger on your own pictures and labels (extra `train`).",
    "dataset": "Training sets: check captions, filter, prune, balance, split; take changes back.",
    "quality": "Quality: score pictures, and turn scores into tags such as masterpiece.",
    "models": "Taggers: those shipped, those you added, and whether a folder keeps its contract.",
    "labels": "Labels: which are probably missing or wrong.",
    "rules": "Rules: what they say, whether they make sense, and what labels say of them.",
    "thresholds": (
        "Versions of a bundle's thresholds: which there are, what they say, which is in use."
    ),
    "presets": "Presets of output for other programs.",
    "scores": "Look after score stores; import and export scores.",
    "engines": (
        "TensorRT engines, int8 and fp8 taggers: build, compare with ONNX Runtime, keep, clean."
    ),
    "config": "Settings: what holds, why, and whether a file of them is right.",
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

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show what each command is for; those of other modules are not imported for that."""
        listed = copy(self)
        listed.commands = {
            name: TyperCommand(name, help=PURPOSES[name])
            if _HOMES.get(name)
            else self.commands[name]
            for name in self.commands
        }
        super(Commands, listed).format_help(ctx, formatter)


class _Made(MutableMapping[str, Any]):
    """Commands by name; those of other modules are made when they are looked up."""

    def __init__(self, here: Mapping[str, Any]) -> None:
        self._made = dict(here)
        self._names = [*_HOMES, *(name for name in here if name not in _HOMES)]

    def __getitem__(self, name: str) -> Any:
        home = _HOMES.get(name)
        if home is not None and name not in self._made:
            self._made[name] = _command(name, home)
        return _strict(self._made[name])

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


def _strict(command: Any) -> Any:
    """Make a command, or a group's commands, refuse a path without a letter.

    ``"$DIR"`` of a variable that is not set would mean the current folder, and what is in it.
    """
    for own in getattr(command, "commands", {}).values():
        _strict(own)
    if hasattr(command, "commands") or hasattr(command, "_parse_args"):
        return command
    command._parse_args = command.parse_args

    def parse_args(ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        rest: list[str] = command._parse_args(ctx, args)
        if "" in given or any(own.endswith("=") for own in given):
            _refuse_empty_paths(command, ctx, given)
        return rest

    command.parse_args = parse_args
    return command


def _refuse_empty_paths(command: Any, ctx: Any, args: list[str]) -> None:
    raw, _, _ = command.make_parser(ctx).parse_args(args=args)
    for parameter in command.params:
        found, written = ctx.params.get(parameter.name), raw.get(parameter.name)
        of_paths = any(isinstance(own, Path) for own in _each(found))
        if of_paths and "" in _each(written):
            msg = 'a path is empty. Give a file or folder; "." is the current one.'
            raise typer.BadParameter(msg, ctx=ctx, param=parameter)


def _each(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)
