"""Options that go together, said once: commands take such a group as one value.

A group is a dataclass whose fields are options; `grouped` gives a command the options of the groups
in its signature, where they stand there.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from tagstack.ensemble.console.options import (
    Backend,
    Group,
    LabelExtension,
    Precision,
    Threads,
    UnknownIfAbsent,
    Where,
    endings_of,
    families_of,
    listed,
)

if TYPE_CHECKING:
    from tagstack.ensemble.bundle.dataset import DatasetSource
    from tagstack.ensemble.serving.listening import Listening


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the options of its groups one by one, as Typer gives them."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    signature = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in groups:
            parameters += _parameters(groups[name])
        else:
            parameters.append(_option(name, hints[name], parameter.default))

    @wraps(command)
    def taking(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        command(**values)

    taking.__annotations__ = {own.name: own.annotation for own in parameters}
    taking.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return taking


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        _option(field.name, hints[field.name], field.default, none=MISSING)
        for field in fields(group)
    ]


def _option(name: str, kind: Any, default: Any, none: Any = inspect.Parameter.empty) -> Any:
    given = inspect.Parameter.empty if default is none else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=given, annotation=kind)


@dataclass(frozen=True, kw_only=True)
class Cascading:
    """Whether costly taggers are asked only where that pays, for a bundle with a cascade."""

    cascade: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Ask costly taggers where it pays: largest share of their cost."
        ),
    ] = None
    cascade_loss: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="The same, by the largest loss of micro-F1, such as .003."),
    ] = None

    def settings(self) -> dict[str, object] | None:
        """Return what was given as settings of ``[cascade]``; None for nothing."""
        if self.cascade is None and self.cascade_loss is None:
            return None
        cost = 1.0 if self.cascade is None else self.cascade
        return {"cascade": {"cost": cost, "loss": self.cascade_loss or 0.0}}


@dataclass(frozen=True, kw_only=True)
class LabelRows:
    """Which labels count, and what they leave open."""

    where: Where = None
    group: Group = None
    unknown_if_absent: UnknownIfAbsent = None
    label_extension: LabelExtension = None

    def source(self, scores: Path, labels: Path) -> "DatasetSource":
        """Return scored images with such labels."""
        from tagstack.ensemble.bundle.dataset import DatasetSource

        return DatasetSource(
            scores=scores,
            labels=labels,
            where=self.where,
            group=self.group,
            unknown_if_absent=families_of(self.unknown_if_absent),
            sidecars=endings_of(self.label_extension),
        )


@dataclass(frozen=True, kw_only=True)
class Running:
    """How taggers run."""

    threads: Threads = None
    backend: Backend = None
    precision: Precision = None

    def settings(
        self, features: str | None = None, devices: str | None = None
    ) -> dict[str, object]:
        """Return the settings that they stand for, with options of these names where given."""
        score = {
            "backend": self.backend,
            "precision": self.precision,
            "features": None if features is None else listed(features, "--features"),
            "devices": None if devices is None else listed(devices, "--devices"),
        }
        given = {key: value for key, value in score.items() if value is not None}
        own = {} if self.threads is None else {"threads": self.threads}
        return {**own, **({"score": given} if given else {})}


@dataclass(frozen=True, kw_only=True)
class Target:
    """What tags, and where the tags go."""

    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; --models will do without one.")
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; with --beside the pictures' own by default."),
    ] = None
    formats: Annotated[
        str | None,
        typer.Option("--format", help="txt, json, jsonl, csv, parquet, kohya, hydrus, xmp, ..."),
    ] = None
    preset: Annotated[
        str | None, typer.Option(help="What another program wants; see `presets list`.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Audience:
    """Who may reach what listens."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that every visitor must know.")
    ] = None
    trust_proxy: Annotated[
        bool, typer.Option("--trust-proxy", help="A proxy in front says who may ask.")
    ] = False

    def listening(self, port: int) -> "Listening":
        """Return where to listen, and to whom."""
        from tagstack.ensemble.serving.listening import Listening

        return Listening(
            host=self.host, port=port, token_file=self.token_file, trust_proxy=self.trust_proxy
        )
