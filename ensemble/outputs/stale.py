"""Files of pictures that are gone: named, and deleted only where that is asked for."""

import os
from collections.abc import Sequence
from pathlib import Path

from tagstack.ensemble.outputs.written import FileRow, SeenFile, WrittenRecord


def stale_rows(record: WrittenRecord, root: Path, images: Sequence[str]) -> list[FileRow]:
    """Return what was written for pictures below a root that are no longer there.

    Parameters
    ----------
    record : WrittenRecord
        Open.
    root : Path
    images : sequence of str
        Pictures of the run; others are looked for, as a run need not be about all.
    """
    here = set(images)
    gone = {
        name
        for name, row in record.images.items()
        if name not in here and row.root == str(root) and not os.path.lexists(root / name)
    }
    return [row for (image, _), row in record.files.items() if image in gone]


def settle_stale(
    record: WrittenRecord, rows: Sequence[FileRow], *, prune: bool
) -> tuple[list[Path], int]:
    """Return the stale files that stay, and how many were deleted.

    A file that somebody changed is never deleted. What is no longer there is forgotten.
    """
    left, done, deleted = [], [], 0
    for row in rows:
        path = Path(row.path)
        if not os.path.lexists(path):
            done.append(row)
        elif prune and _is_own(row, path):
            path.unlink(missing_ok=True)
            done.append(row)
            deleted += 1
        else:
            left.append(path)
    if done:
        record.forget(done)
    return sorted(left), deleted


def _is_own(row: FileRow, path: Path) -> bool:
    if row.kept or (row.seen != SeenFile.of(path) and not row.owns(path.read_bytes())):
        return False
    return row.whole  # what was merged into somebody's file is theirs
