"""Which fit and which thresholds a bundle's folder holds, and whether that has changed."""

from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.atomic import file_sha256
from tagstack.ensemble.bundle.files import MANIFEST
from tagstack.ensemble.thresholds.versions import FOLDER

# What changes when another version comes into use, or another fit takes the folder's place.
_WATCHED = (MANIFEST, f"{FOLDER}/history.json")
_Facts = tuple[int, int, int] | None


@dataclass(frozen=True, kw_only=True)
class Versions:
    """Which fit and which thresholds decided.

    Parameters
    ----------
    bundle : str
        First 12 hexadecimal digits of the SHA-256 of the bundle's manifest.
    thresholds : str
        Version of its thresholds.
    """

    bundle: str
    thresholds: str

    @classmethod
    def of(cls, folder: Path, thresholds: str) -> "Versions":
        """Return those of a bundle's folder with thresholds in use."""
        return cls(bundle=file_sha256(folder / MANIFEST)[:12], thresholds=thresholds)


class BundleFolder:
    """Looks whether a bundle's folder holds something else than before.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = self._look()

    def has_changed(self) -> bool:
        """Return whether it changed since the last look; each change is told once."""
        before, self._seen = self._seen, self._look()
        return self._seen != before

    def _look(self) -> tuple[_Facts, ...]:
        return tuple(_facts(self._folder / name) for name in _WATCHED)


def _facts(path: Path) -> _Facts:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
