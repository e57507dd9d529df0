"""What a cascade would save, as a table on the terminal."""

from tagstack.ensemble.bundle.cascade import Cascade, FrontierRow
from tagstack.ensemble.console.console import out

_SHOWN = 11  # rows; the JSON has all


def print_cascade(cascade: Cascade) -> None:
    """Print the order of the taggers and cost against F1, out of fold."""
    out.print()
    out.print(f"Cascade: {_order(cascade)}.", markup=False)
    lost = "lost (95%)"
    out.print(f"{'cost':>5} {'micro-F1':>9} {lost:>26} {'macro-F1':>9} {lost:>26}")
    for row in _some(cascade.rows):
        out.print(_line(row), markup=False, highlight=False)
    out.print(
        "cost: share of the networks' seconds; lost: against all taggers on every picture, out of "
        "fold. `tagstack tag --cascade .5` takes the dearest row within that cost, "
        "`--cascade-loss .003` the cheapest that lost no more micro-F1.",
        markup=False,
        style="dim",
    )


def _order(cascade: Cascade) -> str:
    before: set[str] = set()
    parts = []
    for members in (*(head.members for head in cascade.heads), tuple(cascade.seconds)):
        new = [name for name in members if name not in before]
        parts.append(" + ".join(f"{name} ({1e3 * cascade.seconds[name]:.3g} ms)" for name in new))
        before |= set(members)
    return ", then ".join(parts)


def _some(rows: tuple[FrontierRow, ...]) -> list[FrontierRow]:
    step = max(1, round((len(rows) - 1) / (_SHOWN - 1)))
    return [*rows[:-1:step], rows[-1]]


def _line(row: FrontierRow) -> str:
    micro = f"{row.micro_loss:+.4f} [{row.micro_low:+.4f}, {row.micro_high:+.4f}]"
    macro = f"{row.macro_loss:+.4f} [{row.macro_low:+.4f}, {row.macro_high:+.4f}]"
    return f"{row.cost:5.2f} {row.micro_f:9.4f} {micro:>26} {row.macro_f:9.4f} {macro:>26}"
