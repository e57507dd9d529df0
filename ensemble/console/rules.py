"""``tagstack rules``: what rules say, whether they make sense, and what labels say of them."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from tagstack.ensemble.console.console import marked, out, print_json
from tagstack.ensemble.console.options import (
    Config,
    Group,
    Json,
    Labels,
    Overwrite,
    UnknownIfAbsent,
    Where,
    exit_unless,
    families_of,
    settings_of,
)

if TYPE_CHECKING:  # printing must not wait for what these need
    from tagstack.ensemble.rule_study.audit import RuleAudit
    from tagstack.ensemble.rule_study.auditing import AuditReport
    from tagstack.ensemble.rule_study.catalogue import Binding, RuleEntry
    from tagstack.ensemble.rule_study.effects import Effect
    from tagstack.ensemble.rule_study.proposals import Proposals
    from tagstack.ensemble.rules.hygiene import Fault
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
        table.add_row(entry.id, entry.strength, entry.says)
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
        mark = ("fault ", "bold red") if fault.severity == "fault" else ("notice", "yellow")
        out.print(marked(*mark, fault.message), soft_wrap=True)
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
        audit.rule,
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


rules_app = typer.Typer(
    help="Rules: what they say, whether they make sense, and what labels say of them.",
    epilog="tagstack rules list --tag long_hair\n\ntagstack rules check mine.toml",
    no_args_is_help=True,
)

_SOURCES = "Shipped sets, .toml files, tables and dumps, comma-separated."
Sources = Annotated[str, typer.Argument(help=_SOURCES)]
SourcesOption = Annotated[str | None, typer.Option("--rules", help=_SOURCES)]
VocabularyOption = Annotated[
    Path | None, typer.Option("--vocabulary", help="Bundle, or CSV with a column name or tag.")
]


@rules_app.command(
    "list",
    epilog="tagstack rules list\n\n"
    "tagstack rules list danbooru,mine.toml --tag long_hair --kind exclusion",
)
def list_all(
    sources: Sources = "danbooru",
    tag: Annotated[str | None, typer.Option(help="Rules that name this tag.")] = None,
    kind: Annotated[
        Literal["implication", "exclusion"] | None, typer.Option(help="Rules of one kind.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List rules with what they say and their strength."""
    from tagstack.ensemble.rule_study.catalogue import list_rules
    from tagstack.ensemble.rules.sources import load_rules

    print_rules(list_rules(load_rules(sources), tag=tag, kind=kind), as_json=as_json)


@rules_app.command(
    epilog="tagstack rules show hair.length\n\n"
    "tagstack rules show group.colour --rules tags.csv --vocabulary bundle"
)
def show(
    rule: Annotated[str, typer.Argument(help="Id of the rule.")],
    rules: SourcesOption = None,
    vocabulary: VocabularyOption = None,
    as_json: Json = False,
) -> None:
    """Show a rule, who says so, and what is left of it in a vocabulary."""
    from tagstack.ensemble.rule_study.catalogue import binding_of, find_rule, vocabulary_of
    from tagstack.ensemble.rules.sources import load_rules

    loaded = load_rules(rules or "danbooru")
    entry = find_rule(loaded, rule)
    binding = None
    if vocabulary is not None:
        binding = binding_of(loaded, rule, vocabulary_of(vocabulary))
    print_rule(entry, binding, as_json=as_json)


@rules_app.command(
    epilog="tagstack rules check danbooru,mine.toml\n\n"
    "tagstack rules check tag_implications.csv.gz --vocabulary selected_tags.csv"
)
def check(
    sources: Sources,
    vocabulary: VocabularyOption = None,
    as_json: Json = False,
) -> None:
    """Find loops, cycles, tags that can never hold and names that nobody knows."""
    from tagstack.ensemble.rule_study.catalogue import vocabulary_of
    from tagstack.ensemble.rule_study.checking import find_faults
    from tagstack.ensemble.rules.sources import load_rules

    loaded = load_rules(sources)
    faults = find_faults(loaded, None if vocabulary is None else vocabulary_of(vocabulary))
    print_faults(loaded, faults, as_json=as_json)
    exit_unless(all(fault.severity != "fault" for fault in faults))


@rules_app.command(
    epilog="tagstack rules audit --rules danbooru --labels labels.csv\n\n"
    "tagstack rules audit --bundle b --scores s --labels l.csv --where part=test"
)
def audit(
    labels: Labels,
    rules: SourcesOption = None,
    bundle: Annotated[Path | None, typer.Option(help="Decode as this bundle does.")] = None,
    scores: Annotated[Path | None, typer.Option(help="The bundle's score store.")] = None,
    where: Where = None,
    group: Group = None,
    unknown_if_absent: UnknownIfAbsent = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say how often labels break each rule and, with scores, what each rule changes."""
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.rule_study.auditing import RuleAuditRequest, audit_labels

    request = RuleAuditRequest(
        labels=labels,
        rules=rules,
        bundle=bundle,
        scores=scores,
        where=where,
        group=group,
        unknown_if_absent=families_of(unknown_if_absent),
    )
    with stages() as progress:
        report = audit_labels(request, settings_of(config), progress)
    print_audit(report, as_json=as_json)


@rules_app.command(
    epilog="tagstack rules mine --labels labels.csv --out review.toml\n\n"
    "tagstack rules mine --labels l --rules danbooru --where part=fit --out r.toml"
)
def mine(
    labels: Labels,
    out: Annotated[Path, typer.Option(help="Review file to write, .toml.")],
    rules: SourcesOption = None,
    where: Where = None,
    unknown_if_absent: UnknownIfAbsent = None,
    config: Config = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Propose soft rules from labels, for a person to accept one by one."""
    from tagstack.ensemble.console.console import stages
    from tagstack.ensemble.rule_study.auditing import MineRequest, mine_labels

    request = MineRequest(
        labels=labels,
        out=out,
        rules=rules,
        where=where,
        unknown_if_absent=families_of(unknown_if_absent),
        overwrite=overwrite,
    )
    with stages() as progress:
        proposals = mine_labels(request, settings_of(config), progress)
    print_proposals(proposals, out, as_json=as_json)
