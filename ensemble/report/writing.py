"""The comparison as files: one self-contained HTML page, metrics.json, Markdown and tables as CSV.

The page holds its style, script, data and pictures; it loads nothing. Its bytes depend on the
comparison, the pictures and the provenance alone: no date, no random order.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from markupsafe import Markup

from tagstack.base_models.atomic import write_text
from tagstack.ensemble.bundle.cascade import FrontierRow
from tagstack.ensemble.comparison.results import Comparison, RungResult
from tagstack.ensemble.report import advice, glossary, sections, view, words
from tagstack.ensemble.report import data as tables
from tagstack.ensemble.report.cascade_evidence import CascadeEvidence
from tagstack.ensemble.report.data import metrics_json, page_data, script_safe, shown_tags
from tagstack.ensemble.report.fit_evidence import FitEvidence
from tagstack.ensemble.report.rendering import rendered, template_text
from tagstack.ensemble.report.words import (
    between,
    headline,
    measured_on,
    number,
    signed,
    sublines,
    verdict_sentence,
)
from tagstack.meta.metrics.scores import compared, f_name

PAGE = "report.html"


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
    texts = compared(comparison.beta)
    names = [score.title for score in texts]
    lead = f"{cell(comparison.rung(comparison.reference).title)} minus rung, macro-{f}"
    header = ["Rung", *names, "Contradictions per image", lead, "Verdict"]
    rule = ["---", *("---:" for _ in names), "---:", "---:", "---"]
    rows = [_rung(comparison, rung, [score.name for score in texts]) for rung in comparison.rungs]
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


@dataclass(frozen=True, kw_only=True)
class ReportExtra:
    """What a report shows besides the comparison.

    Parameters
    ----------
    title : str
        Stands above the headline and in the browser's tab.
    provenance : mapping of str to str
        What was compared: version, bundle, members, command, hashes.
    notices : tuple of str
        What could not be used, a line each.
    fit : FitEvidence
        What the bundle remembers of its fit.
    cascade : tuple of FrontierRow
        Its cascade on the compared images; empty where it has none.
    """

    title: str = "Comparison"
    provenance: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    fit: FitEvidence = field(default_factory=FitEvidence)
    cascade: tuple[FrontierRow, ...] = ()

    @property
    def cascades(self) -> tuple[tuple[str, CascadeEvidence], ...]:
        """Cost against F1: on the compared images first, then as it was out of fold at the fit."""
        fitted = self.fit.cascade
        if fitted is None:
            return ()
        here = replace(fitted, rows=self.cascade)
        own = (("On the images compared here", here),) if self.cascade else ()
        return (*own, ("Out of fold when the stack was fitted", fitted))


@dataclass(frozen=True, kw_only=True)
class ReportPaths:
    """Where the files of a report are."""

    html: Path
    metrics: Path
    markdown: Path
    tags: Path
    rungs: Path
    pairs: Path
    rules: Path


def write_report(
    comparison: Comparison,
    out_dir: Path,
    *,
    pictures: Callable[[str], Path | None],
    extra: ReportExtra | None = None,
) -> ReportPaths:
    """Write ``report.html``, ``metrics.json``, ``report.md`` and four tables as CSV.

    Parameters
    ----------
    comparison : Comparison
    out_dir : Path
        Made if it does not exist; files of these names in it are replaced.
    pictures : callable from image name to Path or None
        Where the picture of a named image lies, for the thumbnails.
    extra : ReportExtra, optional

    Returns
    -------
    ReportPaths
    """
    extra = extra or ReportExtra()
    paths = ReportPaths(
        html=out_dir / PAGE,
        metrics=out_dir / "metrics.json",
        markdown=out_dir / "report.md",
        tags=out_dir / "tags.csv",
        rungs=out_dir / "rungs.csv",
        pairs=out_dir / "pairs.csv",
        rules=out_dir / "rules.csv",
    )
    write_text(paths.metrics, metrics_json(comparison, extra.provenance, extra.fit))
    write_text(paths.markdown, markdown(comparison, extra.provenance))
    write_text(paths.tags, tables.tags_csv(comparison))
    write_text(paths.rungs, tables.rungs_csv(comparison))
    write_text(paths.pairs, tables.pairs_csv(comparison))
    write_text(paths.rules, tables.rules_csv(comparison))
    write_text(paths.html, page(comparison, pictures=pictures, extra=extra))
    return paths


def page(
    comparison: Comparison, *, pictures: Callable[[str], Path | None], extra: ReportExtra
) -> str:
    """Return the report as one HTML page."""
    script = template_text("report.js")
    return rendered(
        "report.html",
        comparison=comparison,
        extra=extra,
        view=view,
        sections=sections,
        words=words,
        glossary=glossary,
        advice=advice,
        compared=compared,
        f_name=f_name,
        cards=view.worst_cards(comparison, pictures),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        data=Markup(script_safe(page_data(comparison))),
        n_shown=len(shown_tags(comparison)),
    )
