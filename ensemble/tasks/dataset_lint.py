"""Checks the captions of a training folder, and mends what is safe."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.tag_names import did_you_mean
from tagstack.configs.dataset import Level
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.tables import TableWriter
from tagstack.configs.text_files import read_bytes, read_text
from tagstack.ensemble.outputs.format import printable
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.rule_study.catalogue import vocabulary_of
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.workshop.changing_alone import changing_alone
from tagstack.ensemble.workshop.dataset.caption_sources import CaptionSource, captions_from
from tagstack.ensemble.workshop.dataset.caption_text import MAX_BYTES, key_of
from tagstack.ensemble.workshop.dataset.lint import (
    CHECKS,
    LEVELS,
    Finding,
    Linter,
    SharedTags,
)
from tagstack.ensemble.workshop.dataset.undo import FolderChanges, Rewrite, place_in

_NAMED = 5  # files named for each kind of finding
_SUGGESTED = 20  # unknown tags for which a known one is looked for


@dataclass(frozen=True, kw_only=True)
class LintRequest:
    """What is asked.

    Parameters
    ----------
    source : Path
        Folder with captions, or a file of labels.
    vocabulary : Path, optional
        A bundle, or a CSV with a column ``name`` or ``tag``; without, no tag is unknown.
    deprecated : Path, optional
        A text with a tag a line.
    fix : bool
        Mend what is safe.
    out : Path, optional
        CSV of every finding.
    """

    source: Path
    vocabulary: Path | None = None
    deprecated: Path | None = None
    fix: bool = False
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """Findings of one check about one tag; about files where ``tag`` is empty.

    Parameters
    ----------
    check, level, tag, detail : str
    n : int
        Files; folders for ``shared``.
    files : tuple of str
        The first of them.
    fixable : bool
        Whether ``--fix`` mends it.
    """

    check: str
    level: Level
    tag: str
    detail: str
    n: int
    files: tuple[str, ...]
    fixable: bool


@dataclass(frozen=True, kw_only=True)
class LintReport:
    """What was found, after mending where that was asked for.

    Parameters
    ----------
    n_images, n_captions : int
    found : tuple of Found
        The worst level first, then the most frequent.
    fixed : dict of str to int
        How many findings of each check were mended.
    n_changed : int
        Captions that were rewritten.
    undo : Path or None
        What takes that back.
    good : bool
        Whether nothing of the level `dataset.fail_on` or above is left.
    out : Path or None
    """

    n_images: int
    n_captions: int
    found: tuple[Found, ...]
    fixed: dict[str, int]
    n_changed: int
    undo: Path | None
    good: bool
    out: Path | None


@dataclass
class _Tally:
    """Counts findings, names the first files of each kind, and writes them all where asked."""

    rows: TableWriter | None
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    files: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    details: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        key = (finding.check, finding.tag)
        self.counts[key] += 1
        self.details.setdefault(key, finding.detail)
        named = self.files.setdefault(key, [])
        if len(named) < _NAMED:
            named.append(finding.file)
        if self.rows is not None:
            level = CHECKS[finding.check].level
            cells = (finding.file, level, finding.check, finding.tag, finding.detail)
            self.rows.writerow(map(printable, cells))


def lint_captions(request: LintRequest, settings: Settings, progress: Progress) -> LintReport:
    """Check captions one after the other; memory follows the number of different tags.

    Raises
    ------
    TagstackError
        If captions, rules, vocabulary or settings cannot be used.
    """
    own = settings.dataset
    source = captions_from(request.source, settings, fix=request.fix)
    shared, names = SharedTags(own), source.names
    checking = _Checking(
        source, _linter(request, source, settings), shared, FolderChanges(source.root), request.fix
    )
    with ExitStack() as stack:
        stack.enter_context(changing_alone(source.root, changes=request.fix))
        tally = _Tally(_opened(request.out, stack))
        for finding in source.findings():
            if finding.check not in own.ignore:
                tally.add(finding)
        for n, name in enumerate(names, 1):
            for finding in checking.findings(name):
                tally.add(finding)
            progress.stage("checking captions", n, len(names))
        checking.changes.finish()
        for finding in shared.findings():
            tally.add(finding)
    found = _found(tally, checking.linter)
    failing = LEVELS[LEVELS.index(own.fail_on) :]
    return LintReport(
        n_images=source.n_images,
        n_captions=len(names),
        found=found,
        fixed=dict(sorted(checking.fixed.items())),
        n_changed=checking.changes.n_changed,
        undo=checking.changes.path,
        good=not any(own.level in failing for own in found),
        out=request.out,
    )


def _linter(request: LintRequest, source: CaptionSource, settings: Settings) -> Linter:
    own = settings.dataset
    known, deprecated = frozenset[str](), frozenset[str]()
    if request.vocabulary is not None:
        known = frozenset(map(key_of, vocabulary_of(request.vocabulary).tags))
    if request.deprecated is not None:
        lines = read_text(request.deprecated, what="deprecated tags").splitlines()
        deprecated = frozenset(key_of(line) for line in lines if line.strip())
    rules = load_rules(own.rules) if own.rules else Rules.none()
    return Linter(
        settings=own,
        rules=rules,
        writing=source.writing,
        known=known,
        deprecated=deprecated,
    )


@dataclass
class _Checking:
    """Checks captions by name, after mending them where that is asked for."""

    source: CaptionSource
    linter: Linter
    shared: SharedTags
    changes: FolderChanges
    fix: bool
    fixed: Counter[str] = field(default_factory=Counter)

    def findings(self, name: str) -> Iterator[Finding]:
        """Yield what is wrong with one caption."""
        linter = self.linter
        try:
            text = self.source.text(name)
        except TagstackError as error:
            if "unreadable" not in linter.settings.ignore:
                yield Finding("unreadable", name, "", str(error))
            return
        found = list(linter.findings(name, text))
        if self.fix and (better := self._mended(name, text)) != text:
            left = list(linter.findings(name, better))
            self.fixed += Counter(own.check for own in found) - Counter(own.check for own in left)
            found, text = left, better
        self.shared.add(name, {key_of(part) for part in linter.writing.parts(text) if part})
        yield from found

    def _mended(self, name: str, text: str) -> str:
        """Queue a caption's new content and return its text; a JSON sidecar or a link stays."""
        better = self.linter.mended(text)
        if better == text or name.lower().endswith(".json"):
            return text
        try:
            path = place_in(self.source.root, name)
            before = read_bytes(path, what="caption", limit=MAX_BYTES)
            after = better.encode("utf-8")
        except (TagstackError, UnicodeEncodeError):
            return text
        self.changes.rewrite(Rewrite(name, before, after))
        return better


def _opened(path: Path | None, stack: ExitStack) -> TableWriter | None:
    if path is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = stack.enter_context(written_whole(path))
    stream = stack.enter_context(temporary.open("w", encoding="utf-8", newline=""))
    table = TableWriter(stream)
    table.writerow(("filename", "level", "check", "tag", "detail"))
    return table


def _found(tally: _Tally, linter: Linter) -> tuple[Found, ...]:
    order = sorted(
        tally.counts.items(),
        key=lambda item: (-LEVELS.index(CHECKS[item[0][0]].level), -item[1], item[0]),
    )
    suggested = _suggestions([tag for (check, tag), _ in order if check == "unknown"], linter)
    return tuple(
        Found(
            check=check,
            level=CHECKS[check].level,
            tag=tag,
            detail=suggested.get(tag, "") if check == "unknown" else tally.details[check, tag],
            n=n,
            files=tuple(tally.files[check, tag]),
            fixable=CHECKS[check].fixed,
        )
        for (check, tag), n in order
    )


def _suggestions(tags: Sequence[str], linter: Linter) -> dict[str, str]:
    return {tag: did_you_mean(tag, linter.known) for tag in tags[:_SUGGESTED]}
