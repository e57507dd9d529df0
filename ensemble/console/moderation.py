"""What `moderate` prints, and how it ends: a script reads the worst answer off the exit code.

And what `calibrate --policies` prints.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict

import typer
from rich.markup import escape
from rich.table import Table

from tagstack.ensemble.console.console import out, print_json, print_json_line
from tagstack.ensemble.moderation.moderator import Answer, Reason
from tagstack.ensemble.tasks.moderate import ModeratedImage
from tagstack.ensemble.tasks.policies import PromisedPolicies

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


def print_policies(found: PromisedPolicies, *, as_json: bool) -> None:
    """Print what is promised of each policy, and where they were written."""
    if as_json:
        policies = [
            {key: None if value != value else value for key, value in asdict(one).items()}
            for one in found.policies
        ]
        print_json({**asdict(found), "policies": policies, "target": str(found.target)})
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("policy", "written", "groups", "caught", "interval", "holds for"):
        figure = column not in ("policy", "written")
        table.add_column(column, justify="right" if figure else "left", overflow="fold")
    for one in found.policies:
        seen = "-" if math.isnan(one.low) else f"{one.low:.3f}..{one.high:.3f}"
        table.add_row(
            escape(one.policy), "no promise" if one.proba is None else escape(one.written),
            str(one.n_groups), "-" if one.n_caught is None else str(one.n_caught), seen,
            "-" if math.isnan(one.held) else f"{one.held:.1%}",
        )  # fmt: skip
    out.print(table)
    out.print(
        f"written: catches at least {found.recall:g} of the pictures that the policy is about, on "
        f"pictures like these, at {found.confidence:.0%} confidence each. groups: with such a "
        "picture, one of each counts. holds for: of all pictures."
    )
    if any(one.proba is None for one in found.policies):
        out.print(
            f"no promise: left as it was, and so are its figures; it takes "
            f"{found.policies[0].needed} groups without one that is missed."
        )
    out.print(f"Policies: {found.target}", markup=False, soft_wrap=True)


def _words(reason: Reason) -> str:
    if reason.proba is None:
        return reason.policy
    return f"{reason.policy}: {reason.tag} {reason.proba:.2f}"
