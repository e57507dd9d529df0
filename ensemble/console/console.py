"""The console: results on standard output, progress and notices on standard error."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown

if TYPE_CHECKING:
    from tagstack.base_models.scoring.pipeline import ScoreProgress

_LOG_SECONDS = 30.0  # in a log, a long stage says so often how far it is
_NAMED = 5  # how many failures a summary shows before it refers to the file


class _Plain(Console):
    """A console that shows text as it is: no markup, no pictures, no control characters."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, emoji=False, markup=False)

    def render_str(self, text: str, *arguments: Any, **options: Any) -> Text:
        """Return text for the terminal; every string and every table cell passes here."""
        return super().render_str(shown(text, lines=True), *arguments, **options)


out = _Plain()
err = _Plain(stderr=True)


def marked(mark: str, style: str, text: str = "") -> Text:
    """Return a coloured mark with plain text after it."""
    return Text.assemble((mark, style), f" {shown(text, lines=True)}" if text else "")


def verdict(good: bool, text: str) -> Text:
    """Return a line that begins with whether what it says is good."""
    return marked("ok  ", "green", text) if good else marked("bad ", "bold red", text)


class _Bars(Bars):
    """A bar with a line of detail below."""

    detail = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield what is drawn, top to bottom."""
        yield from super().get_renderables()
        if self.detail:
            yield Text(self.detail, style="dim", overflow="ellipsis", no_wrap=True)


class _Stages:
    """Shows stages and level-1 progress on standard error; plain lines where it is no terminal."""

    def __init__(self, bars: "_Bars") -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=None)
        self._stage = ""
        self._lines = _LogLines()

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Name the stage and move the bar; the clock starts anew with every stage."""
        if text != self._stage:
            self._stage = text
            self._bars.detail = ""
            self._bars.reset(self._task, total=None, description=shown(text))
            if not err.is_terminal and not is_quiet():
                err.print(text, markup=False)
            self._lines.begin()
        if total:
            self._lines.add(f"{text}: {done:,} of {total:,}")
        self._bars.update(self._task, completed=done, total=total or None)

    def notice(self, text: str) -> None:
        """Print a line that stays."""
        if not is_quiet():
            console = self._bars.console
            console.print(f"Note: {text}", style="yellow", markup=False, soft_wrap=True)

    def scored(self, state: "ScoreProgress") -> None:
        """Move the bar."""
        description = f"scoring, {state.images_per_s:.0f} images/s"
        if state.n_failed:
            description += f", {state.n_failed} failed"
        self._bars.detail = shown(rates(state.stage_rates))
        self._lines.add(f"{description}: {state.n_done:,} of {state.n_images:,}")
        self._bars.update(
            self._task, description=description, completed=state.n_done, total=state.n_images
        )


class _LogLines:
    """Lines in a log, where nobody sees a bar: one now and then, the first after a while."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def begin(self) -> None:
        """Wait anew, as something was just said."""
        self._last = time.monotonic()

    def add(self, text: str) -> None:
        """Print a line unless the last one was printed just now."""
        if err.is_terminal or is_quiet() or time.monotonic() - self._last < _LOG_SECONDS:
            return
        self.begin()
        err.print(text, soft_wrap=True)


def is_quiet() -> bool:
    """Return whether the user asked for errors alone."""
    return not logging.getLogger("tagstack").isEnabledFor(logging.WARNING)


@contextmanager
def stages() -> Iterator[_Stages]:
    """Show progress while the block runs."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with _Bars(
        *columns, console=err, transient=True, disable=is_quiet() or not err.is_terminal
    ) as bars:
        yield _Stages(bars)


def rates(stage_rates: Mapping[str, float]) -> str:
    """Return what each stage of scoring can do by itself, as one line; the slowest first."""
    ordered = sorted(stage_rates.items(), key=lambda item: item[1])
    return "  ".join(f"{stage.removeprefix('infer ')} {rate:.3g}/s" for stage, rate in ordered)


def print_json(content: object) -> None:
    """Print JSON on standard output; a path is a text there."""
    out.print_json(json.dumps(content, allow_nan=False, default=os.fspath))


def print_json_line(content: object) -> None:
    """Print JSON as one line on standard output."""
    out.print(json.dumps(content, allow_nan=False), soft_wrap=True)


def print_failures(failures: Sequence[tuple[str, str]]) -> None:
    """Print the first failures, image and reason, on standard error."""
    for name, reason in failures[:_NAMED]:
        err.print(f"  {name}: {reason}", markup=False, soft_wrap=True)
    if len(failures) > _NAMED:
        err.print(f"  and {len(failures) - _NAMED} more; failures.csv names them all.")


if TYPE_CHECKING:  # printing must not wait for what these need
    from tagstack.base_models.taggers.pulling import PullPlan


def print_plan(plan: "PullPlan") -> None:
    """Print what a pull would fetch, from where, and under which terms, on standard error."""
    state = plan.state
    lines = [
        f"{plan.name}: {plan.contract.title}".rstrip(": "),
        *plan.notes,
        f"from: {state.repo} at {state.commit}",
        f"to: {plan.target}",
        *(f"  {file.name}  {decimal(file.size_bytes)}" for file in state.files),
        f"{decimal(plan.size_bytes)} in {len(state.files)} files",
    ]
    for line in lines:
        err.print(line, markup=False, soft_wrap=True)


def confirmed(plan: "PullPlan", *, yes: bool) -> bool:
    """Return whether the user wants it.

    Raises
    ------
    TagstackError
        If nobody can be asked.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        msg = f"Nobody is there to ask before downloading {plan.name!r}. Pass --yes."
        raise TagstackError(msg)
    return typer.confirm("Download?", default=True, err=True)


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many of something are done while the block runs; yield what is told it."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=is_quiet() or not err.is_terminal) as bars:
        task = bars.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield show


@contextmanager
def downloads() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each file while the block runs; yield what moves them."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=is_quiet() or not err.is_terminal) as bars:
        tasks = {}
        lines = _LogLines()

        def show(name: str, here: int, size: int) -> None:
            lines.add(f"{name}: {decimal(here)} of {decimal(size)}")
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=size)
            bars.update(tasks[name], completed=here)

        yield show
