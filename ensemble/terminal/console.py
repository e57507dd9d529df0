"""The console: results on standard output, progress and notices on standard error."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

if TYPE_CHECKING:
    from tagstack.base_models.pipeline import ScoreProgress

_NAMED = 5  # how many failures a summary shows before it refers to the file

# Without `emoji=False` a colon pair in a path or a tag would turn into a picture.
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)


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

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Name the stage and move the bar; the clock starts anew with every stage."""
        if text != self._stage:
            self._stage = text
            self._bars.detail = ""
            self._bars.reset(self._task, total=None, description=text)
            if not err.is_terminal and not is_quiet():
                err.print(text, markup=False)
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
        self._bars.detail = rates(state.stage_rates)
        self._bars.update(
            self._task, description=description, completed=state.n_done, total=state.n_images
        )


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
    """Print JSON on standard output."""
    out.print_json(json.dumps(content, allow_nan=False))


def plain(text: str) -> str:
    """Return text that shows as it is, brackets included."""
    return escape(text)


def print_failures(failures: Sequence[tuple[str, str]]) -> None:
    """Print the first failures, image and reason, on standard error."""
    for name, reason in failures[:_NAMED]:
        err.print(f"  {name}: {reason}", markup=False, soft_wrap=True)
    if len(failures) > _NAMED:
        err.print(f"  and {len(failures) - _NAMED} more; failures.csv names them all.")
