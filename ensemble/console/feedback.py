"""What `feedback apply` prints: thresholds that are surely worse, and what became of them."""

from collections.abc import Iterator

from tagstack.ensemble.console.console import out
from tagstack.ensemble.tasks.feedback_apply import Applied, Move

_ROWS = 40


def print_applied(found: Applied, *, auto: bool) -> None:
    """Print the moves, the most certain gain first, and how to go on."""
    for line in _lines(found, auto=auto):
        out.print(line, soft_wrap=True)


def _lines(found: Applied, *, auto: bool) -> Iterator[str]:
    yield (
        f"{found.n_answers} pairs were drawn or answered, {found.n_draws} of them drawn with a "
        f"known probability, on {found.n_tags} tags; {found.n_left_alone} of these have thresholds "
        "that are certified or set by hand and are left alone."
    )
    if not found.moves:
        yield f"No threshold of {found.before} is surely worse than another: it stays in use."
        return
    width = max(len(move.tag) for move in found.moves[:_ROWS])
    yield f"{'tag':<{width}}  before  after  pictures  right or wrong at least  gain at least"
    yield from (_row(move, width) for move in found.moves[:_ROWS])
    if len(found.moves) > _ROWS:
        yield f"and {len(found.moves) - _ROWS} more (--json has all)."
    yield (
        f"Of each tag the statement holds with {found.confidence:.0%}, however often one looks. "
        "Gain: right tags less what wrong ones cost by the objective, on the review's pictures."
    )
    n_done = sum(not move.held_back for move in found.moves)
    if found.version:
        yield (
            f"{n_done} moved: thresholds {found.version} are in use. `tagstack thresholds rollback "
            f"--bundle B` takes it back to {found.before}."
        )
    elif auto:
        yield f"None may be moved by itself: {found.before} stays in use."
    else:
        yield f"Nothing was changed. --mode auto puts the {n_done} that may be moved in use."


def _row(move: Move, width: int) -> str:
    held = f"  not done: {move.held_back}" if move.held_back else ""
    return (
        f"{move.tag:<{width}}  {move.before:6.3f} {move.after:6.3f}  {move.n_pairs:8d}  "
        f"{move.least:23.1f}  {move.low:13.1f}{held}"
    )
