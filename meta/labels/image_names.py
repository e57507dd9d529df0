r"""Which of a table's image names means which scored image: as written first, then by steps.

Tables name images as their program does: with ``.\`` or ``images/`` in front, absolute, in another
case or Unicode form, without the suffix. Each step overlooks one more of these, looks only at what
is still unmatched, and matches only where one image is meant; how many it matched is said. Several
names may mean one image where they are one path written in different ways.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

_SUFFIXES = frozenset(
    ".apng .avif .bmp .caption .gif .heic .heif .ico .jfif .jpe .jpeg .jpg .jxl .png .tga .tif"
    " .tiff .txt .webp".split()
)
_WRITTEN, _COMPOSED = "the way paths are written", "the Unicode form"
_ONE_PATH = (_WRITTEN, _COMPOSED)

Key = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What names were found to mean.

    Parameters
    ----------
    found : mapping of name to image indices
        One index each, but for a stem that may mean several.
    steps : mapping of str to int
        How many names each step matched, those as written left out.
    """

    found: Mapping[str, tuple[int, ...]]
    steps: Mapping[str, int]

    def doubled(self) -> tuple[str, ...]:
        """Return the first names that mean one image, where several do; empty where none do."""
        names: defaultdict[int, list[str]] = defaultdict(list)
        for name, own in self.found.items():
            for i in own:
                names[i].append(name)
        return next((tuple(own) for own in names.values() if len(own) > 1), ())


def match_names(
    names: Sequence[str],
    images: Sequence[str],
    *,
    roots: Sequence[str] = (),
    elsewhere: bool = False,
) -> Matched:
    """Return which images the names mean.

    Parameters
    ----------
    names : sequence of str
        Unique names of a table.
    images : sequence of str
        Unique paths relative to the scored folder.
    roots : sequence of str
        Folders that the images were scored below.
    elsewhere : bool
        Whether a name may also be matched by its last part alone, whatever its folder.
    """
    positions = {image: i for i, image in enumerate(images)}
    found: dict[str, tuple[int, ...]] = {
        name: (positions[name],) for name in names if name in positions
    }
    steps: dict[str, int] = {}
    for step, name_key, image_key in _steps(roots, elsewhere=elsewhere):
        asking: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            if name not in found:
                asking[name_key(name)].append(name)
        if not asking:
            break
        one_path = step in _ONE_PATH
        taken = set() if one_path else {i for own in found.values() for i in own}
        meant: defaultdict[str, list[int]] = defaultdict(list)
        for image, i in positions.items():
            if i not in taken:
                meant[image_key(image)].append(i)
        sure = {
            name: (meant[key][0],)
            for key, own in asking.items()
            if (one_path or len(own) == 1) and len(meant.get(key, ())) == 1
            for name in own
        }
        if sure:
            found |= sure
            steps[step] = len(sure)
    return Matched(found=found, steps=steps)


def plain_path(name: str) -> str:
    r"""Return a name with ``/`` between its parts, without ``./`` and space around it."""
    return PurePosixPath(name.strip().replace("\\", "/")).as_posix()


def bare_path(name: str) -> str:
    """Return a path without the suffix of a picture or sidecar; other dots belong to the name."""
    path = PurePosixPath(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in _SUFFIXES else path.as_posix()


def is_absolute(name: str) -> bool:
    """Return whether a name is an absolute path on some system."""
    return PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()


def _steps(roots: Sequence[str], *, elsewhere: bool) -> list[tuple[str, Key, Key]]:
    """Return each step: what it overlooks, and the keys of names and images that must be equal."""

    def below(name: str) -> str:
        return _below(plain_path(name), roots)

    def composed(name: str) -> str:
        return unicodedata.normalize("NFC", name)

    def folded(name: str) -> str:
        return composed(name).casefold()

    def bare(name: str) -> str:
        return bare_path(folded(name))

    def last(name: str) -> str:
        return PurePosixPath(name).name

    steps: list[tuple[str, Key, Key]] = [
        (_WRITTEN, plain_path, plain_path),
        ("the folder in front", below, str),
        (_COMPOSED, lambda n: composed(below(n)), composed),
        ("capitals", lambda n: folded(below(n)), folded),
        ("the suffix", lambda n: bare(below(n)), bare),
    ]
    if elsewhere:
        steps += [
            ("the folder", lambda n: last(folded(below(n))), lambda n: last(folded(n))),
            ("folder and suffix", lambda n: last(bare(below(n))), lambda n: last(bare(n))),
        ]
    return steps


def _below(path: str, roots: Sequence[str]) -> str:
    """Return a path below the scored folder: after the folder, or after one of the same name."""
    for root in roots:
        if path.startswith(root.rstrip("/") + "/"):
            return path[len(root.rstrip("/")) + 1 :]
    parts = PurePosixPath(path).parts
    last = {PurePosixPath(root).name for root in roots} - {""}
    for i in range(len(parts) - 1, 0, -1):
        if parts[i - 1] in last:
            return "/".join(parts[i:])
    return path
