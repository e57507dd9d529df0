"""The comparison as a Markdown summary, for a pull request or a chat."""

from collections.abc import Mapping

from tagstack.ensemble.comparison.results import Comparison, RungResult
from tagstack.ensemble.report.words import (
    between,
    f_name,
    headline,
    measured_on,
    number,
    score_texts,
    signed,
    sublines,
    verdict_sentence,
)


def markdown(comparison: Comparison, provenance: Mapping[str, str]) -> str:
    """Return a summary for a pull request or a chat: the outcome and the ladder."""
    lines = ["# Comparison", "", f"**{cell(headline(comparison))}**"]
    for line in (*sublines(comparison), verdict_sentence(comparison)):
        lines += ["", cell(line)]
    lines += ["", f"Measured on {measured_on(comparison)}.", "", *_ladder(comparison)]
    if provenance:
        lines += ["", *(f"- {cell(key)}: {cell(value)}" for key, value in provenance.items())]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Return text that stays inside one Markdown table cell and is not read as markup."""
    for special in "\\`*_[]<>|#":
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())


def _ladder(comparison: Comparison) -> list[str]:
    f = f_name(comparison.beta)
    texts = score_texts(comparison.beta)
    names = [text.title for text in texts]
    lead = f"{cell(comparison.rung(comparison.reference).title)} minus rung, macro-{f}"
    header = ["Rung", *names, "Contradictions per image", lead, "Verdict"]
    rule = ["---", *("---:" for _ in names), "---:", "---:", "---"]
    rows = [_rung(comparison, rung, [text.key for text in texts]) for rung in comparison.rungs]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]


def _rung(comparison: Comparison, rung: RungResult, keys: list[str]) -> list[str]:
    difference = rung.differences["all"]["macro_f"]
    is_reference = rung.name == comparison.reference
    lead = f"{signed(difference.value)} ({between(difference)})"
    return [
        cell(rung.title),
        *(number(rung.scores["all"][key].value) for key in keys),
        number(rung.contradictions, 2),
        "" if is_reference else lead,
        "" if is_reference else difference.verdict,
    ]
