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
from tagstack.ensemble.rules.catalogue import vocabulary_of
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.sources import load_rules
from tagstack.ensemble.workshop.dataset.caption_text import (
    MAX_BYTES,
    key_of,
    read_caption,
)
from tagstack.ensemble.workshop.dataset.folder import CaptionFolder
from tagstack.ensemble.workshop.dataset.lint import (
    CHECKS,
    LEVELS,
    Finding,
    Linter,
    SharedTags,
)
from tagstack.ensemble.workshop.dataset.reading import writing_of
from tagstack.ensemble.workshop.dataset.undo import Changes, Rewrite, place_in

_NAMED = 5  # files named for each kind of finding
_SUGGESTED = 20  # unknown tags for which a known one is looked for


@dataclass(frozen=True, kw_only=True)
class LintRequest:
    """What is asked.

    Parameters
    ----------
    folder : Path
    vocabulary : Path, optional
        A bundle, or a CSV with a column ``name`` or ``tag``; without, no tag is unknown.
    deprecated : Path, optional
        A text with a tag a line.
    fix : bool
        Mend what is safe.
    out : Path, optional
        CSV of every finding.
    """

    folder: Path
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
    """Check a folder's captions one after the other; memory follows the number of different tags.

    Raises
    ------
    TagstackError
        If folder, rules, vocabulary or settings cannot be used.
    """
    own = settings.dataset
    folder = CaptionFolder.of(
        request.folder, extensions=settings.score.extensions, endings=own.caption_extensions
    )
    linter = _linter(request, folder, settings)
    shared, fixed = SharedTags(own), Counter[str]()
    changes = Changes(folder.root)
    with ExitStack() as stack:
        tally = _Tally(_opened(request.out, stack))
        for finding in _of_names(folder):
            if finding.check not in own.ignore:
                tally.add(finding)
        names = folder.of_pictures
        for n, name in enumerate(names, 1):
            for finding in _checked(name, folder, linter, shared, request, changes, fixed):
                tally.add(finding)
            progress.stage("checking captions", n, len(names))
        changes.finish()
        for finding in shared.findings():
            tally.add(finding)
    found = _found(tally, linter)
    failing = LEVELS[LEVELS.index(own.fail_on) :]
    return LintReport(
        n_images=len(folder.images),
        n_captions=len(folder.of_pictures),
        found=found,
        fixed=dict(sorted(fixed.items())),
        n_changed=changes.n_changed,
        undo=changes.path,
        good=not any(own.level in failing for own in found),
        out=request.out,
    )


def _linter(request: LintRequest, folder: CaptionFolder, settings: Settings) -> Linter:
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
        writing=writing_of(folder),
        known=known,
        deprecated=deprecated,
    )


def _of_names(folder: CaptionFolder) -> Iterator[Finding]:
    for image, captions in folder.captions_of.items():
        if not captions:
            yield Finding("no-caption", image)
        elif len(captions) > 1:
            yield Finding("several", image, "", " and ".join(captions))
    if folder.images:
        yield from (Finding("no-image", name) for name in folder.alone)
    yield from (Finding("unreadable", name, "", reason) for name, reason in folder.unlisted)


def _checked(
    name: str,
    folder: CaptionFolder,
    linter: Linter,
    shared: SharedTags,
    request: LintRequest,
    changes: Changes,
    fixed: Counter[str],
) -> Iterator[Finding]:
    """Yield what is wrong with one caption, after mending it where that is asked for."""
    try:
        text = read_caption(folder.path(name))
    except TagstackError as error:
        if "unreadable" not in linter.settings.ignore:
            yield Finding("unreadable", name, "", str(error))
        return
    found = list(linter.findings(name, text))
    if request.fix and (better := _mended(name, text, folder, linter, changes)) != text:
        left = list(linter.findings(name, better))
        fixed.update(Counter(own.check for own in found) - Counter(own.check for own in left))
        found, text = left, better
    shared.add(name, {key_of(part) for part in linter.writing.parts(text) if part})
    yield from found


def _mended(name: str, text: str, folder: CaptionFolder, linter: Linter, changes: Changes) -> str:
    """Queue a caption's new content and return its text; a JSON sidecar or a link stays."""
    better = linter.mended(text)
    if better == text or name.lower().endswith(".json"):
        return text
    try:
        path = place_in(folder.root, name)
        before = read_bytes(path, what="caption", limit=MAX_BYTES)
        after = better.encode("utf-8")
    except (TagstackError, UnicodeEncodeError):
        return text
    changes.rewrite(Rewrite(name, before, after))
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
