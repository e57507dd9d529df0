"""Text tables written from blocks of rows, those of unchanged pictures taken from the table before.

A note beside the record says which block of a table belongs to which picture, by a key of its
name, place and content, and holds the table's SHA-256: rows are only taken over from the very file
that was written. Without the note every picture is judged again, with the same bytes as a result.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import file_sha256, written_whole
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import MIB, read_regular
from tagstack.ensemble.outputs.captions import TaggedFile
from tagstack.ensemble.outputs.format import TextTable

KEY_BYTES = 16
_NOTE = np.dtype([("key", f"V{KEY_BYTES}"), ("length", "<u8")])
_MOST_BYTES = 1024 * MIB  # of a note: forty million pictures
_PIECE = MIB


def row_key(name: str, root: str, sha256: str) -> bytes:
    """Return what stands for a picture in a table: its rows depend on nothing else of it."""
    text = f"{name}\0{root}\0{sha256}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).digest()[:KEY_BYTES]


class KeptRows:
    """The blocks of a table that was written before.

    Parameters
    ----------
    table : Path
    places : mapping of key to (int, int)
        Where each block begins, and its bytes.
    """

    def __init__(self, table: Path, places: Mapping[bytes, tuple[int, int]]) -> None:
        self.table = table
        self.places = places

    @classmethod
    def of(cls, note: Path, table: Path, form: TextTable, sha256: str) -> Self:
        """Return what a note says of a table; nothing unless the table is what it was then.

        Parameters
        ----------
        note, table : Path
        form : TextTable
        sha256 : str
            Of the table as it was written last.
        """
        with suppress(OSError, ValueError, TagstackError):
            data = read_regular(note, max_bytes=_MOST_BYTES, follow=False)
            if data[:32].hex() == sha256 == file_sha256(table):
                return cls(table, _places(np.frombuffer(data[32:], _NOTE), form))
        return cls(table, {})


def _places(rows: NDArray[np.void], form: TextTable) -> dict[bytes, tuple[int, int]]:
    lengths = rows["length"].astype(np.int64)
    between = len(form.between.encode())
    starts = len(form.head.encode()) + np.cumsum(lengths + between) - lengths - between
    keys = (bytes(key) for key in rows["key"])
    return dict(zip(keys, zip(starts.tolist(), lengths.tolist(), strict=True), strict=True))


class RowWriter:
    """Writes a text table block by block, new ones and those of the table before.

    Parameters
    ----------
    stream : binary file
        Of the new table.
    form : TextTable
    kept : KeptRows
    """

    def __init__(self, stream: BinaryIO, form: TextTable, kept: KeptRows) -> None:
        self._stream, self._form, self._kept = stream, form, kept
        self._between = form.between.encode()
        self._keys: list[bytes] = []
        self._lengths: list[int] = []
        self._begin = self._end = 0  # of what is taken over in one piece

    def add(self, key: bytes, file: TaggedFile) -> None:
        """Write the block of a picture."""
        self._copy()
        block = self._form.block(file).encode()
        self._stream.write(self._separator(len(self._keys)) + block)
        self._note(key, len(block))

    def keep(self, key: bytes) -> None:
        """Take over the block of a picture; without effect if the table before has none."""
        place = self._kept.places.get(key)
        if place is None:
            return
        begin, length = place
        if self._begin == self._end or begin != self._end + len(self._between):
            self._copy()
            self._stream.write(self._separator(len(self._keys)))
            self._begin = begin
        self._end = begin + length
        self._note(key, length)

    def end(self) -> None:
        """Write what is left of the table."""
        self._copy()
        end = self._form.foot if self._keys else self._form.nothing
        self._stream.write(end.encode())

    def note(self, path: Path, sha256: str) -> None:
        """Write the note of the finished table, which has that SHA-256."""
        rows = np.empty(len(self._keys), _NOTE)
        keys = np.frombuffer(b"".join(self._keys), f"V{KEY_BYTES}")
        rows["key"], rows["length"] = keys, self._lengths
        with written_whole(path) as temporary:
            temporary.write_bytes(bytes.fromhex(sha256) + rows.tobytes())

    def _separator(self, n_blocks: int) -> bytes:
        return self._between if n_blocks else self._form.head.encode()

    def _note(self, key: bytes, length: int) -> None:
        self._keys.append(key)
        self._lengths.append(length)

    def _copy(self) -> None:
        """Write the piece that is taken over."""
        left, self._begin, begin = self._end - self._begin, self._end, self._begin
        if not left:
            return
        with self._kept.table.open("rb") as old:
            old.seek(begin)
            while left:
                piece = old.read(min(left, _PIECE))
                if not piece:
                    msg = f"{self._kept.table} was cut while it was read. Run the command again."
                    raise TagstackError(msg)
                self._stream.write(piece)
                left -= len(piece)
