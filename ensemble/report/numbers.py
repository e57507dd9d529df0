"""Scores and differences as text."""

import math

from tagstack.meta.metrics.bootstrap import Difference


def number(value: float, digits: int = 3) -> str:
    """Return a score with fixed digits; a dash where it is undefined."""
    return "\N{EN DASH}" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """Return a difference with its sign; a typographic minus, a dash where undefined."""
    if math.isnan(value):
        return "\N{EN DASH}"
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("\N{MINUS SIGN}" if value < 0 else "+") + text


def between(difference: Difference, digits: int = 3) -> str:
    """Return an interval of a difference in words; nothing where it is undefined."""
    if math.isnan(difference.low):
        return ""
    return f"{signed(difference.low, digits)} to {signed(difference.high, digits)}"
