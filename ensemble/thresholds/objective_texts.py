"""How objectives are written: parts that several strategies share."""

import re
from collections.abc import Mapping

from tagstack.configs.decisions import ThresholdSettings

_NUMBER = r"[-+.\de]+"


def f_text(average: str, settings: ThresholdSettings) -> str:
    """Return an average of F-beta, such as ``macro F1``."""
    return f"{average} F{settings.beta:g}"


def goal_text(settings: ThresholdSettings) -> str:
    """Return what is raised: utility where ``settings.objective`` says so, F-beta otherwise."""
    if settings.objective == "utility":
        return utility_text(settings)
    return f_text(settings.average, settings)


def utility_text(settings: ThresholdSettings) -> str:
    """Return what each outcome is worth, such as ``utility:tp=1,fp=-0.5,fn=0,tn=0``."""
    worth = settings.utility.model_dump()
    return "utility:" + ",".join(f"{name}={value:g}" for name, value in worth.items())


def number_in(text: str, begin: str, field: str) -> Mapping[str, object] | None:
    """Return what a text of ``begin`` and a number sets ``field`` to; None for another text."""
    found = re.fullmatch(re.escape(begin) + f"({_NUMBER})", text)
    return None if found is None else {field: found[1]}
