"""Changes to a folder that can be taken back, whatever ends the run.

Before files change, what is about to happen reaches the disk as lines of an undo file in the
folder itself. A run that is killed leaves each file as it was or changed, and the undo file knows
both. Every name in an undo file is one below its own folder: it may come from a stranger.
"""

import base64
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.atomic_batch import AtomicBatch, remove_leftovers_in
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import parse_json
from tagstack.ensemble.workshop.changing_alone import changing_alone

_HEAD = {"tagstack": "undo", "version": 1}
_NAME = "tagstack-undo-"
_MAX_LINE = 2**24
_BATCH = 256
# What file systems without hard links answer.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV)


@dataclass(frozen=True)
class Rewrite:
    """A file's new content."""

    name: str
    before: bytes
    after: bytes


@dataclass(frozen=True)
class Move:
    """A file's new place."""

    source: str
    target: str


@dataclass
class Undone:
    """What taking back came to.

    Parameters
    ----------
    n_done, n_already : int
        Files taken back, and files that were as before.
    refused : list of (str, str)
        Files left as they are, and why.
    """

    n_done: int = 0
    n_already: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


class FolderChanges:
    """Changes files below a folder, and keeps how to take that back.

    Parameters
    ----------
    root : Path
    done : callable, optional
        Told how many files are changed.
    """

    def __init__(self, root: Path, done: Callable[[int], None] = lambda _: None) -> None:
        self.root = root
        self.path: Path | None = None
        self.n_changed = 0
        self._done = done
        self._waiting: list[Rewrite] = []

    def rewrite(self, change: Rewrite) -> None:
        """Change a file's content, with the next ones; `finish` changes the last."""
        place_in(self.root, change.name)
        self._waiting.append(change)
        if len(self._waiting) >= _BATCH:
            self.finish()

    def finish(self) -> None:
        """Change what waits."""
        if not self._waiting:
            return
        remove_leftovers_in({(self.root / change.name).parent for change in self._waiting})
        self._note([_rewrite_line(change) for change in self._waiting])
        with AtomicBatch() as batch:
            for change in self._waiting:
                batch.write(self.root / change.name, change.after)
            batch.flush()
            batch.publish()
        self._count(len(self._waiting))
        self._waiting.clear()

    def move(self, moves: Sequence[Move]) -> list[tuple[str, str]]:
        """Move files; return those that stayed, and why. What is there is never overwritten."""
        stayed = []
        for start in range(0, len(moves), _BATCH):
            chosen = moves[start : start + _BATCH]
            self._note([{"do": "move", "from": m.source, "to": m.target} for m in chosen])
            for change in chosen:
                try:
                    source = place_in(self.root, change.source)
                    target = place_in(self.root, change.target)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    move_to_free_place(source, target)
                except OSError as error:
                    stayed.append((change.source, error.strerror or str(error)))
                else:
                    self._count(1)
        return stayed

    def _count(self, n: int) -> None:
        self.n_changed += n
        self._done(self.n_changed)

    def _note(self, lines: Sequence[dict[str, object]]) -> None:
        """Append lines to the undo file; they are on the disk when this returns."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        try:
            if self.path is None:
                self.path = _new_file(self.root)
                _append(self.path, json.dumps(_HEAD) + "\n")
            _append(self.path, text)
        except OSError as error:
            msg = (
                f"Cannot write the undo file in {self.root}: {error.strerror or error}. Nothing "
                "more was changed; mend that (space, permissions) and run the same command again."
            )
            raise TagstackError(msg) from error


def undo(path: Path, done: Callable[[int, int], None] = lambda *_: None) -> Undone:
    """Take back what an undo file says, as far as nobody changed the files since.

    Parameters
    ----------
    path : Path
    done : callable, optional
        Told how many changes are taken back, and of how many.

    Raises
    ------
    TagstackError
        If it is no undo file, or names a place outside its folder.
    """
    root = Path(os.path.abspath(path)).parent
    total = sum(1 for _ in _lines(path))  # read before anything is made there
    with changing_alone(root):
        return _undone(path, root, total, done)


def _undone(path: Path, root: Path, total: int, done: Callable[[int, int], None]) -> Undone:
    found, folders = Undone(), set()
    for n, line in enumerate(_lines(path), 1):
        moved = line["do"] == "move"
        outcome = _undone_move(root, line) if moved else _undone_rewrite(root, line)
        if not moved:
            folders.add(place_in(root, line["from"]).parent)
        found.n_done += outcome == "done"
        found.n_already += outcome == "already"
        if outcome not in ("done", "already"):
            found.refused.append((str(line["from"]), outcome))
        done(n, total)
    remove_leftovers_in(folders)
    return found


def place_in(root: Path, name: str) -> Path:
    """Return the path of a name below a folder.

    Raises
    ------
    TagstackError
        If the name leads elsewhere: absolute, with ``..``, or through a link.
    """
    parts = PurePosixPath(name).parts
    whole = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    plain = parts and not whole and ".." not in parts and "\0" not in name
    path = root / name if plain else root
    if not plain or path.is_symlink() or _leads_out(path.parent, root):
        msg = (
            f"{name!r} is no plain file below {root}. Expected a relative name without links; "
            "nothing outside that folder is changed."
        )
        raise TagstackError(msg)
    return path


def _leads_out(folder: Path, root: Path) -> bool:
    base = os.path.realpath(root)
    return os.path.commonpath([os.path.realpath(folder), base]) != base


def move_to_free_place(source: Path, target: Path) -> None:
    """Move a file to where none is; a kill leaves it at one of the places or at both.

    Raises
    ------
    OSError
        If something is at the target, or the system refuses.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        if not os.path.samefile(source, target):
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        source.rename(target)
        return
    source.unlink()


def _undone_move(root: Path, line: dict[str, Any]) -> str:
    source, target = place_in(root, line["from"]), place_in(root, line["to"])
    if not os.path.lexists(target):
        return "already" if os.path.lexists(source) else "it is in neither place"
    try:
        source.parent.mkdir(parents=True, exist_ok=True)
        move_to_free_place(target, source)
        _remove_empty(target.parent, root)
    except OSError as error:
        return error.strerror or str(error)
    return "done"


def _undone_rewrite(root: Path, line: dict[str, Any]) -> str:
    path = place_in(root, line["from"])
    try:
        content = path.read_bytes()
    except OSError as error:
        return error.strerror or str(error)
    try:
        before = base64.b64decode(line["before"], validate=True)
    except ValueError:
        return "the undo file does not hold what it was"
    if content == before:
        return "already"
    if hashlib.sha256(content).hexdigest() != line["after"]:
        return "it was changed since"
    with written_whole(path) as temporary:
        temporary.write_bytes(before)
    return "done"


def _rewrite_line(change: Rewrite) -> dict[str, object]:
    return {
        "do": "rewrite",
        "from": change.name,
        "before": base64.b64encode(change.before).decode("ascii"),
        "after": hashlib.sha256(change.after).hexdigest(),
    }


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the changes of an undo file; a last line that a kill cut off had not happened."""
    try:
        with path.open("rb") as stream:
            head = stream.readline(_MAX_LINE)
            if not head.endswith(b"\n") or _parsed(head, path) != _HEAD:
                msg = f"{path} is no undo file. Give one named {_NAME}NUMBER.jsonl."
                raise TagstackError(msg)
            while (raw := stream.readline(_MAX_LINE)).endswith(b"\n"):
                yield _checked(_parsed(raw, path), path)
    except OSError as error:
        msg = f"Cannot read the undo file {path}: {error.strerror}. Expected a readable file."
        raise TagstackError(msg) from error


def _parsed(raw: bytes, path: Path) -> Any:
    return parse_json(raw.decode("utf-8", "replace"), str(path), advice="It is no undo file.")


def _checked(line: Any, path: Path) -> dict[str, Any]:
    keys = {"move": ("from", "to"), "rewrite": ("from", "before", "after")}
    wanted = keys.get(str(line.get("do")), ()) if isinstance(line, dict) else ()
    if not wanted or not all(isinstance(line.get(key), str) for key in wanted):
        msg = f"{path}: {line!r:.60} is no change. Expected an undo file as it was written."
        raise TagstackError(msg)
    return dict(line)


def _new_file(root: Path) -> Path:
    number = 1
    while True:
        path = root / f"{_NAME}{number:03d}.jsonl"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            number += 1
        else:
            return path


def _append(path: Path, text: str) -> None:
    with path.open("ab") as stream:
        stream.write(text.encode("ascii"))
        stream.flush()
        os.fsync(stream.fileno())


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
