"""What `rules` prints."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from tagstack.ensemble.terminal.console import out, plain, print_json

if TYPE_CHECKING:  # printing must not wait for what these need
    from tagstack.ensemble.auditing import AuditReport
    from tagstack.ensemble.rules.audit import RuleAudit
    from tagstack.ensemble.rules.catalogue import Binding, RuleEntry
    from tagstack.ensemble.rules.effects import Effect
    from tagstack.ensemble.rules.hygiene import Fault
    from tagstack.ensemble.rules.proposals import Proposals
    from tagstack.ensemble.rules.rule_set import Rules

_SHOWN = 20  # proposals on the screen; the file holds all


def print_rules(entries: "Sequence[RuleEntry]", *, as_json: bool) -> None:
    """Print rules, a line each."""
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    table = Table(box=None, pad_edge=False)
    for name in ("rule", "strength", "says"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        table.add_row(plain(entry.id), entry.strength, plain(entry.says))
    out.print(table)


def print_rule(entry: "RuleEntry", binding: "Binding | None", *, as_json: bool) -> None:
    """Print one rule and what is left of it in a vocabulary."""
    if as_json:
        print_json(asdict(entry) | {"binding": None if binding is None else asdict(binding)})
        return
    strength = entry.strength if entry.strength == "hard" else f"penalty {entry.strength}"
    for line in (f"{entry.id}: {entry.kind}, {strength}", entry.says, f"source: {entry.source}"):
        out.print(line, markup=False, soft_wrap=True)
    if binding is None:
        return
    out.print("in this vocabulary:" if binding.says else "in this vocabulary: nothing")
    for line in binding.says:
        out.print(f"  {line}", markup=False, soft_wrap=True)
    if binding.unknown:
        out.print(f"unknown there: {', '.join(binding.unknown)}", markup=False, soft_wrap=True)


def print_faults(rules: "Rules", faults: "Sequence[Fault]", *, as_json: bool) -> None:
    """Print what a check found."""
    n_faults = sum(fault.severity == "fault" for fault in faults)
    if as_json:
        content = {"rules": len(rules), "aliases": len(rules.aliases), "passed": not n_faults}
        print_json(content | {"findings": [asdict(fault) for fault in faults]})
        return
    for fault in faults:
        mark = "[bold red]fault [/]" if fault.severity == "fault" else "[yellow]notice[/]"
        out.print(f"{mark} {plain(fault.message)}", soft_wrap=True)
    out.print(
        f"{len(rules)} rules and {len(rules.aliases)} aliases: {n_faults} faults, "
        f"{len(faults) - n_faults} notices."
    )


def print_audit(report: "AuditReport", *, as_json: bool) -> None:
    """Print what labels say of rules."""
    effects = report.effects or {}
    if as_json:
        rows = [_audit_content(audit, effects.get(audit.rule)) for audit in report.audits]
        content = {"images": report.n_images, "decoded": report.n_decoded}
        print_json(content | {"rules": rows, "notices": list(report.notices)})
        return
    table = Table(box=None, pad_edge=False)
    for name in ("rule", "strength", "broken", "of", "rate", "interval", "advice"):
        left = name in ("rule", "advice")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for name in ("changes", "precision", "recall", "F1") if report.effects is not None else ():
        table.add_column(name, justify="right")
    for audit in report.audits:
        shown = _effect_cells(effects.get(audit.rule)) if report.effects is not None else ()
        table.add_row(*_audit_cells(audit), *shown)
    out.print(table)
    out.print(_audit_summary(report), soft_wrap=True)


def print_proposals(proposals: "Proposals", path: Path, *, as_json: bool) -> None:
    """Print what was proposed and where it waits."""
    found = {"exclusions": proposals.n_exclusions, "implications": proposals.n_implications}
    rules = proposals.rules.rules
    if as_json:
        shown = [{"id": rule.id, "penalty": rule.penalty, "source": rule.source} for rule in rules]
        print_json({"path": str(path), "found": found, "proposed": shown})
        return
    for rule in rules[:_SHOWN]:
        out.print(f"{rule.id}: {rule.source}", markup=False, soft_wrap=True)
    if len(rules) > _SHOWN:
        out.print(f"and {len(rules) - _SHOWN} more")
    out.print(
        f"{len(rules)} rules proposed, from {proposals.n_exclusions} exclusions and "
        f"{proposals.n_implications} implications of pairs of tags. None applies before "
        f"accepted = true stands beside it in {path}.",
        markup=False,
        soft_wrap=True,
    )


def _audit_cells(audit: "RuleAudit") -> tuple[str, ...]:
    hard = math.isinf(audit.penalty)
    advice = f"soft, {audit.soft_penalty:.1f}" if audit.advice == "soft" else audit.advice
    return (
        plain(audit.rule),
        "hard" if hard else f"{audit.penalty:g}",
        str(audit.broken),
        str(audit.applies),
        _share(audit.rate),
        "" if math.isnan(audit.low) else f"{_share(audit.low)} - {_share(audit.high)}",
        advice,
    )


def _effect_cells(effect: "Effect | None") -> tuple[str, ...]:
    if effect is None:
        return ("0", "", "", "")
    scores = (effect.precision, effect.recall, effect.f1)
    return (str(effect.images), *(f"{score:+.4f}" for score in scores))


def _audit_summary(report: "AuditReport") -> str:
    soft = sum(audit.advice == "soft" for audit in report.audits)
    idle = sum(audit.advice == "no evidence" for audit in report.audits)
    text = (
        f"{len(report.audits)} rules about {report.n_images} labelled images: {soft} better soft "
        f"(the number is the penalty to write), {idle} never apply."
    )
    if report.effects is not None:
        text += (
            f" Changes are images among {report.n_decoded}; scores are micro, with the rule minus "
            "without it."
        )
    return text


def _audit_content(audit: "RuleAudit", effect: "Effect | None") -> dict[str, Any]:
    content = asdict(audit) | {"hard": math.isinf(audit.penalty)}
    content |= {"effect": None if effect is None else asdict(effect)}
    return {key: _finite(value) for key, value in content.items()}


def _finite(value: object) -> object:
    """Return what JSON can hold: no NaN, no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2%}"
