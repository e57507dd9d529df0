"""A command has the options of its groups where they stand, and is given each group as one."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from tagstack.ensemble.console.groups import grouped

SEEN: list[object] = []


@dataclass(frozen=True, kw_only=True)
class Pair:
    one: Annotated[int, typer.Option(help="The one.")]
    other: Annotated[str | None, typer.Option("--another", help="The other.")] = None


@grouped
def command(
    *,
    word: Annotated[str, typer.Argument()],
    pair: Pair,
    last: Annotated[bool, typer.Option("--last")] = False,
) -> None:
    """Do nothing."""
    SEEN.append((word, pair, last))


def test_a_group_is_its_options() -> None:
    app = typer.Typer()
    app.command()(command)
    shown = CliRunner().invoke(app, ["--help"]).output
    assert shown.index("--one") < shown.index("--another") < shown.index("--last")
    assert "--pair" not in shown
    assert CliRunner().invoke(app, ["w"]).exit_code == 2
    assert CliRunner().invoke(app, ["w", "--one", "3", "--last"]).exit_code == 0
    assert CliRunner().invoke(app, ["w", "--one", "4", "--another", "x"]).exit_code == 0
    assert SEEN == [("w", Pair(one=3), True), ("w", Pair(one=4, other="x"), False)]
