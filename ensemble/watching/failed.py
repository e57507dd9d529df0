"""Pictures that failed, so that none is tried again before it changes; also by the next process."""

import json
from collections.abc import Mapping
from pathlib import Path

from tagstack import __version__
from tagstack.base_models.atomic import write_text
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.text_files import read_bytes
from tagstack.ensemble.outputs.written import FOLDER
from tagstack.ensemble.watching.settling import FileFacts

_FILE = "failed.json"
_ENTRY = 5  # FileFacts and the reason


class FailedPictures:
    """The pictures of a folder that could not be read, what they looked like, and why.

    Kept in the output folder. A file that cannot be read, or that another version or other limits
    left, counts as none: every picture is tried once more.

    Parameters
    ----------
    out : Path
        Output folder.
    root : Path
        Folder of the pictures.
    settings : Settings
        Whose limits decide what can be read.
    forget : bool
        Whether to try all of them once more.
    """

    def __init__(self, out: Path, root: Path, settings: Settings, *, forget: bool = False) -> None:
        self._path = out / FOLDER / _FILE
        self._made_by = [__version__, str(root), settings.score.model_dump(mode="json")]
        self._rows = self._read()
        self._known = {} if forget else self._rows

    def reason(self, name: str, facts: FileFacts) -> str | None:
        """Return why a picture failed; None if it did not, or looks otherwise now."""
        row = self._known.get(name)
        return row[1] if row is not None and row[0] == facts else None

    def keep(self, rows: Mapping[str, tuple[FileFacts, str]]) -> None:
        """Replace what is known, and write it if it is something else."""
        self._known = dict(rows)
        if rows == self._rows:
            return
        self._rows = self._known
        images = {name: [*facts, reason] for name, (facts, reason) in sorted(rows.items())}
        write_text(self._path, json.dumps({"made_by": self._made_by, "images": images}))

    def _read(self) -> dict[str, tuple[FileFacts, str]]:
        try:
            content = json.loads(read_bytes(self._path))
            if content["made_by"] != self._made_by:
                return {}
            return {
                str(name): (FileFacts(*map(int, row[:-1])), str(row[-1]))
                for name, row in content["images"].items()
                if len(row) == _ENTRY
            }
        except (TagstackError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}
