"""What was recorded of a tagger's files when they were first pulled, to hold them to afterwards.

The record outlives the files: after deleting a tagger, pulling it again gives the same commit and
must give the same bytes, whatever its publisher has done since.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.atomic import file_sha256, write_text
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import own_path
from tagstack.configs.text_files import read_json

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class PullRecord:
    """Where a tagger's files came from.

    Parameters
    ----------
    path : Path
        The record's own file.
    repo : str
    commit : str
        40 hexadecimal digits.
    files : mapping of name to SHA-256 in hexadecimal
        Empty until the first pull is complete.
    """

    path: Path
    repo: str
    commit: str
    files: Mapping[str, str]

    def write(self) -> None:
        """Write the record.

        Raises
        ------
        TagstackError
            If the system refuses.
        """
        content = {
            "format": FORMAT,
            "repo": self.repo,
            "commit": self.commit,
            "files": dict(self.files),
        }
        write_text(self.path, json.dumps(content, indent=1) + "\n")

    def check(self, sums: Mapping[str, str]) -> None:
        """Refuse files that are not those of the first pull.

        Parameters
        ----------
        sums : mapping of name to SHA-256 in hexadecimal

        Raises
        ------
        TagstackError
            If a file differs.
        """
        for name, expected in self.files.items():
            found = sums.get(name)
            if found != expected:
                msg = (
                    f"{name} of {self.repo} has SHA-256 {found}, but {expected} was recorded when "
                    f"it was first pulled (commit {self.commit[:12]}). If you trust the new file, "
                    f"delete {self.path}; else delete its folder and pull again."
                )
                raise TagstackError(msg)


def record_path(registry: Path, name: str) -> Path:
    """Return where the record of a tagger of a registry lies."""
    return registry.parent / "pulled" / f"{name}.json"


def read_record(path: Path) -> PullRecord | None:
    """Return a record, None if that tagger was never pulled.

    Raises
    ------
    TagstackError
        If the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        found = PullRecord(
            path=path,
            repo=str(content["repo"]),
            commit=str(content["commit"]),
            files={str(name): str(sha256) for name, sha256 in content["files"].items()},
        )
    except (TagstackError, LookupError, TypeError, AttributeError) as error:
        msg = f"Cannot read {path}: {error}. Delete it and pull again."
        raise TagstackError(msg) from error
    if content.get("format") != FORMAT:
        msg = f"{path} has format {content.get('format')!r}, expected {FORMAT}. Update tagstack."
        raise TagstackError(msg)
    return found


def check_pulled(folder: Path) -> PullRecord | None:
    """Hold a tagger's folder to its record; return that, None for a tagger that was not pulled.

    Raises
    ------
    TagstackError
        If a file is gone or differs from what was first pulled.
    """
    record = read_record(record_path(folder.parent, folder.name))
    if record is None or not folder.is_dir():
        return None
    paths = {name: own_path(folder, name, said_by=record.path) for name in record.files}
    sums = {name: file_sha256(path) for name, path in paths.items() if path.is_file()}
    record.check(sums)
    return record
