"""What the commands of ``dataset`` print of captions."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands start fast: everything heavier is imported where it is used
    from tagstack.ensemble.tasks.dataset_lint import LintReport

SHOWN = 40  # lines of a list


def taken_back(undo: Path | None, what: str) -> str:
    """Return a sentence on what was changed, with the command that takes it back."""
    back = f"; `tagstack dataset undo {undo}` takes it back" if undo else ""
    return f"{what}{back}."


def print_lint(report: "LintReport", *, fix: bool) -> None:
    """Print what was found in captions, and what was mended."""
    from tagstack.ensemble.console.console import out
    from tagstack.ensemble.workshop.dataset.lint import CHECKS

    for found in report.found[:SHOWN]:
        what = f" {found.tag}" if found.tag else ""
        detail = f" ({found.detail})" if found.detail else ""
        more = ", ..." if found.n > len(found.files) else ""
        out.print(
            f"{found.level:<7} {found.check}{what}{detail}: {', '.join(found.files)}{more}"
            f"{f' [{found.n}]' if found.n > 1 else ''}",
            soft_wrap=True,
        )
    if len(report.found) > SHOWN:
        out.print(f"and {len(report.found) - SHOWN} more kinds (--json or --out has all).")
    for check in dict.fromkeys(found.check for found in report.found):
        out.print(f"  {check}: {CHECKS[check].meaning}", soft_wrap=True)
    if fix:
        mended = ", ".join(f"{n} {check}" for check, n in report.fixed.items()) or "nothing"
        what = f"Mended: {mended}, in {report.n_changed} captions"
        out.print(taken_back(report.undo, what), soft_wrap=True)
    elif any(found.fixable for found in report.found):
        out.print("--fix mends trigger, alias, double, order and format.", soft_wrap=True)
    n = sum(found.n for found in report.found)
    out.print(
        f"{report.n_captions} captions, {report.n_images} pictures: "
        f"{f'{n} findings' if n else 'nothing is wrong'}.",
        soft_wrap=True,
    )
