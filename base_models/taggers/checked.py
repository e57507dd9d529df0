"""Notes of taggers whose outputs were once looked at, so that it need not be done at every load.

The look at two synthetic images costs more than tagging a few pictures. Its result depends on the
tagger (its fingerprint: files, contract, preprocessing), on what runs it and on this version, so a
note about all of these says that it would turn out well again. A note that is missing, damaged or
not the user's own is none: the check then runs. It is a check for mistakes in a contract; what the
files are is told by their SHA-256 at every load.
"""

import hashlib
import json
import logging
import os
import platform
import stat
from pathlib import Path

from tagstack import __version__
from tagstack.base_models.atomic import write_text
from tagstack.base_models.runtimes.base import SessionInfo
from tagstack.base_models.user_cache import cache_root
from tagstack.configs.errors import TagstackError

logger = logging.getLogger(__name__)


class CheckNote:
    """The note that a tagger's outputs were found good under a runtime.

    Parameters
    ----------
    fingerprint : str
        The tagger's.
    info : SessionInfo
        What runs it, with its versions.
    """

    def __init__(self, fingerprint: str, info: SessionInfo) -> None:
        facts = {
            "fingerprint": fingerprint,
            "tagstack": __version__,
            "backend": info.backend,
            "provider": info.provider,
            "precision": info.precision,
            "versions": [list(version) for version in info.versions],
            "machine": [platform.system(), platform.machine()],
        }
        self._text = json.dumps(facts, indent=1, sort_keys=True) + "\n"
        self._name = hashlib.sha256(self._text.encode()).hexdigest() + ".json"

    @property
    def path(self) -> Path:
        """Where the note lies or would lie."""
        return cache_root() / "checked" / self._name

    def exists(self) -> bool:
        """Return whether there is the very note that `write` leaves, and it is the user's."""
        expected = self._text.encode()
        try:
            # Never waits on a pipe, follows a link, or reads more than the note has.
            handle = os.open(self.path, os.O_RDONLY | _flag("O_NOFOLLOW") | _flag("O_NONBLOCK"))
            with os.fdopen(handle, "rb") as file:
                return _is_own(os.fstat(handle)) and file.read(len(expected) + 1) == expected
        except OSError:
            return False

    def write(self) -> None:
        """Leave the note; where the folder cannot be written, there is none."""
        try:
            write_text(self.path, self._text)
        except (TagstackError, OSError) as error:
            logger.debug("no note that a tagger was checked: %s", error)


def _is_own(facts: os.stat_result) -> bool:
    own = not hasattr(os, "geteuid") or facts.st_uid == os.geteuid()
    return own and stat.S_ISREG(facts.st_mode) and not facts.st_mode & stat.S_IWOTH


def _flag(name: str) -> int:
    return getattr(os, name, 0)  # not on every system
