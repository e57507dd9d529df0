"""What `models pull` shows: what it would fetch, a question, and how far it is."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.terminal.console import err, is_quiet

if TYPE_CHECKING:  # printing must not wait for what these need
    from tagstack.base_models.pulling import PullPlan


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

        def show(name: str, here: int, size: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=size)
            bars.update(tasks[name], completed=here)

        yield show
