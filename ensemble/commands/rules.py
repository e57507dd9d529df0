"""``tagstack rules``: what rules say, whether they make sense, and what labels say of them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tagstack.ensemble.commands.options import (
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
    from tagstack.ensemble.rules.catalogue import list_rules
    from tagstack.ensemble.rules.sources import load_rules
    from tagstack.ensemble.terminal.rules import print_rules

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
    from tagstack.ensemble.rules.catalogue import binding_of, find_rule, vocabulary_of
    from tagstack.ensemble.rules.sources import load_rules
    from tagstack.ensemble.terminal.rules import print_rule

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
    from tagstack.ensemble.rules.catalogue import vocabulary_of
    from tagstack.ensemble.rules.checking import find_faults
    from tagstack.ensemble.rules.sources import load_rules
    from tagstack.ensemble.terminal.rules import print_faults

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
    from tagstack.ensemble.auditing import AuditRequest, audit_labels
    from tagstack.ensemble.terminal.console import stages
    from tagstack.ensemble.terminal.rules import print_audit

    request = AuditRequest(
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
    "tagstack rules mine --labels l.csv --rules danbooru --where part=fit --out review.toml"
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
    from tagstack.ensemble.auditing import MineRequest, mine_labels
    from tagstack.ensemble.terminal.console import stages
    from tagstack.ensemble.terminal.rules import print_proposals

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
