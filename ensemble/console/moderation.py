"""What `moderate` prints, and how it ends: a script reads the worst answer off the exit code."""

from collections.abc import Iterable

import typer

from tagstack.ensemble.console.console import out, print_json_line
from tagstack.ensemble.moderation.moderator import Answer, Reason
from tagstack.ensemble.tasks.moderate import ModeratedImage

# 1 and 2 are errors, 3 is pictures that could not be read, as everywhere.
EXIT_CODES: dict[Answer, int] = {"allow": 0, "review": 5, "block": 4}
_UNREAD = 3


def print_answers(images: Iterable[ModeratedImage], *, as_json: bool) -> None:
    """Print an answer a line and exit by the worst: blocked, unread, to be reviewed, allowed."""
    codes = set()
    for image in images:
        answer = image.verdict.answer
        codes.add(_UNREAD if image.failure else EXIT_CODES[answer])
        if as_json:
            print_json_line(
                {"image": image.image, "error": image.failure, **image.verdict.as_dict()}
            )
        else:
            why = image.failure or "; ".join(map(_words, image.verdict.reasons))
            out.print(f"{answer:<6}  {image.image}{f'  ({why})' if why else ''}", soft_wrap=True)
    worst = next((code for code in (EXIT_CODES["block"], _UNREAD, 5) if code in codes), 0)
    if worst:
        raise typer.Exit(worst)


def _words(reason: Reason) -> str:
    if reason.proba is None:
        return reason.policy
    return f"{reason.policy}: {reason.tag} {reason.proba:.2f}"
