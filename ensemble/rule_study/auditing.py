"""Rules held against labels: how often they are broken, what they change, what labels propose."""

from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import load_bundle, refuse_existing
from tagstack.ensemble.bundle.honest_ground import ground_of
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.rule_study.audit import RuleAudit, audit_rules
from tagstack.ensemble.rule_study.effects import Effect, Evaluation, effects_of_rules
from tagstack.ensemble.rule_study.labelled import LabelledTags, read_labelled
from tagstack.ensemble.rule_study.proposals import Proposals, propose_rules
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules


@dataclass(frozen=True, kw_only=True)
class RuleAuditRequest:
    """Which rules to hold against which labels.

    Parameters
    ----------
    labels : Path
    rules : str, optional
        As `load_rules` takes them; the bundle's by default.
    bundle, scores : Path, optional
        Both, to decode with and without each rule.
    where, group, unknown_if_absent
        As for a dataset.
    """

    labels: Path
    rules: str | None = None
    bundle: Path | None = None
    scores: Path | None = None
    where: str | None = None
    group: str | None = None
    unknown_if_absent: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What labels say of rules.

    Parameters
    ----------
    audits : tuple of RuleAudit
        The most broken first.
    effects : mapping of rule id to Effect, or None
        Of the rules that change anything; None without bundle and scores.
    n_images, n_decoded : int
        Images counted, and images decoded with and without each rule.
    notices : tuple of str
    """

    audits: tuple[RuleAudit, ...]
    effects: dict[str, Effect] | None
    n_images: int
    n_decoded: int
    notices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MineRequest:
    """What to mine and where the review file goes."""

    labels: Path
    out: Path
    rules: str | None = None
    where: str | None = None
    unknown_if_absent: tuple[str, ...] | None = None
    overwrite: bool = False


def audit_labels(request: RuleAuditRequest, settings: Settings, progress: Progress) -> AuditReport:
    """Return how often labels break each rule and, with a bundle's scores, what each changes.

    Raises
    ------
    TagstackError
        If rules, labels, bundle or scores cannot be used, or one of the latter two is missing.
    """
    if (request.bundle is None) != (request.scores is None):
        msg = "Effects need a bundle and its scores. Give both --bundle and --scores, or neither."
        raise TagstackError(msg)
    bundle = None if request.bundle is None else load_bundle(request.bundle)
    if request.rules is None and bundle is None:
        msg = "There are no rules to audit. Give --rules, or a --bundle that has some."
        raise TagstackError(msg)
    rules = bundle.rules if bundle and request.rules is None else load_rules(request.rules or "")
    labelled = _labelled(request, rules, settings, progress)
    progress.stage("counting broken rules")
    audits = audit_rules(rules, labelled, settings.rules)
    effects, n_decoded = None, 0
    if request.bundle is not None and request.scores is not None and bundle is not None:
        source = DatasetSource(
            scores=request.scores,
            labels=request.labels,
            where=request.where,
            group=request.group,
            unknown_if_absent=request.unknown_if_absent,
        )
        ground = ground_of(request.bundle, source, bundle, progress)
        evaluation = Evaluation(
            proba=ground.proba,
            thresholds=bundle.thresholds.value,
            labels=ground.dataset.labels,
            unknown=ground.dataset.unknown,
        )
        bound = rules.bind(bundle.vocabulary)
        effects = effects_of_rules(rules, bound, evaluation, bundle.settings.decoder, progress)
        n_decoded = ground.dataset.scores.n_images
    return AuditReport(
        audits=audits,
        effects=effects,
        n_images=labelled.n_images,
        n_decoded=n_decoded,
        notices=labelled.notices,
    )


def mine_labels(request: MineRequest, settings: Settings, progress: Progress) -> Proposals:
    """Write a review file of the soft rules that labels propose, and return them.

    Raises
    ------
    TagstackError
        If labels or rules cannot be used, or the file exists.
    """
    refuse_existing(request.out, overwrite=request.overwrite)
    known = Rules.none() if request.rules is None else load_rules(request.rules)
    labelled = _labelled(request, known, settings, progress)
    progress.stage("counting pairs of tags")
    proposals = propose_rules(labelled, known, settings.rules)
    request.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(request.out, proposals.to_toml())
    return proposals


def _labelled(
    request: RuleAuditRequest | MineRequest, rules: Rules, settings: Settings, progress: Progress
) -> LabelledTags:
    progress.stage("reading labels")
    unknown = request.unknown_if_absent
    labelled = read_labelled(
        request.labels,
        rules,
        where=request.where,
        unknown_if_absent=settings.labels.unknown_if_absent if unknown is None else unknown,
    )
    for notice in labelled.notices:
        progress.notice(notice)
    return labelled
