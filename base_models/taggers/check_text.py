"""What a user may show of a check: no folder, no name of theirs, enough to tell what ran.

Contracts of published taggers were written from their sources; whether one holds for the real
weights is known once somebody ran them. Their report goes into ``configs/tried.toml``.
"""

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tagstack import __version__
from tagstack.base_models.atomic import file_sha256, write_text
from tagstack.base_models.taggers.check import CheckReport
from tagstack.base_models.taggers.own_folder import tagger_files
from tagstack.base_models.taggers.pull_record import check_pulled
from tagstack.base_models.user_cache import home_folder
from tagstack.configs.errors import TagstackError

FORMAT = 1
# What is left of a path that no known folder begins; addresses of the web have a letter or
# another slash before theirs.
_FOLDERS = re.compile(r"(?<![\w:/.~-])~?/(?:[^\s/'\":;,]+/)+")


def shareable(report: CheckReport) -> Mapping[str, Any]:
    """Return a check's findings with versions and hashes, and without a path.

    Raises
    ------
    TagstackError
        If the contract could not be read: then there is nothing to share.
    """
    contract = report.contract
    if contract is None:
        msg = f"{report.folder} has no contract that can be read, so there is nothing to report."
        raise TagstackError(msg)
    pulled = _pulled(report.folder)
    return {
        "format": FORMAT,
        "contract": contract.name,
        "contract_sha256": contract.digest(),
        "passed": report.passed,
        "tagstack": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "files": _files(report),
        "pulled_from": pulled,
        "findings": [
            {"check": item.check, "passed": item.passed, "detail": _bare(item.detail, report)}
            for item in report.findings
        ],
    }


def markdown(facts: Mapping[str, Any]) -> str:
    """Return what `shareable` gives as text to paste into an issue."""
    verdict = "passed" if facts["passed"] else "**failed**"
    lines = [
        f"`models check` of **{facts['contract']}** {verdict}: tagstack {facts['tagstack']}, "
        f"Python {facts['python']}, {facts['system']}.",
        "",
        f"- contract `{facts['contract_sha256']}`",
        *(
            f"- `{file['name']}`, {file['size_bytes']:,} bytes, `{file['sha256']}`"
            for file in facts["files"]
        ),
    ]
    if facts["pulled_from"] is not None:
        lines.append(f"- pulled from {facts['pulled_from']}")
    lines += ["", "| check | | what was seen |", "|---|---|---|"]
    for item in facts["findings"]:
        detail = item["detail"].replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {item['check']} | {'ok' if item['passed'] else '**bad**'} | {detail} |")
    return "\n".join(lines) + "\n"


def write_check(report: CheckReport, target: Path) -> None:
    """Write a check for others to read, as JSON for a name that ends so, else as Markdown.

    Raises
    ------
    TagstackError
        If the ending is neither, the file exists, or it cannot be written.
    """
    check_target(target)
    facts = shareable(report)
    is_json = target.suffix.lower() == ".json"
    write_text(target, json.dumps(facts, indent=1) + "\n" if is_json else markdown(facts))


def check_target(target: Path) -> None:
    """Refuse a file that `write_check` would, before the check is made.

    Raises
    ------
    TagstackError
        If the ending is none of .json and .md, or the file exists.
    """
    if target.suffix.lower() not in (".json", ".md"):
        msg = f"--report {target}: expected a name that ends in .md or .json."
        raise TagstackError(msg)
    if target.exists():
        raise TagstackError(f"{target} exists. Choose another name for --report.")


def _files(report: CheckReport) -> list[dict[str, object]]:
    if report.contract is None:
        return []
    try:
        files = tagger_files(report.folder, report.contract)
        paths = (files.model, *files.weights, files.tags, *filter(None, (files.metrics,)))
        return [
            {"name": p.name, "size_bytes": p.stat().st_size, "sha256": file_sha256(p)}
            for p in paths
            if p.is_file()
        ]
    except (TagstackError, OSError):  # a finding says so
        return []


def _pulled(folder: Path) -> str | None:
    try:
        record = check_pulled(folder)
    except TagstackError:  # a finding says so
        return None
    return None if record is None else f"{record.repo} at {record.commit}"


def _bare(text: str, report: CheckReport) -> str:
    """Return a text without the folders in it; the names of files stay."""
    given = report.folder
    for folder in (given.resolve(), given.absolute(), given, Path.cwd(), home_folder()):
        if len(str(folder)) > 1:
            text = text.replace(f"{folder}/", "").replace(str(folder), "the folder")
    return _FOLDERS.sub("", text)
